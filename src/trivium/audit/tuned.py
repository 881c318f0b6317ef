"""What tuning kept: a rule on top of the closed form's probabilities."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from trivium._core.errors import ModelError

__all__ = ["Layers", "Tuned", "log_scores"]

_SCHEMA = 1
_FLOOR = 1e-15
# How many nats apart the cheapest and the dearest decision are, for the stages after the rule.
_COST_SPREAD = 10.0


def log_scores(probabilities: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Log-probabilities; a class that the fit has not seen gets a floor."""
    return np.log(np.clip(probabilities, _FLOOR, 1.0))


@dataclass(frozen=True, eq=False)
class Layers:
    """What is added to the scores: `z weight + bias + relu(z hidden + hidden_bias) out`.

    Rows are standardized first, z = (x - center) scale. A head has no hidden units.
    """

    center: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    weight: Float[np.ndarray, "d c"]
    bias: Float[np.ndarray, " c"]
    hidden: Float[np.ndarray, "d h"]
    hidden_bias: Float[np.ndarray, " h"]
    out: Float[np.ndarray, "h c"]

    def distance(self, other: "Layers") -> float:
        """Return the largest difference of a weight; infinite where shapes differ."""
        pairs = [(getattr(self, one.name), getattr(other, one.name)) for one in fields(Layers)]
        if any(a.shape != b.shape for a, b in pairs):
            return float("inf")
        return max(float(np.abs(a - b).max(initial=0.0)) for a, b in pairs)

    def added(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """Return what is added to the scores of these rows."""
        z = (X - self.center) * self.scale
        units = np.maximum(z @ self.hidden + self.hidden_bias, 0.0)
        return z @ self.weight + self.bias + units @ self.out


@dataclass(frozen=True, eq=False)
class Tuned:
    """A decision: the class of the largest score.

    Scores are log-probabilities plus offsets, or minus the expected costs under these, plus layers.

    Args:
        offsets: Added to the log-probability of each class.
        costs: Costs of which the expectation is least, if they decide.
        layers: A head or a network, if one was kept.
    """

    offsets: Float[np.ndarray, " c"]
    costs: Float[np.ndarray, "c c"] | None = None
    layers: Layers | None = None

    def base(self, probabilities: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
        """Scores without layers."""
        logits = log_scores(probabilities) + self.offsets
        if self.costs is None:
            return logits
        p = np.exp(logits - logits.max(1, keepdims=True))
        spread = float(np.ptp(self.costs)) or 1.0
        return -(p / p.sum(1, keepdims=True) @ self.costs) * (_COST_SPREAD / spread)

    def scores(
        self, probabilities: Float[np.ndarray, "n c"], X: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n c"]:
        """Scores of rows from the closed form's probabilities and their encoded columns."""
        found = self.base(probabilities)
        return found if self.layers is None else found + self.layers.added(X)

    def decide(
        self, probabilities: Float[np.ndarray, "n c"], X: Float[np.ndarray, "n d"]
    ) -> Int64[np.ndarray, " n"]:
        """The class of each row."""
        return self.scores(probabilities, X).argmax(1)

    def state(self) -> dict[str, np.ndarray]:
        """Return it as arrays by name."""
        found = {"offsets": self.offsets}
        if self.costs is not None:
            found["costs"] = self.costs
        if self.layers is not None:
            found |= {field.name: getattr(self.layers, field.name) for field in fields(Layers)}
        return found

    @staticmethod
    def described(metric: str, kept: str, **how: Any) -> dict[str, Any]:
        """Return what stands in the manifest of a saved model.

        Args:
            metric: What was tuned.
            kept: The last stage kept.
            how: What it takes to train again: `trained`, `estimator`, `positive`, `seed`.
        """
        return {"schema": _SCHEMA, "metric": metric, "kept": kept, **how}

    @classmethod
    def from_state(cls, tensors: dict[str, np.ndarray], described: Any, c: int, d: int) -> "Tuned":
        """Put it together again for c classes and d features.

        Raises:
            ModelError: Damaged, incomplete or newer.
        """
        schema = described.get("schema") if isinstance(described, dict) else None
        if isinstance(schema, int) and schema > _SCHEMA:
            raise ModelError(
                f"load: schema of tune must be at most {_SCHEMA}; got {schema}",
                remedy="This model is from a newer trivium: pip install -U trivium.",
            )
        h = tensors["hidden_bias"].size if "hidden_bias" in tensors else 0
        shapes = {
            "center": (d,),
            "scale": (d,),
            "weight": (d, c),
            "bias": (c,),
            "hidden": (d, h),
            "hidden_bias": (h,),
            "out": (h, c),
        }
        layered = bool(set(tensors) & set(shapes))
        wanted: dict[str, tuple[int, ...]] = {"offsets": (c,)}
        wanted |= {"costs": (c, c)} if "costs" in tensors else {}
        wanted |= shapes if layered else {}
        found = {name: tuple(array.shape) for name, array in tensors.items()}
        plain = all(a.dtype == np.float64 and np.isfinite(a).all() for a in tensors.values())
        if schema != _SCHEMA or found != wanted or not plain:
            raise ModelError(
                f"load: the tensors of tune must be finite and fit together; got {found}",
                remedy="Nothing in it was used. Save it again, or fetch an intact copy.",
            )
        layers = Layers(**{name: tensors[name] for name in shapes}) if layered else None
        return cls(tensors["offsets"], tensors.get("costs"), layers)
