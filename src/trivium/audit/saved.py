"""Saved classifiers (encoder and closed form) and the encoded rows that what-if needs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trivium import __version__
from trivium._core.errors import ModelError
from trivium._core.tensor_file import as_written
from trivium.audit.learnt_encoder import LearntEncoder
from trivium.audit.tuned import Tuned
from trivium.closedform import ClosedFormClassifier
from trivium.store import load_model, save_model
from trivium.table import Label, ReadOptions, Table, TableEncoder

__all__ = [
    "Evidence",
    "SavedClassifier",
    "checked_model",
    "load_classifier",
    "load_evidence",
    "save_classifier",
    "save_evidence",
]

_CLASSIFIER, _EVIDENCE = "table-classifier", "evidence"
_TUNE = "tune"  # only in a model that has something tuned


@dataclass(frozen=True)
class SavedClassifier:
    """A classifier of table rows.

    Attributes:
        encoder: Columns to features.
        classifier: Features to class codes.
        label: Name of the label column.
        classes: Class names by code.
        tuned: What the stage tune kept on top, if anything.
        tuning: How it was tuned, as the manifest says.
    """

    encoder: TableEncoder | LearntEncoder
    classifier: ClosedFormClassifier
    label: str
    classes: tuple[str, ...]
    tuned: Tuned | None = None
    tuning: dict[str, Any] | None = None

    def predict_proba(self, table: Table, options: ReadOptions | None = None) -> np.ndarray:
        """Class probabilities of each row by the closed form, of shape (n, c).

        Args:
            table: The rows; columns are found by name.
            options: How the table was read, for columns that must be read again as the fit did.

        Raises:
            DataError: A column of the fit is missing; the message names it.
        """
        return self.decide(table, options)[1]

    def decide(
        self, table: Table, options: ReadOptions | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Class code of each row, by what was tuned if anything was, and class probabilities.

        Args:
            table: The rows; columns are found by name.
            options: How the table was read, for columns that must be read again as the fit did.

        Raises:
            DataError: A column of the fit is missing; the message names it.
        """
        return self.judge(self.encoder.transform(table, options))

    def judge(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what `decide` does, of encoded rows."""
        proba = self.classifier.predict_proba(X)
        return (proba.argmax(1) if self.tuned is None else self.tuned.decide(proba, X)), proba


@dataclass(frozen=True)
class Evidence:
    """The rows of a fit, encoded."""

    X: np.ndarray
    codes: np.ndarray
    kept: np.ndarray
    label: str
    classes: tuple[str, ...]


def save_classifier(
    folder: Path,
    encoder: TableEncoder | LearntEncoder,
    classifier: ClosedFormClassifier,
    label: Label,
    *,
    tuned: tuple[Tuned, dict[str, Any]] | None = None,
    card: Callable[[str], str] | None = None,
    overwrite: bool = True,
) -> None:
    """Save a classifier as data: no code runs from it when it is loaded.

    Args:
        folder: Where to.
        encoder: Columns to features.
        classifier: Features to class codes.
        label: Its name and classes.
        tuned: What was tuned on top, and what describes it.
        card: Returns the text of its card from the SHA-256 of the manifest.
        overwrite: Whether an older model may be replaced.
    """
    parts = {"encoder": encoder.state(), "classifier": classifier.state()}
    if tuned is not None:
        parts[_TUNE] = (tuned[0].state(), tuned[1])
    tensors = {
        f"{part}.{name}": array
        for part, (arrays, _) in parts.items()
        for name, array in arrays.items()
    }
    manifest = {part: described for part, (_, described) in parts.items()} | {
        "kind": _CLASSIFIER,
        "trivium": __version__,
        "label": label.name,
        "classes": list(label.classes),
    }
    save_model(folder, tensors, manifest, card=card, overwrite=overwrite)


def _require(folder: Path, fits: bool, rule: str) -> None:
    """Refuse what is intact by its checksums and yet not what we save."""
    if not fits:
        raise ModelError(
            f"load: {rule}",
            where=str(folder),
            remedy="Nothing in it was used. Save it again, or fetch an intact copy.",
        )


def checked_model(
    folder: Path, kind: str, keys: set[str], optional: str = ""
) -> tuple[dict[str, np.ndarray], dict]:
    """Load a model of a kind with these keys, its names checked.

    Raises:
        ModelError: It is damaged, or something else.
    """
    tensors, manifest = load_model(folder)
    if manifest.get("kind") != kind:
        raise ModelError(
            f"load: {folder} must be a saved {kind}; it is {manifest.get('kind')!r}",
            remedy="A run's classifier is in its folder model/.",
        )
    wanted = {"kind", "label", "classes", *keys}
    _require(
        folder,
        set(manifest) - {optional} == wanted,
        f"its keys must be {', '.join(sorted(wanted))}",
    )
    classes = manifest["classes"]
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    _require(folder, named and isinstance(manifest["label"], str), "its names must be text")
    return tensors, manifest


def load_classifier(folder: str | Path) -> SavedClassifier:
    """Load what `save_classifier` wrote; a run's folder may be given for its `model/`.

    Raises:
        ModelError: Damaged, incomplete, of another kind or newer; nothing of it was used.
    """
    folder = Path(folder)
    if (folder / "model").is_dir():
        folder = folder / "model"
    tensors, manifest = checked_model(
        folder, _CLASSIFIER, {"trivium", "encoder", "classifier"}, _TUNE
    )
    with as_written("load", folder, "a classifier"):
        return _classifier(folder, tensors, manifest)


def _classifier(
    folder: Path, tensors: dict[str, np.ndarray], manifest: dict[str, Any]
) -> SavedClassifier:
    known = {"encoder", "classifier", *({_TUNE} & set(manifest))}
    whole = {key.partition(".")[0] for key in tensors} <= known
    _require(folder, whole, f"its tensors must be of {', '.join(sorted(known))}")

    def part(name: str) -> dict[str, np.ndarray]:
        head = f"{name}."
        return {key[len(head) :]: v for key, v in tensors.items() if key.startswith(head)}

    encoder = LearntEncoder.from_state(part("encoder"), manifest["encoder"])
    classifier = ClosedFormClassifier.from_state(part("classifier"), manifest["classifier"])
    sizes = len(encoder.feature_names), len(manifest["classes"])
    found = classifier.n_features_in_, len(classifier.classes_)
    _require(folder, sizes == found, "its encoder, classifier and classes must fit together")
    tuned = None
    if _TUNE in manifest:
        n_features, n_classes = sizes
        tuned = Tuned.from_state(part(_TUNE), manifest[_TUNE], n_classes, n_features)
    names = tuple(manifest["classes"])
    return SavedClassifier(
        encoder, classifier, manifest["label"], names, tuned, manifest.get(_TUNE)
    )


def save_evidence(folder: Path, X: np.ndarray, codes: np.ndarray, label: Label) -> None:
    """Save the encoded rows and their labels."""
    manifest = {"kind": _EVIDENCE, "label": label.name, "classes": list(label.classes)}
    tensors = {"X": X, "codes": codes, "kept": np.asarray(label.rows, dtype=np.int64)}
    save_model(folder, tensors, manifest, overwrite=True)


def load_evidence(run: Path) -> Evidence:
    """Load the rows of a run.

    Raises:
        ModelError: No run, or a damaged one.
    """
    folder = run / "evidence"
    if not folder.is_dir():
        raise ModelError(
            "load_evidence: RUN must be the folder of a finished audit; it has no evidence/",
            where=str(run),
            remedy="Give the folder that trivium audit wrote. A model alone keeps no rows.",
        )
    tensors, manifest = checked_model(folder, _EVIDENCE, set())
    _require(folder, set(tensors) == {"X", "codes", "kept"}, "its tensors must be X, codes, kept")
    X, codes, kept = tensors["X"], tensors["codes"], tensors["kept"]
    whole = codes.dtype == kept.dtype == np.int64 and X.dtype == np.float64
    shaped = X.ndim == 2 and codes.shape == kept.shape == (len(X),)
    _require(folder, whole and shaped and len(X) > 0, "its tensors must fit together")
    seen = np.array_equal(np.unique(codes), np.arange(len(manifest["classes"])))
    _require(folder, seen and bool(np.isfinite(X).all()), "its rows must be finite, of its classes")
    return Evidence(X, codes, kept, manifest["label"], tuple(manifest["classes"]))
