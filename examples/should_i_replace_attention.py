"""Should I replace attention? The answer for the lengths that your rows have.

Real lengths: the documentation of scikit-learn, each class and function one row, as an index for
search would embed them. Tokens are words and signs here; a subword tokenizer makes a third more.
Give your own with --length-file, one length a line.
"""

import argparse
import importlib
import inspect
import re
from pathlib import Path

from trivium.cost import Asked, Lengths, TransformerShape, cost_report, crossover, read_lengths

MODULES = (
    "linear_model cluster preprocessing metrics model_selection ensemble decomposition svm tree "
    "feature_extraction.text neighbors neural_network naive_bayes manifold mixture pipeline"
)
DESIGNS = ["sdpa", "window:256", "linear", "linear:h/4", "linear:4d"]


def documented(modules: str) -> list[int]:
    """Lengths of the documentation of what is in some modules of scikit-learn."""
    found = {}
    for name in modules.split():
        module = importlib.import_module(f"sklearn.{name}")
        for key in module.__all__:
            text = inspect.getdoc(vars(module).get(key)) or ""
            found[key] = len(re.findall(r"\w+|[^\w\s]", text))
    return [n for n in found.values() if n]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", default="bge-m3", help="a bundled name, or a config.json")
    parser.add_argument("--length-file", type=Path, help="your lengths, one a line")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--out", type=Path, help="a picture, .png or .svg")
    given = parser.parse_args()
    shape = TransformerShape.from_config(given.model)
    modules = " ".join(MODULES.split()[:2]) if given.quick else MODULES
    rows = read_lengths(given.length_file) if given.length_file else Lengths(documented(modules))
    ordered = sorted(rows.rows)
    some = sorted({ordered[len(ordered) * part // 10] for part in (1, 5, 9)} | {ordered[-1]})

    print(f"{len(rows.rows):,} rows, {rows.tokens:,} tokens; a tenth of the rows is shorter than")
    print(f"{some[0]:,}, half than {ordered[len(ordered) // 2]:,}; the longest has {some[-1]:,}.\n")
    costs = []
    for padding in ("batch", "sorted"):
        report = cost_report(shape, some, DESIGNS, rows, Asked("forward", given.batch, padding))
        print(f"{shape.name}, {given.batch} rows at a time, padding: {padding}")
        print(f"{report.comparison}\n")
        costs.append(report.comparison["eager"].flops)
    print("\n".join(report.verdict))

    most = max(ordered)
    for design in DESIGNS[2:]:
        place = crossover(shape, "eager", design).crossings
        at = f"from n = {place[0]}" if place else "nowhere"
        share = float(1 - rows.share_below(place[0].low)) if place else 0.0
        print(f"{design:<11} is cheaper {at}: {100 * share:.0f} % of the tokens sit in such rows.")
    saved = 100 * (1 - costs[1] / costs[0])
    print(f"Sorting the rows by length saves {saved:.0f} % of the FLOPs, whatever the attention.")
    eager, fused = (shape.peak(most, given.batch, attention=each) for each in ("eager", "sdpa"))
    print(
        f"The longest batch needs {eager.total / 1e9:.1f} GB; with the fused kernel, which changes "
        f"no result, {fused.total / 1e9:.1f} GB."
    )
    if given.out:
        from trivium.cost.picture import draw

        draw(report)[0].figure.savefig(given.out, dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    main()
