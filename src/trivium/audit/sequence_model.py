"""A small Transformer over words: built, trained with early stopping, asked for scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.random import derive
from trivium.attention import Attention
from trivium.audit.folds import make_folds
from trivium.audit.own_stream import own_stream
from trivium.audit.plan_text import BATCH, EPOCHS, SMALL_ENCODER
from trivium.audit.sequence_text import Rows
from trivium.position import Buckets, Position, Rotary, Sinusoidal

__all__ = ["ENCODINGS", "SequenceModel", "fit_sequence_model"]

_RATE, _DECAY, _DROP = 4e-3, 0.02, 0.1
_HELD = 6  # one row in six tells when to stop
_PATIENCE = 4
_WIDTH, _HEADS, _LAYERS, _INNER = (
    int(SMALL_ENCODER[name])
    for name in ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size")
)

# The short list; all have the same parameters, but 128 of buckets.
_POSITIONS: dict[str, Callable[[], Position]] = {
    "rotary": lambda: Rotary(_WIDTH // _HEADS),
    "sinusoidal": lambda: Sinusoidal(_WIDTH),
    "buckets": lambda: Buckets(_HEADS),
}
ENCODINGS = tuple(_POSITIONS)


class _Layer(nn.Module):
    def __init__(self, position: Position) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.attention = Attention(_WIDTH, _HEADS, position=position, causal=False)
        self.inner, self.outer = nn.Linear(_WIDTH, _INNER), nn.Linear(_INNER, _WIDTH)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = x + self.attention(self.before(x), lengths=lengths)
        return x + self.outer(nn.functional.gelu(self.inner(self.between(x))))


class SequenceModel(nn.Module):
    """Words to class scores: embedding, two layers of attention, the mean, a linear layer.

    Args:
        places: Size of the vocabulary.
        n_classes: Classes.
        encoding: One of `ENCODINGS`.
    """

    def __init__(self, places: int, n_classes: int, encoding: str) -> None:
        super().__init__()
        position = _POSITIONS[encoding]()
        self.words = nn.Embedding(places, _WIDTH)
        self.position = position
        self.layers = nn.ModuleList(_Layer(position) for _ in range(_LAYERS))
        self.norm, self.out = nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, n_classes)
        self.drop = nn.Dropout(_DROP)
        nn.init.normal_(self.words.weight, std=0.02 * _WIDTH**0.5)
        nn.init.zeros_(self.out.weight)

    def forward(self, places: Tensor, lengths: Tensor) -> Tensor:
        """Return class scores `(b, c)` of texts `(b, s)`."""
        x = self.drop(self.words(places))
        for layer in self.layers:
            x = layer(x, lengths)
        inside = torch.arange(places.shape[1]) < lengths[:, None]
        mean = (self.norm(x) * inside[..., None]).sum(1) / lengths[:, None]
        return self.out(self.drop(mean))


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Args:
        net: The network.
        prior: Log share of each class, what a text without words gets.
        encoding: Its position encoding.
        epochs: How often it saw the rows; 0 where no epoch did better than the prior.
    """

    net: SequenceModel
    prior: Float[np.ndarray, " c"]
    encoding: str
    epochs: int

    def log_proba(self, rows: Rows, which: np.ndarray | None = None) -> Float[np.ndarray, "n c"]:
        """Return log-probabilities of the classes, of some texts or of all."""
        asked = np.arange(len(rows)) if which is None else which
        found = np.tile(self.prior, (len(asked), 1))
        said = np.flatnonzero(rows.lengths[asked] > 0)
        # Texts of like lengths together: less padding.
        said = said[np.argsort(rows.lengths[asked[said]], kind="stable")]
        self.net.eval()
        with torch.no_grad():
            for start in range(0, len(said), 4 * BATCH):
                part = said[start : start + 4 * BATCH]
                scores = self.net(*rows.batch(asked[part]))
                found[part] = scores.double().log_softmax(-1).numpy()
        return found

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays by name, and what describes them."""
        arrays = {name: value.numpy().copy() for name, value in self.net.state_dict().items()}
        facts = {
            "encoding": self.encoding,
            "epochs": self.epochs,
            "places": len(arrays["words.weight"]),
        }
        return arrays | {"prior": self.prior}, facts

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> "Fitted":
        """Make the model that `state` described.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: They do not describe one.
        """
        held = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        prior = held.pop("prior").double().numpy()
        encoding, places = str(facts["encoding"]), int(facts["places"])
        if encoding not in ENCODINGS:
            raise ValueError(f"unknown encoding {encoding!r}")
        sizes = held["words.weight"].shape, held["out.weight"].shape, prior.shape
        if sizes != ((places, _WIDTH), (prior.size, _WIDTH), (prior.size,)):  # before it is built
            raise ValueError(f"weights of shapes {sizes}")
        if not np.isfinite(prior).all() or not all(
            bool(value.isfinite().all()) for value in held.values()
        ):
            raise ValueError("a weight is not finite")
        with own_stream():  # weights drawn only to be written over
            net = SequenceModel(places, len(prior), encoding)
        net.load_state_dict(held)
        return cls(net, prior, encoding, int(facts["epochs"]))


def fit_sequence_model(
    rows: Rows,
    codes: np.ndarray,
    groups: np.ndarray,
    which: np.ndarray,
    n_classes: int,
    *,
    places: int,
    encoding: str,
    seed: int,
) -> Fitted:
    """Train a model on some texts; a sixth of them, held out, tells when to stop.

    Args:
        rows: All texts.
        codes: Their classes.
        groups: Rows with one number are identical, and stay together.
        which: The texts to learn from.
        n_classes: Classes.
        places: Size of the vocabulary.
        encoding: One of `ENCODINGS`.
        seed: Seed of weights, order and dropout; the same seed gives the same bits.

    Cost:
        At most 20 passes over the texts.
    """
    share = np.bincount(codes[which], minlength=n_classes) + 1.0
    prior = np.log(share / share.sum())
    said = which[rows.lengths[which] > 0]
    with own_stream():
        torch.manual_seed(derive(seed, "sequence", encoding) % 2**63)
        net = SequenceModel(places, n_classes, encoding)
        with torch.no_grad():
            net.out.bias.copy_(torch.from_numpy(prior))
        epochs = _train(net, rows, codes, groups, said, seed)
    return Fitted(net, prior, encoding, epochs)


def _train(
    net: SequenceModel,
    rows: Rows,
    codes: np.ndarray,
    groups: np.ndarray,
    said: np.ndarray,
    seed: int,
) -> int:
    """Train in place; leave the weights of the best epoch; return which it was."""
    folds = make_folds(codes[said], groups[said], _HELD, derive(seed, "stop"))
    held, learn = said[folds == 0], said[folds != 0]
    if len(held) == 0 or len(learn) == 0:
        return 0
    steps = EPOCHS * -(-len(learn) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    target = torch.from_numpy(codes)
    best, kept, at = _loss(net, rows, target, held), _copy(net), 0
    for epoch in range(1, EPOCHS + 1):
        net.train()
        for part in torch.randperm(len(learn)).split(BATCH):
            which = learn[part.numpy()]
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(*rows.batch(which)), target[which]).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        now = _loss(net, rows, target, held)
        if now < best:
            best, kept, at = now, _copy(net), epoch
        elif epoch - at >= _PATIENCE and at:
            break
    net.load_state_dict(kept)
    return at


def _loss(net: SequenceModel, rows: Rows, target: Tensor, which: np.ndarray) -> float:
    net.eval()
    with torch.no_grad():
        parts = [which[start : start + 4 * BATCH] for start in range(0, len(which), 4 * BATCH)]
        losses = [
            nn.functional.cross_entropy(net(*rows.batch(part)), target[part], reduction="sum")
            for part in parts
        ]
    return float(torch.stack(losses).sum()) / len(which)


def _copy(net: SequenceModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}
