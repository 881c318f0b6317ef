"""What fixed labels change where all rows are known by their moments, and a sample is held."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64

from trivium._core.errors import ModelError
from trivium.audit.large import Large
from trivium.audit.saved import Evidence, checked_model, load_evidence
from trivium.closedform import ClosedFormClassifier, left_out_logits, refit_moments
from trivium.moment import Moments
from trivium.store import save_model
from trivium.table import Label

__all__ = ["Known", "is_large", "known_of", "load_known", "save_known"]

_KIND, _FOLDER = "moments", "moments"
_LISTED = ("X", "codes", "kept")


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of all rows: their moments, the rows held, and the rows listed as suspect.

    Args:
        moments: Of all rows, by class.
        held: The rows held.
        listed: The rows listed.
    """

    moments: Moments
    held: Evidence
    listed: Evidence

    @property
    def rows(self) -> Evidence:
        """The rows whose label can be changed: those held, and those listed."""
        kept = np.append(self.held.kept, self.listed.kept)
        kept, first = np.unique(kept, return_index=True)
        X = np.concatenate((self.held.X, self.listed.X))[first]
        codes = np.append(self.held.codes, self.listed.codes)[first]
        return Evidence(X, codes, kept, self.held.label, self.held.classes)

    def classifier(self) -> ClosedFormClassifier:
        """Solve the closed form of all rows again."""
        return ClosedFormClassifier().fit_moments(self.moments, (self.held.X, self.held.codes))

    def after(
        self,
        classifier: ClosedFormClassifier,
        X: Float[np.ndarray, "k d"],
        old: Int64[np.ndarray, " k"],
        new: Int64[np.ndarray, " k"],
    ) -> ClosedFormClassifier:
        """Return the classifier as it would be with other labels: its path is kept.

        Args:
            classifier: That of all rows.
            X: The rows that change.
            old: Their classes.
            new: Their new classes; -1 drops a row.
        """
        moments, stays = self.moments.copy().downdate(X, old), new >= 0
        if stays.any():
            moments.update(X[stays], new[stays])
        return refit_moments(classifier, moments)

    def untouched(self, changed: Int64[np.ndarray, " k"]) -> np.ndarray:
        """Return which of the rows held do not change, by the numbers of those that do."""
        return np.flatnonzero(~np.isin(self.held.kept, changed))

    def judged(self, classifier: ClosedFormClassifier, rows: np.ndarray) -> np.ndarray:
        """Return leave-one-out probabilities of some of the rows held."""
        logits = left_out_logits(classifier, self.held.X[rows], self.held.codes[rows])
        return torch.softmax(torch.from_numpy(logits), 1).numpy()


def known_of(X: np.ndarray, codes: np.ndarray, label: Label, large: Large) -> Known:
    """Return what a run knows of all rows, from the rows held and the passes over all."""
    top, names = large.judged.top, (label.name, label.classes)
    held = Evidence(X, codes, label.rows, *names)
    return Known(large.moments, held, Evidence(top["X"], top["code"], top["row"], *names))


def save_known(folder: Path, large: Large, label: Label, listed: int) -> None:
    """Save moments of all rows, and the rows listed, encoded.

    Args:
        folder: The run.
        large: All rows.
        label: The label.
        listed: How many of the suspect rows are listed.
    """
    tensors, about = large.moments.state()
    top = large.judged.top
    rows = {"X": top["X"], "codes": top["code"], "kept": top["row"]}
    held = {f"moments.{name}": value.numpy() for name, value in tensors.items()}
    held |= {f"listed.{name}": values[:listed] for name, values in rows.items()}
    manifest = {"kind": _KIND, "label": label.name, "classes": list(label.classes), "about": about}
    save_model(folder / _FOLDER, held, manifest, overwrite=True)


def is_large(run: Path) -> bool:
    """Tell whether a run held a sample only."""
    return (run / _FOLDER).is_dir()


def load_known(run: Path) -> Known:
    """Load what a run knows of all rows.

    Raises:
        ModelError: Damaged, or not of such a run.
    """
    folder = run / _FOLDER
    tensors, manifest = checked_model(folder, _KIND, {"about"})
    parts: dict[str, dict[str, np.ndarray]] = {"moments": {}, "listed": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    held, listed = load_evidence(run), parts["listed"]
    if set(parts) != {"moments", "listed"} or set(listed) != set(_LISTED):
        raise ModelError("load: its tensors must be moments and listed rows", where=str(folder))
    given = {name: torch.from_numpy(value) for name, value in parts["moments"].items()}
    moments = Moments.from_state(given, manifest["about"])
    shaped = listed["X"].shape == (len(listed["kept"]), held.X.shape[1])
    if not shaped or moments.n_features != held.X.shape[1]:
        raise ModelError("load: its tensors must fit together", where=str(folder))
    names = held.label, held.classes
    return Known(moments, held, Evidence(listed["X"], listed["codes"], listed["kept"], *names))
