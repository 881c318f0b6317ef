"""Every attention layer of the room keeps the public laws; wrong ones are caught."""

import copy

import pytest
import torch

from trivium._core.families import members
from trivium.attention import AttentionFeatures, AttentionLayer, LinearAttention, LinearState
from trivium.attention.linear_state import empty_state
from trivium.testing import attention_rows, check_attention, check_mergeable

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
@pytest.mark.parametrize("causal", [True, False])
def test_laws_with_every_map(phi, causal):
    torch.manual_seed(0)
    check_attention(LinearAttention(8, 2, feature_map=copy.deepcopy(phi), causal=causal))


@pytest.mark.parametrize("phi", MAPS, ids=lambda phi: phi.key()[:30])
def test_map(phi):
    phi = copy.deepcopy(phi).double()
    x = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    features = phi(x)
    assert features.shape == (3, 2, 5, phi.width(4))
    assert (phi(x[1:2, :, 2:3]) - features[1:2, :, 2:3]).abs().max() <= 1e-12
    ratio = phi.queries(x) / features
    known = ratio[~ratio.isnan()]
    assert bool((known > 0).all())
    spread = ratio.nan_to_num(1).amax(-1) / ratio.nan_to_num(1).amin(-1)
    assert (spread - 1).abs().max() <= 1e-9
    if phi.positive:
        weights = features @ phi(torch.randn(3, 2, 50, 4, dtype=torch.float64)).mT
        assert bool((weights >= 0).all())


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
