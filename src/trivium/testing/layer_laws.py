"""Laws that every kind of layer keeps: its per-row gradients are those of autograd.

A layer kind of your own is held to the same.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trivium._core.errors import TriviumError
from trivium.kernel.layer import Call, LayerKind, LayerTangents
from trivium.kernel.layer_dense import BesideTangents
from trivium.kernel.tangent_hash import ColumnHash

__all__ = ["LAYER_LAWS", "check_layer"]

_TOLERANCE = 1e-12
Law = Callable[[LayerKind, nn.Module, Tensor], None]


def _holds(condition: bool, kind: object, message: str) -> None:
    if not condition:
        raise AssertionError(f"{kind!r}: {message}")


def _close(kind: object, what: str, found: Tensor, wanted: Tensor) -> None:
    _holds(
        found.shape == wanted.shape,
        kind,
        f"{what} has shape {tuple(found.shape)}, not {tuple(wanted.shape)}",
    )
    scale = float(wanted.abs().max()) or 1.0
    gap = float((found - wanted).abs().max()) / scale
    _holds(gap <= _TOLERANCE, kind, f"{what} differs from automatic differentiation by {gap:.2g}")


def _value(output: Tensor) -> Tensor:
    """One number a row, with another slope at each place."""
    flat = output.flatten(1)
    slope = torch.linspace(0.3, 1.7, flat.shape[1], dtype=flat.dtype, device=flat.device)
    return (flat * slope).sin().sum(1)


def _by_rows(module: nn.Module, names: Sequence[str], inputs: Sequence[Tensor]) -> Tensor:
    """The oracle: one backward pass a row."""
    parameters: list[Any] = [module._parameters[name] for name in names]
    value = torch.stack([_value(module(x)) for x in inputs]).sum(0)
    rows = [torch.autograd.grad(one, parameters, retain_graph=True) for one in value]
    return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])


def _calls(kind: LayerKind, module: nn.Module, inputs: Sequence[Tensor]) -> list[Call]:
    found = []
    for x in inputs:
        output = module(x)
        kept: Any = kind.keep(module, (x,), output.detach())
        (gradient,) = torch.autograd.grad(_value(output).sum(), output)
        found.append(Call(kept, gradient))
    return found


def _factored(
    kind: LayerKind, module: nn.Module, names: Sequence[str], inputs: Sequence[Tensor]
) -> LayerTangents:
    found = kind.factor(module, names, _calls(kind, module, inputs), len(inputs[0]))
    if found is None:
        raise AssertionError(f"{kind!r}: cannot cut its own example {module} into rows")
    return found


def claims_its_layers(kind: LayerKind, module: nn.Module, x: Tensor) -> None:
    """The kind claims parameters of its examples, and of no class with a forward of its own."""
    del x
    names = kind.claims(module)
    _holds(bool(names), kind, f"does not claim its own example {module}")
    _holds(set(names) <= set(module._parameters), kind, f"claims {names}, which {module} lacks")

    class Other(type(module)):  # type: ignore[misc]
        def forward(self, *args: Any) -> Tensor:
            return super().forward(*args) * 2

    other = copy.deepcopy(module)
    other.__class__ = Other
    _holds(not kind.claims(other), kind, "claims a subclass with a forward of its own")
    _holds(not kind.claims(nn.Identity()), kind, "claims a module without parameters")


def rows_are_right(kind: LayerKind, module: nn.Module, x: Tensor) -> None:
    """Written out, each row is that row's gradient; for any of the parameters alone as well."""
    names = kind.claims(module)
    for chosen in {names, names[::-1], names[:1], names[-1:]}:
        found = _factored(kind, module, chosen, [x])
        wanted = _by_rows(module, chosen, [x])
        _close(kind, f"dense() of {chosen}", found.dense(), wanted)
        _holds(found.n_rows == len(x), kind, f"n_rows is {found.n_rows}, not {len(x)}")
        _holds(
            found.n_columns == wanted.shape[1],
            kind,
            f"n_columns is {found.n_columns}, not {wanted.shape[1]}",
        )


def calls_add_up(kind: LayerKind, module: nn.Module, x: Tensor) -> None:
    """A layer that is called twice has the sum of both calls' gradients."""
    names, inputs = kind.claims(module), [x, x.flip(0)]
    found = _factored(kind, module, names, inputs)
    wanted = _by_rows(module, names, inputs)
    _close(kind, "dense() of two calls", found.dense(), wanted)
    _close(kind, "gram of two calls", _gram(found, found), wanted @ wanted.mT)


def products_agree(kind: LayerKind, module: nn.Module, x: Tensor) -> None:
    """Products, sums of rows and the rows themselves are those of the written-out gradients."""
    names = kind.claims(module)
    found, wanted = _factored(kind, module, names, [x]), _by_rows(module, names, [x])
    draw = torch.Generator().manual_seed(1)
    for count in (1, 3):
        u = torch.randn(count, wanted.shape[1], generator=draw, dtype=wanted.dtype)
        w = torch.randn(count, len(x), generator=draw, dtype=wanted.dtype)
        _close(kind, f"products of {count}", found.products(u), u @ wanted.mT)
        _close(kind, f"combine of {count}", found.combine(w), w @ wanted)
    for which in (slice(1, 3), slice(None, None, 2)):
        _close(kind, f"rows({which})", found.rows(which).dense(), wanted[which])


def gram_agrees(kind: LayerKind, module: nn.Module, x: Tensor) -> None:
    """The Gram matrix is that of the written-out gradients, and is added to what was there."""
    names = kind.claims(module)
    wanted = _by_rows(module, names, [x])
    found = _factored(kind, module, names, [x])
    other, others = found.rows(slice(0, len(x) - 2)), wanted[:-2]
    _close(kind, "gram", _gram(found, other), wanted @ others.mT)
    start = torch.ones(len(x), len(others), dtype=wanted.dtype)
    found.add_gram(other, start)
    _close(kind, "add_gram onto ones", start - 1, wanted @ others.mT)
    moved = x.roll(1, 0)
    again = _factored(kind, module, names, [moved])
    _close(kind, "gram of other rows", _gram(found, again), wanted @ wanted.roll(1, 0).mT)


def squares_and_sums_agree(kind: LayerKind, module: nn.Module, x: Tensor) -> None:
    """Squared lengths are the Gram matrix's diagonal; side by side, Gram matrices add up."""
    names = kind.claims(module)
    found, wanted = _factored(kind, module, names, [x]), _by_rows(module, names, [x])
    _close(kind, "squares", found.squares(), wanted.square().sum(1))
    (call,) = _calls(kind, module, [x])
    other = kind.factor(module, names, [Call(call.kept, call.gradient.square())], len(x))
    if other is None:
        raise AssertionError(f"{kind!r}: cuts calls into rows for some gradients only")
    wide, two = BesideTangents.of([found, other, found]), other.dense()
    _close(kind, "beside", _gram(wide, wide), 2 * wanted @ wanted.mT + two @ two.mT)
    _close(kind, "squares of beside", wide.squares(), _gram(wide, wide).diagonal())


def sketch_is_linear(kind: LayerKind, module: nn.Module, x: Tensor) -> None:
    """The sketch of the factors is that of the gradients written out, by the same hashes."""
    names = kind.claims(module)
    found, wanted = _factored(kind, module, names, [x]), _by_rows(module, names, [x])
    hashes, start = [], 0
    total = torch.zeros(len(x), 7, dtype=wanted.dtype)
    for seed, name in enumerate(names):
        shape = module._parameters[name].shape  # type: ignore[union-attr]
        one = ColumnHash.draw(shape, 7, torch.Generator().manual_seed(seed), wanted)
        total = total + one.counted(wanted[:, start : start + shape.numel()], one.flat())
        start += shape.numel()
        hashes.append(one)
    _close(kind, "sketch", found.sketch(hashes), total)


def foreign_rows_refused(kind: LayerKind, module: nn.Module, x: Tensor) -> None:
    """Calls whose leading axis does not hold the rows are not cut up."""
    calls = _calls(kind, module, [x])
    found = kind.factor(module, kind.claims(module), calls, len(x) + 1)
    _holds(found is None, kind, f"cuts {len(x)} rows into {len(x) + 1}")


def _gram(left: LayerTangents, right: LayerTangents) -> Tensor:
    into = torch.zeros(left.n_rows, right.n_rows, dtype=torch.float64)
    left.add_gram(right, into)
    return into


LAYER_LAWS: tuple[Law, ...] = (
    claims_its_layers,
    rows_are_right,
    calls_add_up,
    products_agree,
    gram_agrees,
    squares_and_sums_agree,
    sketch_is_linear,
    foreign_rows_refused,
)


def check_layer(kind: LayerKind) -> None:
    """Hold a kind of layer to every law in `LAYER_LAWS`, on each of its `layers()` in float64.

    Args:
        kind: An instance.

    Raises:
        AssertionError: A law is broken; the message names the law and the figure.

    Example:
        >>> from trivium.kernel import LinearLayer
        >>> check_layer(LinearLayer())
    """
    if not kind.layers():
        raise AssertionError(f"{kind!r}: layers() must give an example")
    for module, x in kind.layers():
        for law in LAYER_LAWS:
            try:
                law(kind, module, x)
            except AssertionError as error:
                raise AssertionError(f"law {law.__name__}: {module}: {error}") from error
            except TriviumError as error:
                raise AssertionError(f"law {law.__name__}: {module}: {kind!r}: {error}") from error
