"""What was recorded, so that another model, optimizer or loss is told apart."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trivium._core.errors import ArgumentError
from trivium._core.tensor_file import checksum
from trivium.pathkernel.settings import Settings
from trivium.pathkernel.weights import Weights

__all__ = ["check_identity", "fixed_parts", "identity"]


def identity(
    model: nn.Module, optimizer: Optimizer, loss: Any, settings: Settings
) -> dict[str, Any]:
    """Return the form of a model, an optimizer and a loss, as JSON can hold it."""
    named = {id(p): name for name, p in model.named_parameters()}
    forms = [*model.named_parameters(), *model.named_buffers()]
    groups = [[named.get(id(p), "?") for p in g["params"]] for g in optimizer.param_groups]
    return {
        "model": [[name, list(value.shape), str(value.dtype)] for name, value in forms],
        "weights": list(Weights(model, "record").names),
        "optimizer": f"{type(optimizer).__module__}.{type(optimizer).__qualname__}",
        "groups": groups,
        "loss": _loss(loss),
        "settings": {
            "every": settings.chord,
            "stride": settings.stride,
            "augmented": settings.augmented,
        },
    }


def fixed_parts(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that are not trained."""
    return {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}


def check_identity(caller: str, found: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse another model, optimizer, loss or setting than the recorded one.

    Raises:
        ArgumentError: It is another; the message names the first difference.
    """
    for what, value in ours.items():
        before = found.get(what)
        if before == value:
            continue
        thing = {"groups": "optimizer", "weights": "model"}.get(what, what)
        raise ArgumentError(
            f"{caller}: {thing} must be the recorded one; got {_difference(value, before)} where "
            f"the recording has {_difference(before, value)}"
        )


def _difference(one: Any, other: Any) -> str:
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip([*one, None], [*other, None], strict=False)
        return repr(next((a for a, b in pairs if a != b), None))
    if isinstance(one, dict) and isinstance(other, dict):
        return repr({key: value for key, value in one.items() if value != other.get(key)})
    return repr(one)


def _loss(loss: Any) -> dict[str, Any]:
    kind = type(loss) if isinstance(loss, nn.Module) else loss
    name = getattr(kind, "__qualname__", type(loss).__qualname__)
    found: dict[str, Any] = {"name": f"{getattr(kind, '__module__', '')}.{name}"}
    if isinstance(loss, nn.Module):
        plain = (int, float, str, bool)
        held = {k: v for k, v in vars(loss).items() if isinstance(v, plain) and k != "training"}
        tensors = {k: v for k, v in loss.state_dict().items() if isinstance(v, torch.Tensor)}
        found |= {"options": held, "tensors": checksum(tensors, "")}
    return found
