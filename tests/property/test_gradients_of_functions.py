"""Every public name that can have to do with a gradient, and its derivatives against differences.

Each one has a case here, or is of a family whose law looks at derivatives, or is named with the
reason why there is nothing to look at; whoever adds a name and none of these is told so.
"""

import dataclasses
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from gradient_cases import CASES, SAID_SO, draw
from gradient_tables import EXCEPTIONS, FAMILIES, SURROGATES, VALUES
from gradient_walk import apart, public

from trivium._core.families import members
from trivium.testing import check_gradient

ROOT = Path(__file__).parents[2]
TABLES = {"cases": {name.split(":")[0] for name in CASES}, "values": set(VALUES)}
TABLES |= {"surrogates": set(SURROGATES), "exceptions": set().union(*EXCEPTIONS.values())}


def _of_family(value):
    return inspect.isclass(value) and issubclass(value, tuple(FAMILIES))


def missing(names):
    known = set().union(*TABLES.values())
    return [
        name
        for name, value in names.items()
        if not (name in known or _of_family(value) or apart(name, value))
    ]


def test_every_public_name_is_looked_at():
    found = missing(public())
    assert not found, f"no case, no law and no reason: {found}"
    named = set().union(*TABLES.values())
    assert named <= set(public()), f"no such public name: {sorted(named - set(public()))}"
    twice = [name for name in TABLES["exceptions"] if apart(name, public()[name])]
    assert not twice, f"no tensor comes out of these anyway: {twice}"
    assert len(public()) > 600
    assert sum(not apart(name, value) for name, value in public().items()) > 250


def test_a_new_name_is_asked_for():
    def fresh(x: Tensor) -> Tensor:
        return x

    def whole(x: Tensor) -> int:
        return len(x)

    class Kept:
        def __call__(self, x: Tensor) -> Tensor:
            return x

    Kept.__module__ = "trivium.kernel.here"
    assert missing({"kernel.fresh": fresh, "kernel.Kept": Kept}) == ["kernel.fresh", "kernel.Kept"]
    assert not missing({"kernel.whole": whole})


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name):
    case = CASES[name]
    check_gradient(case.function, case.inputs, second=case.refusal is None, fast=case.fast)
    if case.refusal is not None:  # no derivative is better than a wrong one
        found = case.function(*case.inputs)
        slopes = torch.autograd.grad(found.sum(), case.inputs, create_graph=True)
        try:
            torch.autograd.grad(sum(slope.square().sum() for slope in slopes), case.inputs)
        except case.refusal:
            return
        assert case.refusal is SAID_SO  # torch's word: from 2.14 on it has what it refused
        check_gradient(case.function, case.inputs, fast=case.fast)


def tensors(value, depth=0):
    """Whatever tensors are held, also by objects of ours."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from tensors(one, depth + 1)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors(one, depth + 1)
    elif depth < 5 and type(value).__module__.startswith("trivium"):
        slots = getattr(value, "__dict__", {})
        if dataclasses.is_dataclass(value):
            slots = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        for name, one in slots.items():
            # Given by the user and kept as it is: rows to refer to, models.
            if name not in ("rows_", "x", "model", "kernel", "base", "floor_"):
                yield from tensors(one, depth + 1)


@pytest.mark.parametrize("name", VALUES)
def test_values_have_no_graph(name):
    found = list(tensors(VALUES[name]()))
    assert found
    assert not any(one.requires_grad for one in found)


@pytest.mark.parametrize("name", SURROGATES)
def test_a_surrogate_has_a_test_of_its_own(name):
    path, _, test = SURROGATES[name].partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert f"def {test}(" in text


# ---- families ----------------------------------------------------------------------------------

WHERE = {
    "Kernel": "test_kernels", "FeatureMap": "test_kernels", "Schedule": "test_schedules",
    "LayerKind": "test_layers", "AttentionLayer": "test_attention",
    "AttentionFeatures": "test_attention", "Position": "test_positions",
    "GradientEstimator": "test_estimators", "Listed": "test_distributions",
    "Recurrence": "test_recurrences",
}  # fmt: skip


def test_every_family_is_walked_by_its_conformance_tests():
    for family, (room, _) in FAMILIES.items():
        path = ROOT / "tests/conformance" / f"{WHERE[family.__name__]}.py"
        assert f'members("{room}", {family.__name__})' in path.read_text(encoding="utf-8")


def test_laws_of_differences_reach_every_member(monkeypatch):
    """What the laws hand to `check_gradient`, member by member; the conformance tests run it."""
    from trivium.attention import AttentionFeatures, AttentionLayer
    from trivium.kernel import FeatureMap, Kernel, Schedule
    from trivium.position import Position
    from trivium.testing import attention_feature_laws as of_maps
    from trivium.testing import attention_laws, feature_map_laws, kernel_laws, schedule_laws
    from trivium.testing.attention_laws import attention_rows
    from trivium.testing.kernel_rows import kernel_rows

    seen = []
    for module in (attention_laws, feature_map_laws, kernel_laws, schedule_laws):
        monkeypatch.setattr(module, "check_gradient", lambda *_, **__: seen.append(1))

    def reached(law, *arguments):
        seen.clear()
        law(*arguments)
        return bool(seen)

    for kernel in _examples(Kernel):
        law = kernel_laws.gradient_agrees
        assert reached(law, kernel, kernel_rows(kernel)) is kernel.differentiable
    for one in _examples(FeatureMap):
        law = feature_map_laws.gradient_agrees
        assert reached(law, one, kernel_rows(one.kernel)) is one.kernel.differentiable
    for schedule in _examples(Schedule):
        assert reached(schedule_laws.slopes_agree, schedule)
    for layer in _examples(AttentionLayer):
        law = attention_laws.gradient_agrees
        assert reached(law, layer.double(), attention_rows(layer.d_model))
    # These two end in `check_attention`, all of whose laws are run.
    assert of_maps.layer_keeps_the_laws in of_maps.ATTENTION_FEATURE_LAWS
    for law in (of_maps.layer_keeps_the_laws, FAMILIES[Position][1]):
        assert "check_attention(layer)" in inspect.getsource(inspect.unwrap(law))
    assert attention_laws.gradient_agrees in attention_laws.ATTENTION_LAWS
    assert _examples(AttentionFeatures)


def _examples(family):
    room = FAMILIES[family][0]
    return [one for member in members(room, family) for one in member.examples()]


# ---- planted faults ----------------------------------------------------------------------------


def _with_slope(slope):
    class Planted(torch.autograd.Function):
        """A sum of squares; its derivative is what is said."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square().sum()

        @staticmethod
        def backward(ctx, up):
            return up * slope(2 * ctx.saved_tensors[0])

    return Planted.apply


def _turned(slope):
    turned = slope.clone()
    turned[1] = -turned[1]
    return turned


PLANTED = {
    "1e-4 too large": _with_slope(lambda slope: slope * (1 + 1e-4)),
    "1e-5 too large": _with_slope(lambda slope: slope * (1 + 1e-5)),
    "one sign turned": _with_slope(_turned),
    "a coordinate left out": _with_slope(lambda slope: slope * torch.tensor([1.0, 1.0, 0.0])),
    "a term dropped": lambda x: (x * x.detach()).sum() + x.sin().sum(),
    "detached": lambda x: x.detach().square().sum() + 0 * x.sum(),
    "no graph": lambda x: x.detach().square().sum(),
    "rounded": lambda x: x.float().square().double().sum(),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_seen(fault):
    check_gradient(_with_slope(lambda slope: slope), (draw(3),))
    with pytest.raises(AssertionError):
        check_gradient(PLANTED[fault], (draw(3),))


def test_a_second_derivative_that_is_wrong_alone_is_seen():
    def first_right(x):
        return (x * x * x).sum() + 0 * x.sum()

    class Frozen(torch.autograd.Function):
        """A cube whose slope is taken for a constant."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.pow(3).sum()

        @staticmethod
        def backward(ctx, up):
            return up * 3 * ctx.saved_tensors[0].detach().square()

    check_gradient(first_right, (draw(3),), second=True)
    check_gradient(Frozen.apply, (draw(3),))
    with pytest.raises(AssertionError):
        check_gradient(Frozen.apply, (draw(3),), second=True)


def test_tensors_of_an_object_are_found():
    @dataclasses.dataclass
    class Held:
        inner: Tensor

    Held.__module__ = "trivium.here"
    assert [one.requires_grad for one in tensors([Held(draw(2))])] == [True]
    assert not list(tensors(np.zeros(3)))
