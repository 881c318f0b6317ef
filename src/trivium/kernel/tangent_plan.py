"""Which modules of a model explain which of its trainable parameters."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from trivium.kernel.layer import LayerKind, kind_of
from trivium.kernel.tangent_layout import Layout

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a tape must listen to.

    Attributes:
        layout: The trainable parameters.
        layers: Modules of a known kind: the kind, and the parameters' numbers by name.
        owners: For each parameter that no kind explains, the modules that could be repeated row
            by row to get its gradient, the innermost first.
        uses: The modules that hold each parameter, and its name there.
        held: Where the owners, and the model, hold their parameters and buffers.
    """

    layout: Layout
    layers: dict[nn.Module, tuple[LayerKind, dict[str, int]]]
    owners: dict[int, list[nn.Module]]
    uses: dict[int, list[tuple[nn.Module, str]]] = field(default_factory=dict)
    held: dict[nn.Module, list[tuple[str, dict[str, Any], str]]] = field(default_factory=dict)


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
        kind, names = kind_of(module) if held and not _is_inside(module) else (None, ())
        known = {name: held[name] for name in names if name in held}
        if kind is not None and known:
            found.layers[module] = (kind, known)
        for name, i in held.items():
            found.uses.setdefault(i, []).append((module, name))
            if name not in known:
                found.owners[i] = _around(path, modules)
    for i in found.owners:
        if len(found.uses[i]) > 1:
            found.owners[i] = [model]
    for owner in {model, *(one for owners in found.owners.values() for one in owners)}:
        found.held[owner] = _held(owner)
    return found


def _held(owner: nn.Module) -> list[tuple[str, dict[str, Any], str]]:
    """Return the name, holder and name there of each parameter and buffer, shared ones once."""
    once: dict[int, tuple[str, dict[str, Any], str]] = {}
    for path, module in owner.named_modules():
        for held in (module._parameters, module._buffers):
            for name, value in held.items():
                if value is not None:
                    full = f"{path}.{name}" if path else name
                    once.setdefault(id(value), (full, held, name))
    return list(once.values())


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
