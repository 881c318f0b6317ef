"""Every position encoding of the room keeps the public laws; wrong ones are caught."""

import copy

import pytest
import torch
from torch import nn

from trivium._core.families import members
from trivium.attention import Attention, LinearAttention
from trivium.kernel.spectral import Geometric
from trivium.position import Learned, NoPosition, Offset, Position, ZeroPadding
from trivium.testing import POSITION_LAWS, check_attention, check_position

ENCODINGS = [
    (encoding, causal)
    for member in members("trivium.position", Position)
    for encoding in member.examples()
    for causal in (True, False)
    if not ((encoding.causal_only and not causal) or (encoding.bidirectional_only and causal))
]
ONCE = [
    (encoding, causal)
    for encoding, causal in ENCODINGS
    if causal is not encoding.bidirectional_only
]
BEFORE = [
    (encoding, causal)
    for encoding, causal in ENCODINGS
    if not (encoding.scored or encoding.weighted or encoding.refresh)
]


def name(value):
    return type(value).__name__[:20] if isinstance(value, Position) else str(value)


@pytest.mark.parametrize(("encoding", "causal"), ENCODINGS, ids=name)
def test_laws(encoding, causal):
    check_position(copy.deepcopy(encoding), causal)


@pytest.mark.parametrize(("encoding", "causal"), BEFORE, ids=name)
def test_laws_of_a_linear_layer(encoding, causal):
    torch.manual_seed(0)
    check_attention(LinearAttention(8, 2, position=copy.deepcopy(encoding), causal=causal))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's kernel without a bias
@pytest.mark.parametrize(("encoding", "causal"), ONCE, ids=name)
def test_layers_without_numbers_and_layers_that_are_mapped(encoding, causal):
    """On the meta device a layer gives shapes; under `vmap` values, and gradients through them."""
    torch.manual_seed(0)
    layer = Attention(8, 2, position=copy.deepcopy(encoding), causal=causal).double()
    x = torch.randn(3, 2, 7, 8, dtype=torch.float64)
    mapped, each = torch.vmap(layer)(x), torch.stack([layer(rows) for rows in x])
    assert (mapped - each).abs().max() <= 1e-12
    learned = list(layer.parameters())
    found, wanted = (
        torch.autograd.grad(out.sin().sum(), learned, allow_unused=True) for out in (mapped, each)
    )
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        assert one is None or (one - other).abs().max() <= 1e-11
    nowhere = layer.to("meta")
    for _ in range(2):
        assert nowhere(x[0].to("meta")).shape == (2, 7, 8)
        with torch.no_grad():
            assert nowhere(x[0].to("meta")).shape == (2, 7, 8)


@pytest.mark.parametrize("causal", [True, False])
def test_two_layers_share_one_instance(causal):
    """Each member that can be shared gives each layer what a copy of its own would."""
    x = torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(0))
    for encoding, fits in ENCODINGS:
        if fits is not causal or type(encoding).join is not Position.join:
            continue
        shared, layers = copy.deepcopy(encoding), []
        for _ in range(2):
            torch.manual_seed(len(layers))
            layers.append(Attention(8, 2, position=shared, causal=causal))
        alone = [copy.deepcopy(layer) for layer in layers]
        found = layers[1](layers[0](x)[:, :5])
        assert torch.equal(found, alone[1](alone[0](x)[:, :5])), name(encoding)
        saved = layers[0].state_dict()
        layers[1].load_state_dict(saved)
        assert torch.equal(layers[1](x), layers[0](x)), name(encoding)


class Near(Offset):
    """An encoding of a user's own, as the documentation shows it."""

    def curve(self, r):
        return -r.abs()[..., None] * torch.tensor([0.5, 0.1], dtype=torch.float64)


@pytest.mark.parametrize("causal", [True, False])
def test_three_lines_of_ones_own(causal):
    check_position(Near(), causal)


# Deliberately wrong encodings, each with the laws that may name it.


class CountsItself(Position):
    """Numbers the tokens of a call, not their positions."""

    def embed(self, x, i):
        return x + torch.arange(x.shape[1], dtype=x.dtype)[:, None]


class KeyOfNow(NoPosition):
    """Keys depend on how many there are, and are cached."""

    def key(self, k, j):
        return k * k.shape[2]


class Turns(Position):
    """Right: pairs of coordinates turned by exact angles."""

    stationary = True

    def angles(self, i, x):
        return i.double()[..., None] * Geometric().frequencies(x.shape[-1] // 2)

    def query(self, q, i):
        angles = self.angles(i, q)
        angles = angles.unsqueeze(-3) if i.ndim == 2 else angles
        cos, sin = angles.cos().to(q.dtype), angles.sin().to(q.dtype)
        a, b = q.chunk(2, -1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    key = query


class RoundsPositions(Turns):
    """Positions in bfloat16: exact up to 256, steps of 8,192 near 2²⁰."""

    def angles(self, i, x):
        return super().angles(i.bfloat16(), x)


class NarrowAngles(Turns):
    """Angles in float32: off by 6e-2 near 2²⁰."""

    def angles(self, i, x):
        return i.float()[..., None] * Geometric().frequencies(x.shape[-1] // 2).float()


class AnglesOfTheLayer(Turns):
    """Angles in the type of the layer."""

    def angles(self, i, x):
        return i.to(x.dtype)[..., None] * Geometric().frequencies(x.shape[-1] // 2).to(x.dtype)


class BlindWhileDecoding(Near):
    """A bias that is zero for a query alone, as ALiBi by the number of queries."""

    def curve(self, r):
        return super().curve(r.clamp(min=0))

    def score(self, q, k, i, j, keep):
        return q.new_zeros(()) if q.shape[2] == 1 else super().score(q, k, i, j, keep)


class BlindAlone(Near):
    """The same without its own score, on the path by a table."""

    def curve(self, r):
        return super().curve(r) * (r.shape[0] > r.max() - r.min() and (r <= 0).any())


class ShiftTrick(Position):
    """Vectors of the offset by the shift of Transformer-XL, which is valid only causally."""

    scored = True

    def score(self, q, k, i, j, keep):
        b, h, n, d = q.shape
        t = k.shape[2]
        grid = torch.arange(t, dtype=q.dtype)[:, None] + torch.arange(d, dtype=q.dtype)
        found = q @ (grid / t).sin().mT
        padded = nn.functional.pad(found, (1, 0)).view(b, h, t + 1, n)
        return padded[:, :, 1:].reshape(b, h, n, t)


class ClipsByQueries(Near):
    """Offsets clipped to the number of queries."""

    def score(self, q, k, i, j, keep):
        far = q.shape[2] - 1
        r = (i[..., :, None] - j[..., None, :]).clamp(-far, far)
        return self.curve(r).movedim(-1, -3).to(q.dtype)


class ClipsPositions(Learned):
    """Positions past the table silently read its last row."""

    def __init__(self):
        super().__init__(24, 8)

    def vectors(self, i):
        return super().vectors(i.clamp(0, 23))


class ForgetsKeep(Position):
    """Gates summed over all keys, padding and other documents among them."""

    scored = True

    def score(self, q, k, i, j, keep):
        seen = torch.ones(q.shape[2], k.shape[2]).tril(k.shape[2] - q.shape[2])
        return -((q @ k.mT).sigmoid() * seen).flip(-1).cumsum(-1).flip(-1)


class NeighboursByPlace(ZeroPadding):
    """Neighbors are what stands beside, not what has the next position."""

    def __init__(self):
        super().__init__(8, 3, 2)

    def embed(self, x, i):
        return super().embed(x, torch.arange(x.shape[1]))


class Remembers(Learned):
    """A table read once."""

    def __init__(self):
        super().__init__(24, 8)
        self.known = None

    def vectors(self, i):
        self.known = self.weight.detach().clone() if self.known is None else self.known
        return self.known[i].to(self.weight.dtype) + 0 * self.weight.sum()


class HeadsApart(NoPosition):
    """Keys of each head with a factor of its own, which grouped heads cannot have."""

    def key(self, k, j):
        return k * (1 + torch.arange(k.shape[1], dtype=k.dtype))[:, None, None]


class Rounds(NoPosition):
    """Keys rounded to whole numbers of 1/128, as if float32 were narrow."""

    def key(self, k, j):
        return k if k.dtype == torch.float64 else (k * 128).round() / 128


class PlacesOfRun(Position):
    """Positions given row by row are taken for those of the first row."""

    def embed(self, x, i):
        rows = i if i.ndim == 1 else i[0]
        return x + rows[:, None].to(x.dtype)


class RowsApart(Position):
    """Positions given row by row are numbered from one, not from zero."""

    def embed(self, x, i):
        return x + (i + (i.ndim - 1)).to(x.dtype)[..., None].sin()


class FromWhereItBegins(Position):
    """Positions counted from the first of the call."""

    def embed(self, x, i):
        return x + (i - i[..., :1]).to(x.dtype)[..., None].sin()


STATES = "padding_ignored|state_is_the_past|steps_are_the_row"
WRONG = [
    (CountsItself, True, STATES),
    (CountsItself, False, "packed_documents"),
    (KeyOfNow, True, STATES),
    (RoundsPositions, True, "far_positions"),
    (NarrowAngles, False, "far_positions"),
    (AnglesOfTheLayer, True, "far_positions"),
    (BlindWhileDecoding, True, STATES),
    (BlindAlone, True, STATES),
    (ShiftTrick, False, "packed_documents|rows_alone|padding_ignored"),
    (ClipsByQueries, True, STATES),
    (ClipsPositions, True, "far_positions"),
    (ForgetsKeep, True, "padding_ignored|packed_documents"),
    (NeighboursByPlace, False, "padding_ignored|packed_documents"),
    (Remembers, True, "nothing_remembered"),
    (HeadsApart, True, "grouped_heads"),
    (Rounds, True, "narrow_dtypes"),
    (PlacesOfRun, True, "ragged_chunks|left_padding|padding_ignored"),
    (RowsApart, False, "positions_are_explicit"),
    (FromWhereItBegins, True, STATES),
]


def test_an_exact_rotation_passes():
    check_position(Turns())
    check_position(Turns(), causal=False)


@pytest.mark.parametrize(("wrong", "causal", "laws"), WRONG, ids=str)
def test_wrong_encodings_are_caught(wrong, causal, laws):
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=rf"^law ({laws}): "):
        check_position(wrong(), causal)


def test_laws_have_names():
    assert len({law.__name__ for law in POSITION_LAWS}) == len(POSITION_LAWS)
