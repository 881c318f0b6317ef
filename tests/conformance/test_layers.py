"""Every kind of layer keeps the public laws; wrong ones are caught, and yours can be registered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trivium._core.families import members
from trivium.kernel import (
    Call,
    ColumnHash,
    DenseTangents,
    LayerKind,
    LayerTangents,
    LinearLayer,
    OuterTangents,
    register_layer,
    tangents_of,
)
from trivium.kernel.layer import _OURS
from trivium.testing.layer_laws import check_layer

KINDS = [kind for member in members("trivium.kernel", LayerKind) for kind in member.examples()]


def _name(kind: object) -> str:
    return type(kind).__name__


@pytest.mark.parametrize("kind", KINDS, ids=_name)
def test_kind_keeps_the_laws(kind: LayerKind) -> None:
    check_layer(kind)


def test_every_kind_is_walked() -> None:
    assert {_name(kind) for kind in KINDS} == {
        "LinearLayer",
        "ConvolutionLayer",
        "EmbeddingLayer",
        "NormLayer",
    }


# Deliberately wrong kinds, one for each law.


class Wrong(LinearLayer):
    @classmethod
    def examples(cls) -> Sequence["Wrong"]:
        return (cls(),)


class Everything(Wrong):
    def claims(self, module: nn.Module) -> tuple[str, ...]:
        return tuple(module._parameters)


class ForgetsTokens(Wrong):
    """Takes the mean over tokens of each side before the outer product."""

    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        found = super().factor(module, names, calls, n_rows)
        if not isinstance(found, OuterTangents):
            return found
        return OuterTangents(
            found.inputs.mean(2, keepdim=True), found.gradients.sum(2, keepdim=True), found.names
        )


class FixedOrder(Wrong):
    """Always the weight first, whatever order is asked for."""

    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        return super().factor(module, sorted(names, reverse=True), calls, n_rows)


class FirstCall(Wrong):
    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        return super().factor(module, names, calls[:1], n_rows)


class Halved(OuterTangents):
    def products(self, directions: Tensor) -> Tensor:
        return super().products(directions) / 2


class NoBias(OuterTangents):
    def add_gram(self, other: LayerTangents, into: Tensor) -> None:
        assert isinstance(other, OuterTangents)
        chosen = tuple(name for name in self.names if name == "weight")
        bare = OuterTangents(other.inputs, other.gradients, chosen)
        OuterTangents(self.inputs, self.gradients, chosen).add_gram(bare, into)


class LongRows(OuterTangents):
    def squares(self) -> Tensor:
        return self.gradients.square().sum((1, 2, 3)) * self.inputs.square().sum((1, 2, 3))


class OtherHash(OuterTangents):
    """Forgets the signs of one side."""

    def sketch(self, hashes: Sequence[ColumnHash]) -> Tensor:
        return super().sketch(
            [ColumnHash(h.width, (h.left[0], h.left[1].abs()), h.right) for h in hashes]
        )


@dataclass(frozen=True)
class Turned(Wrong):
    """Builds another form."""

    form: type[OuterTangents] = OuterTangents

    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        found = super().factor(module, names, calls, n_rows)
        if not isinstance(found, OuterTangents):
            return found
        return self.form(found.inputs, found.gradients, found.names)


class Generous(Wrong):
    """Cuts anything into any number of rows."""

    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        found = super().factor(module, names, calls, n_rows)
        return found or DenseTangents(torch.zeros(n_rows, 1))


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Everything(), "claims_its_layers"),
        (FixedOrder(), "rows_are_right"),
        (ForgetsTokens(), "rows_are_right|calls_add_up"),
        (FirstCall(), "calls_add_up"),
        (Turned(Halved), "products_agree"),
        (Turned(NoBias), "calls_add_up|gram_agrees"),
        (Turned(LongRows), "squares_and_sums_agree"),
        (Turned(OtherHash), "sketch_is_linear"),
        (Generous(), "foreign_rows_refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else _name(value),
)
def test_a_wrong_kind_is_caught(kind: LayerKind, law: str) -> None:
    with pytest.raises(AssertionError, match=f"law ({law}):"):
        check_layer(kind)


# A kind of one's own.


class Gate(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.linspace(0.5, 1.5, width, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate


@dataclass(frozen=True)
class GateLayer(LayerKind):
    @classmethod
    def examples(cls) -> Sequence["GateLayer"]:
        return (cls(),)

    def layers(self) -> Sequence[tuple[nn.Module, Tensor]]:
        draw = torch.Generator().manual_seed(0)
        return ((Gate(4), torch.randn(5, 3, 4, generator=draw, dtype=torch.float64)),)

    def claims(self, module: nn.Module) -> tuple[str, ...]:
        return ("gate",) if type(module) is Gate else ()

    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        if any(len(call.gradient) % n_rows for call in calls):
            return None
        each: list[Any] = [
            (call.gradient * call.kept).reshape(n_rows, -1, len(module.gate)).sum(1)
            for call in calls
        ]
        return DenseTangents(torch.stack(each).sum(0))


def test_a_kind_of_your_own_is_used() -> None:
    kind = GateLayer()
    check_layer(kind)
    net = nn.Sequential(nn.Linear(4, 4).double(), Gate(4))
    x = torch.randn(5, 4, dtype=torch.float64)
    by_repeating = tangents_of(net, x, lambda out: out.sum(1))
    kept = list(_OURS)
    try:
        register_layer(kind)
        register_layer(kind)
        assert [kind, *kept] == _OURS
        found = tangents_of(net, x, lambda out: out.sum(1))
    finally:
        _OURS[:] = kept
    torch.testing.assert_close(found.dense(), by_repeating.dense(), rtol=1e-12, atol=0)
