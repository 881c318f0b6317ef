"""The parameters of a distribution: find them, and build it anew from others."""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from trivium._core.by_type import ByType
from trivium._core.errors import ArgumentError

__all__ = ["parameters_of", "rebuilt", "releafed", "slopes_of", "with_parameters"]

_ATTRIBUTES = {"base_distribution": "base_dist"}  # where torch keeps an argument of another name
_MISSING = object()
Visit = Callable[[str, Tensor], Tensor]


def parameters_of(distribution: Distribution) -> dict[str, Float[Tensor, "..."]]:
    """Return the tensors that a distribution is made of, by the names of its arguments.

    Tensors are those that its constructor takes (`probs` or `logits`, whichever was given), also
    of a distribution inside (`base_dist.loc`), and the parameters of a module that it holds
    (`step.weight`). Whole numbers (`total_count`) are none. Where some of them require a gradient
    only those are returned, else all.

    Args:
        distribution: Of torch or of `trivium.expectation`.

    Returns:
        Name to tensor, not copied.

    Raises:
        ArgumentError: The constructor's arguments cannot be told from the attributes.

    Example:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> joint = Independent(Normal(torch.zeros(3), 1.0), 1)
        >>> {name: tuple(t.shape) for name, t in parameters_of(joint).items()}
        {'base_dist.loc': (3,), 'base_dist.scale': (3,)}
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, tensor: Tensor) -> Tensor:
        found[name] = tensor
        return tensor

    rebuilt(distribution, "", keep, {})
    chosen = {name: tensor for name, tensor in found.items() if tensor.requires_grad}
    return chosen or found


def with_parameters(
    distribution: Distribution, tensors: Mapping[str, Float[Tensor, "..."]]
) -> Distribution:
    """Return the distribution built anew with other tensors; modules inside are copied.

    Args:
        distribution: As in `parameters_of`; it and its modules are left as they are.
        tensors: Some of the names of `parameters_of`, with what takes their places.

    Raises:
        ArgumentError: A name that it has not.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli
        >>> with_parameters(Bernoulli(logits=torch.zeros(1)), {"logits": torch.ones(2)}).logits
        tensor([1., 1.])
    """
    left = dict(tensors)

    def replace(name: str, tensor: Tensor) -> Tensor:
        return left.pop(name, tensor)

    found: Distribution = rebuilt(distribution, "", replace, {})
    if left:
        names = ", ".join(parameters_of(distribution)) or "none"
        raise ArgumentError(
            f"with_parameters: tensors must be named as the parameters, {names}; "
            f"got {next(iter(left))!r}"
        )
    return found


def releafed(distribution: Distribution) -> tuple[Distribution, dict[str, Tensor]]:
    """Return the distribution over copies of its parameters that are leaves, and these.

    Raises:
        ArgumentError: It has no parameters.
    """
    found = parameters_of(distribution)
    if not found:
        raise ArgumentError(
            f"parameters_of: the distribution must have parameters that are tensors; "
            f"got {distribution}",
            remedy="Let the constructor have tensors, or a module (not a function around one).",
        )
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in found.items()}
    return with_parameters(distribution, leaves), leaves


def slopes_of(value: Float[Tensor, ""], leaves: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the gradient in each leaf, zeros where the value does not depend on it.

    The graph is kept: what the distribution's constructor computed is used by every call.
    """
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if value.requires_grad:
        found = torch.autograd.grad(
            value, list(leaves.values()), allow_unused=True, retain_graph=True
        )
    return [
        torch.zeros_like(leaf) if part is None else part
        for part, leaf in zip(found, leaves.values(), strict=True)
    ]


@ByType
def rebuilt(
    distribution: Distribution, prefix: str, visit: Visit, copies: dict[int, nn.Module]
) -> Distribution:
    """Return the distribution with each of its tensors through `visit`: by its constructor.

    Args:
        distribution: What a form is chosen by; one with other arguments registers its own.
        prefix: In front of the names.
        visit: Takes the name and the tensor, returns what takes its place.
        copies: Modules copied so far, by the identity of the original.

    Raises:
        ArgumentError: The constructor's arguments cannot be told from the attributes.
    """
    arguments = {}
    for name, value in _arguments(distribution).items():
        attribute = _ATTRIBUTES.get(name, name)
        arguments[name] = _visited(value, prefix + attribute, visit, copies)
        if isinstance(value, Tensor) and _is_parameter(distribution, name, value):
            arguments[name] = visit(prefix + attribute, value)
    return type(distribution)(**arguments, validate_args=distribution._validate_args)


def _visited(value: Any, name: str, visit: Visit, copies: dict[int, nn.Module]) -> Any:
    if isinstance(value, Distribution):
        return rebuilt(value, name + ".", visit, copies)
    if isinstance(value, nn.Module):
        return _copied(value, name + ".", visit, copies)
    if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
        owner = _copied(value.__self__, name + ".", visit, copies)
        return MethodType(value.__func__, owner)
    return value


def _copied(
    module: nn.Module, prefix: str, visit: Visit, copies: dict[int, nn.Module]
) -> nn.Module:
    """A copy of a module with other tensors for its parameters, one copy for all its users."""
    if id(module) in copies:
        return copies[id(module)]
    twin = copies[id(module)] = copy.deepcopy(module)
    found: dict[int, Tensor] = {}
    for path, tensor in module.named_parameters(remove_duplicate=False):
        if not tensor.requires_grad:
            continue
        if id(tensor) not in found:
            found[id(tensor)] = visit(prefix + path, tensor)
        owner, _, leaf = path.rpartition(".")
        place = twin.get_submodule(owner)
        del place._parameters[leaf]
        setattr(place, leaf, found[id(tensor)])
    return twin


def _is_parameter(distribution: Distribution, name: str, value: Tensor) -> bool:
    rule = distribution.arg_constraints.get(name)
    return rule is not None and not rule.is_discrete and value.is_floating_point()


def _arguments(distribution: Distribution) -> dict[str, Any]:
    """The constructor's arguments: of those that exclude each other, the one that was given."""
    signature = dict(list(inspect.signature(type(distribution).__init__).parameters.items())[1:])
    signature.pop("validate_args", None)
    choices = [
        name
        for name, argument in signature.items()
        if argument.default is None and name in distribution.arg_constraints
    ]
    given = [name for name in vars(distribution) if name in choices] or choices[-1:]
    found = {}
    for name, argument in signature.items():
        if name in choices and name != given[0]:
            continue
        value = getattr(distribution, _ATTRIBUTES.get(name, name), _MISSING)
        if value is not _MISSING:
            found[name] = value
        elif argument.default is inspect.Parameter.empty:
            raise ArgumentError(
                f"parameters_of: {type(distribution).__name__} must keep its argument {name!r} "
                "as an attribute; it does not"
            )
    return found
