"""Which modules of a model explain which of its trainable parameters."""

from dataclasses import dataclass, field

from torch import nn

from trivium.kernel.layer import LayerKind, kind_of
from trivium.kernel.tangents import Layout

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a tape must listen to.

    Attributes:
        layout: The trainable parameters.
        layers: Modules of a known kind: the kind, and the parameters' numbers by name.
        owners: For each parameter that no kind explains, the modules that could be repeated row
            by row to get its gradient, the innermost first.
        uses: How many modules hold each parameter.
    """

    layout: Layout
    layers: dict[nn.Module, tuple[LayerKind, dict[str, int]]]
    owners: dict[int, list[nn.Module]]
    uses: dict[int, list[tuple[nn.Module, str]]] = field(default_factory=dict)


def plan(model: nn.Module, caller: str) -> Plan:
    """Sort a model's modules.

    Raises:
        ArgumentError: As for `Layout.of`.
    """
    layout = Layout.of(model, caller)
    number = {name: i for i, name in enumerate(layout.names)}
    by_identity = {id(p): number[name] for name, p in model.named_parameters() if name in number}
    found = Plan(layout, {}, {})
    modules = dict(model.named_modules())
    for path, module in modules.items():
        held = {
            name: by_identity[id(p)]
            for name, p in module._parameters.items()
            if p is not None and id(p) in by_identity
        }
        if not held:
            continue
        kind, names = (None, ()) if _is_inside(module) else kind_of(module)
        known = {name: held[name] for name in names if name in held}
        if kind is not None and known:
            found.layers[module] = (kind, known)
        for name, i in held.items():
            found.uses.setdefault(i, []).append((module, name))
            if name not in known:
                owners = [model] if i in found.owners else _around(path, modules)
                found.owners[i] = owners
    for i, owners in found.owners.items():
        if len(found.uses[i]) > 1:
            owners[:] = [model]
    return found


def _is_inside(module: nn.Module) -> bool:
    """Return whether a parent module uses this one's parameters without calling it."""
    return isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear)


def _around(path: str, modules: dict[str, nn.Module]) -> list[nn.Module]:
    """Return a module and those around it, from the inside out."""
    words = path.split(".") if path else []
    if "parametrizations" in words:  # these compute a weight, not an output
        words = words[: words.index("parametrizations")]
    paths = [".".join(words[:n]) for n in range(len(words), -1, -1)]
    return [modules[one] for one in paths]
