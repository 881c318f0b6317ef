"""Every attention layer of the room keeps the public laws; wrong ones are caught."""

import copy

import pytest
import torch

from trivium._core.families import members
from trivium.attention import AttentionFeatures, AttentionLayer, LinearAttention, LinearState
from trivium.attention.linear_state import empty_state
from trivium.testing import (
    attention_rows,
    check_attention,
    check_attention_features,
    check_mergeable,
)

LAYERS = [
    layer for member in members("trivium.attention", AttentionLayer) for layer in member.examples()
]
MAPS = [
    phi for member in members("trivium.attention", AttentionFeatures) for phi in member.examples()
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: str(LAYERS.index(layer)))
def test_laws(layer):
    check_attention(copy.deepcopy(layer))


@pytest.mark.parametrize("phi", MAPS, ids=lambda phi: phi.key()[:30])
def test_laws_of_every_map(phi):
    check_attention_features(copy.deepcopy(phi))


class WrongMap(AttentionFeatures):
    """elu(x) + 1 with one mistake."""

    def __init__(self, mistake):
        super().__init__()
        self.mistake, self.pointwise = mistake, mistake == "derivative"

    @classmethod
    def examples(cls):
        return (cls("none"),)

    def width(self, head_dim):
        return head_dim + (self.mistake == "width")

    def forward(self, x):
        found = torch.nn.functional.elu(x) + 1
        if self.mistake == "looks along":
            found = found / found.sum(-2, keepdim=True)
        return found - 0.5 * (self.mistake == "negative")

    def queries(self, x):
        found = self(x)
        if self.mistake == "unequal factors":
            return found * torch.arange(1, 1 + found.shape[-1])
        return -found if self.mistake == "negative factor" else 2 * found

    def derivative(self, found):
        return found


@pytest.mark.parametrize(
    ("mistake", "law"),
    [
        ("width", "width_is_declared"),
        ("looks along", "rows_alone"),
        ("unequal factors", "queries_are_scaled"),
        ("negative factor", "queries_are_scaled"),
        ("negative", "weights_are_positive"),
        ("derivative", "derivative_is_known"),
    ],
)
def test_a_wrong_map_is_caught(mistake, law):
    check_attention_features(WrongMap("none"))
    with pytest.raises(AssertionError, match=law):
        check_attention_features(WrongMap(mistake))


def test_states_are_moments():
    layer = LinearAttention(8, 2).double()
    parts = list(attention_rows(8, steps=10).split(2, 1))

    def update(state, part):
        state.merge(layer(part, return_state=True)[1].detach())

    check_mergeable(
        lambda: layer.start(2),
        update,
        lambda s: {"S": s.products, "z": s.mass, "n": s.count},
        parts,
    )


# Deliberately wrong layers, one for each law that can be broken by a value.


class Wrong(LinearAttention):
    def __init__(self, **options):
        torch.manual_seed(0)
        super().__init__(8, 2, **options)


class SeesLater(Wrong):
    def forward(self, x, state=None, **options):
        found = super().forward(x, state, **options)
        if isinstance(found, tuple):
            return found
        return found + 1e-9 * x.mean(1, keepdim=True)


class SeesOtherRows(Wrong):
    def forward(self, x, state=None, **options):
        found = super().forward(x, state, **options)
        return found if isinstance(found, tuple) else found + 1e-9 * x.mean(0)


class Blind(Wrong):
    def forward(self, x, state=None, **options):
        found = super().forward(x, state, **options)
        if isinstance(found, tuple):
            return (self.output(self.output(x)), found[1])
        return self.output(self.output(x))


class SeesPadding(Wrong):
    def forward(self, x, state=None, *, lengths=None, return_state=False):
        found = super().forward(x.nan_to_num(0), state, return_state=True)
        if lengths is not None:
            found[1].count = torch.as_tensor(lengths)
        return found if return_state else found[0]


class LosesState(Wrong):
    def forward(self, x, state=None, **options):
        if isinstance(state, LinearState):
            state = state.copy()
            state.sums = state.sums * (1 - 1e-8)
        return super().forward(x, state, **options)


class StepsAside(Wrong):
    def step(self, x, state=None):
        out, state = super().step(x, state)
        return out * (1 + 1e-8), state


class Forgetful(LinearState):
    def merge(self, other):
        super().merge(other)
        self.sums = self.sums * (1 - 1e-8)
        return self

    def copy(self):
        return Forgetful(
            self.sums, self.log_decay, self.count, self.features, self.owner, self.origin
        )


class MergesWrong(Wrong):
    def start(self, batch_size, position=0):
        state = super().start(batch_size, position)
        return self._forgetful(state)

    @staticmethod
    def _forgetful(s):
        return Forgetful(s.sums, s.log_decay, s.count, s.features, s.owner, s.origin)

    def forward(self, x, state=None, *, lengths=None, return_state=False):
        out, end = super().forward(x, state, lengths=lengths, return_state=True)
        return (out, self._forgetful(end)) if return_state else out


class Ordered(Wrong):
    def forward(self, x, state=None, *, lengths=None, return_state=False):
        out, end = super().forward(x, state, lengths=lengths, return_state=True)
        out = out * (1 + 1e-9 * torch.arange(x.shape[1], dtype=x.dtype)[:, None])
        return (out, end) if return_state else out


class NoSlope(Wrong):
    def _projected(self, x, *where):
        q, k, v, log = super()._projected(x, *where)
        return q, k.detach(), v, log


class Lenient(Wrong):
    def _own(self, caller, state, batch_size, like):
        if not isinstance(state, LinearState):
            size = (batch_size, self.n_heads, self.width, self.value_dim)
            return empty_state(size, "none", self.features.key(), like.new_zeros(()))
        return super()._own(caller, state, batch_size, like)


class Narrow(Wrong):
    def forward(self, x, state=None, **options):
        found = super().forward(x, state, **options)
        return found if isinstance(found, tuple) else found.float()


WRONG = {
    "shape_and_dtype_kept": Narrow(causal=False),
    "rows_alone": SeesOtherRows(),
    "causality": SeesLater(),
    "all_seen": Blind(),
    "padding_ignored": SeesPadding(),
    "state_is_the_past": LosesState(),
    "steps_are_the_row": StepsAside(),
    "merge_is_the_row": MergesWrong(),
    "order_is_free": Ordered(causal=False),
    "gradient_agrees": NoSlope(causal=False),
    "misuse_refused": Lenient(),
}


@pytest.mark.parametrize("law", WRONG)
def test_wrong_layers_are_caught(law):
    with pytest.raises(AssertionError, match=f"^law {law}: "):
        check_attention(WRONG[law])


def test_every_law_has_a_layer_that_breaks_it():
    from trivium.testing import ATTENTION_LAWS

    assert [law.__name__ for law in ATTENTION_LAWS] == list(WRONG)
