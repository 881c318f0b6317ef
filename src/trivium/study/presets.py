"""What a study runs: sizes, seeds, rates, and which encodings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from trivium._core.families import members
from trivium.position import Added, Position, Sinusoidal

__all__ = ["FULL", "QUICK", "Preset", "contestants"]


@dataclass(frozen=True)
class Preset:
    """Sizes of a study.

    Args:
        name: Its name.
        d_model: Width of the decoder.
        n_heads: Heads.
        n_layers: Layers.
        length: Characters of a row in training.
        size: Symbols of the longest question in training.
        batch: Rows of a step.
        steps: Steps on text.
        task_steps: Steps on the tasks.
        rates: Learning rates tried, on the first seed.
        seeds: Runs at the best of them.
        rows: Rows judged at each length.
    """

    name: str
    d_model: int
    n_heads: int
    n_layers: int
    length: int
    size: int
    batch: int
    steps: int
    task_steps: int
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    seeds: int = 5
    rows: int = 32

    def sizes(self, kind: str) -> dict[str, int]:
        """Return the sizes of the decoder for text or tasks."""
        longest = _LONGEST * max(self.length, 2 * self.size + 2)
        return {
            "d_model": self.d_model,
            "n_heads": self.n_heads,
            "d_head": self.d_model // self.n_heads,
            "n_layers": self.n_layers,
            "max_length": longest if kind == "text" else _LONGEST * (2 * self.size + 2),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


QUICK = Preset("quick", 32, 2, 2, length=64, size=6, batch=16, steps=260, task_steps=360)
FULL = Preset("full", 64, 4, 2, length=128, size=10, batch=16, steps=900, task_steps=1000, rows=32)
_LONGEST = 4  # times the length in training that is judged at the most
_QUICK = ("NoPosition", "Sinusoidal", "Rotary", "Linear", "Buckets")
_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "Buckets": {"bidirectional": False},
        "Disentangled": {"max_distance": 64},  # its usual table is larger than the decoder
        "Untied": {"cls": False},
    }
)


def contestants(preset: str) -> dict[str, tuple[type[Position], Mapping[str, Any]]]:
    """Return the encodings of a preset by name: class and options.

    The full one has every member that a causal layer takes and that a model's sizes are enough
    to make, each at its defaults but where these do not fit a small causal decoder, and a few
    that are options of another.
    """
    found = {
        member.__name__: (member, _OPTIONS.get(member.__name__, {}))
        for member in members("trivium.position", Position)
        if member is not Position and not member.bidirectional_only and _by_sizes(member)
    }
    if preset == "quick":
        return {name: found[name] for name in _QUICK}
    from trivium.position import Learned, Multiplicative, Shaw

    # A table of the length in training, so that hierarchy has to go on beyond it.
    trained = {"max_length": lambda sizes: sizes["max_length"] // _LONGEST}
    found["Learned, hierarchical"] = (Learned, {"hierarchy": 0.4} | trained)
    found["Shaw, sinusoidal (NEZHA)"] = (Shaw, {"table": "sinusoidal"})
    found["Multiplicative Sinusoidal"] = (Multiplicative, {"of": Sinusoidal})
    return found


def _by_sizes(member: type[Position]) -> bool:
    import inspect

    sizes = {"self", "d_model", "n_heads", "d_head", "max_length"}
    return all(
        argument.name in sizes
        for argument in inspect.signature(member.__init__).parameters.values()
        if argument.default is argument.empty
        and argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY)
    ) and not any(
        argument.kind is argument.VAR_POSITIONAL and member.__name__ == "Combined"
        for argument in inspect.signature(member.__init__).parameters.values()
    )


def ready(options: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return the options, with an encoding made of a class, and numbers found by the sizes."""
    from trivium.study.decoder import build_encoding

    def made(value: Any) -> Any:
        if isinstance(value, type) and issubclass(value, Added):
            return build_encoding(value, sizes)
        return value(sizes) if callable(value) else value

    return {name: made(value) for name, value in options.items()}
