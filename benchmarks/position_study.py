"""Keep a finished study: its figures, its picture, and the losses that the catalog speaks of.

    trivium position --study full --out DIR      # resumable, nearly three hours of one processor
    python benchmarks/position_study.py DIR

`benchmarks/results/position_study_NAME.json` has every run; of the full study, the medians over
seeds of the loss at 1, 2 and 4 times the length of the training go into the package too.
"""

import argparse
import json
import shutil
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
KNOWN = Path(__file__).parents[1] / "src" / "trivium" / "study" / "full.json"


def losses(study: dict) -> dict:
    """Return the median losses of each encoding that the text was learnt with."""
    return {
        name: {at: round(spread["median"], 6) for at, spread in entry["text"]["loss"].items()}
        for name, entry in sorted(study["encodings"].items())
    }


def main() -> None:
    """Copy what a study left behind to where it is read."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("folder", type=Path)
    folder = asked.parse_args().folder
    study = json.loads((folder / "study.json").read_text())
    if not study["complete"]:
        raise SystemExit(f"{study['runs']} of {study['runs_in_all']} runs: let it end first")
    name = study["preset"]["name"]
    shutil.copy(folder / "study.json", RESULTS / f"position_study_{name}.json")
    shutil.copy(folder / "study.svg", RESULTS / f"position_study_{name}.svg")
    if name == "full":
        about = {key: study["preset"][key] for key in ("length", "d_model", "n_layers", "steps")}
        kept = {**about, "text": study["text"], "seeds": study["preset"]["seeds"]}
        KNOWN.write_text(json.dumps({**kept, "loss": losses(study)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
