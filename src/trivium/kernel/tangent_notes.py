"""From what a tape noted to per-row gradients: who explains which parameter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError
from trivium.kernel.layer import Call, LayerTangents
from trivium.kernel.layer_dense import DenseTangents, SummedTangents
from trivium.kernel.layer_free import OwnerCall
from trivium.kernel.tangent_plan import Plan
from trivium.kernel.tangents import Tangents

__all__ = ["Heard", "HeardOutput", "Noted", "collect"]

Part = tuple[tuple[int, ...], LayerTangents]


@dataclass(eq=False)
class Heard:
    """One call of a layer, and the gradient that came back to its output."""

    edge: GradientEdge
    kept: Any
    gradient: Tensor | None = None

    @property
    def reached(self) -> bool:
        """Whether a gradient came back."""
        return self.gradient is not None

    def add(self, gradient: Tensor) -> None:
        """Add a gradient that came back."""
        gradient = gradient.detach()
        self.gradient = gradient if self.gradient is None else self.gradient + gradient

    def set(self, gradient: Tensor | None) -> None:
        """Put a gradient in the place of what came back before."""
        self.gradient = gradient


@dataclass(eq=False)
class HeardOutput:
    """One output of a call that can be repeated."""

    edge: GradientEdge
    call: OwnerCall
    place: int

    @property
    def reached(self) -> bool:
        """Whether a gradient came back."""
        return self.place in self.call.gradients

    def add(self, gradient: Tensor) -> None:
        """Add a gradient that came back."""
        known = self.call.gradients.get(self.place)
        self.set(gradient.detach() if known is None else known + gradient.detach())

    def set(self, gradient: Tensor | None) -> None:
        """Put a gradient in the place of what came back before."""
        self.call.gradients.pop(self.place, None)
        if gradient is not None:
            self.call.gradients[self.place] = gradient


@dataclass(frozen=True, eq=False)
class Noted:
    """What a tape heard.

    Attributes:
        plan: Which modules explain which parameters.
        layers: Calls of layers of a known kind.
        owners: Calls of modules that can be repeated.
        edges: How often the model's graph uses each parameter, where the model was called itself.
    """

    plan: Plan
    layers: dict[nn.Module, list[Heard]]
    owners: dict[nn.Module, list[OwnerCall]]
    edges: dict[int, int]

    def direct(self) -> set[int]:
        """Return the parameters that are used without a call of their layer."""
        found = set(self.plan.owners)
        for i, count in self.edges.items():
            calls = sum(len(self.layers.get(module, ())) for module, _ in self.plan.uses[i])
            if count > calls:
                found.add(i)
        return found


def collect(model: nn.Module, noted: Noted, n_rows: int) -> Tangents:
    """Return the gradients of the rows.

    Raises:
        ArgumentError: The gradient of a parameter cannot be cut into rows.
    """
    free = noted.direct()
    shared: dict[int, list[LayerTangents]] = {}
    parts: list[Part] = []
    for module, (_, names) in noted.plan.layers.items():
        wanted = {name: i for name, i in names.items() if i not in free}
        single = {name: i for name, i in wanted.items() if len(noted.plan.uses[i]) == 1}
        groups = [single, *({name: i} for name, i in wanted.items() if name not in single)]
        for group in groups:
            calls = [h for h in noted.layers.get(module, ()) if h.gradient is not None]
            if not group or not calls:
                continue
            found = _factored(noted, module, group, calls, n_rows)
            if found is None:
                free |= set(group.values())
            elif group is single:
                parts.append((tuple(group.values()), found))
            else:
                shared.setdefault(next(iter(group.values())), []).append(found)
    for i, each in shared.items():
        if i not in free:
            parts.append(((i,), each[0] if len(each) == 1 else SummedTangents(each)))
    parts += _repeated(model, noted, sorted(free), n_rows)
    like = next(p for p in model.parameters() if p.requires_grad).detach()
    return Tangents(noted.plan.layout, parts, n_rows, like.new_empty(0))


def _factored(
    noted: Noted, module: nn.Module, group: dict[str, int], heard: Sequence[Heard], n_rows: int
) -> LayerTangents | None:
    kind = noted.plan.layers[module][0]
    dtype = module._parameters[next(iter(group))].dtype  # type: ignore[union-attr]
    calls = [Call(h.kept, h.gradient.to(dtype)) for h in heard if h.gradient is not None]
    return kind.factor(module, tuple(group), calls, n_rows)


def _repeated(model: nn.Module, noted: Noted, free: Sequence[int], n_rows: int) -> list[Part]:
    """Return the gradients of parameters that no layer explains."""
    by_owner: dict[nn.Module, list[int]] = {}
    for i in free:
        owners = noted.plan.owners.get(i, [])
        heard = [one for one in (*owners, model) if one in noted.owners]
        able = [one for one in heard if _able(noted.owners[one], n_rows)]
        if not able:
            raise ArgumentError(_unable(model, noted, i, heard, n_rows))
        by_owner.setdefault(able[0], []).append(i)
    parts: list[Part] = []
    for owner, numbers in by_owner.items():
        names = _names(owner, model, noted, numbers)
        total: dict[int, Tensor] = {}
        for call in noted.owners[owner]:
            if not call.gradients:
                continue
            found = call.row_gradients(type(model).__name__, list(names.values()), n_rows)
            for i, name in names.items():
                total[i] = total[i] + found[name] if i in total else found[name]
        parts += [((i,), DenseTangents(value.flatten(1))) for i, value in total.items()]
    return parts


def _able(calls: Sequence[OwnerCall], n_rows: int) -> bool:
    return all(call.by_rows(n_rows) for call in calls if call.gradients)


def _names(
    owner: nn.Module, model: nn.Module, noted: Noted, numbers: Sequence[int]
) -> dict[int, str]:
    """Return the names that parameters have inside a module."""
    module_names = {module: path for path, module in owner.named_modules()}
    found = {}
    for i in numbers:
        module, name = next(use for use in noted.plan.uses[i] if use[0] in module_names)
        path = module_names[module]
        found[i] = f"{path}.{name}" if path else name
    del model
    return found


def _unable(model: nn.Module, noted: Noted, i: int, heard: Sequence[nn.Module], n_rows: int) -> str:
    name = noted.plan.layout.names[i]
    if not heard:
        return (
            f"TangentTape: the parameter {name!r} is used outside of its layer, so the forward of "
            f"{type(model).__name__} itself must be called; got only calls of its parts"
        )
    shapes = [tuple(out.shape) for call in noted.owners[heard[-1]] for out in call.outputs]
    return (
        f"TangentTape: the leading axis must be the {counted(n_rows, 'row')} around the parameter "
        f"{name!r}; "
        f"got outputs of {shapes} from {type(heard[-1]).__name__}"
    )
