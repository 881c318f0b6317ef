"""H of each attention head, from its query and key weights."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.checks import check_number, check_shapes
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError

__all__ = ["head_hessian"]

# Names of a query and a key layer side by side, as in the libraries that people train with.
_PAIRS = (
    ("q_proj", "k_proj"),
    ("query", "key"),
    ("q_lin", "k_lin"),
    ("to_q", "to_k"),
    ("w_q", "w_k"),
    ("W_q", "W_k"),
    ("q", "k"),
)
_FUSED = ("projection", "c_attn", "qkv", "query_key_value")
_HEADS = ("n_heads", "num_heads", "num_attention_heads", "n_head", "heads")
Weights = tuple[Tensor, Tensor, int, int | None]  # of query and key, heads, heads of the keys
_SIZES = ("head_dim", "attention_head_size", "d_head", "key_value_proj_dim")


def head_hessian(
    query: Float[Tensor, "q d"],
    key: Float[Tensor, "k d"],
    n_heads: int,
    n_kv_heads: int | None = None,
) -> Float[Tensor, "h d d"]:
    r"""Return $H_a = W_{Q,a}^\top W_{K,a}$, so that the score of head a is $x_i^\top H_a x_j$.

    Args:
        query: Weight of the query layer as in `nn.Linear`, its rows head by head.
        key: Weight of the key layer; its heads may be fewer, each shared by a group.
        n_heads: h.
        n_kv_heads: Heads of the keys; as many by default.

    Returns:
        H of each head in the dtype of the weights, of rank at most the head size, not scaled; of
        the weights' values, without a gradient.

    Raises:
        ArgumentError: A number that breaks its rule, or that does not divide.
        ShapeError: Other inputs, or another head size, in the keys.

    Cost:
        O(d² q) time, O(h d²) memory.

    Example:
        >>> import torch
        >>> head_hessian(torch.eye(4), torch.eye(4), n_heads=2)[0].diag()
        tensor([1., 1., 0., 0.])
    """
    caller = "head_hessian"
    check_shapes(caller, {"query": (query, "q d"), "key": (key, "k d")})
    h = int(check_number(caller, "n_heads", n_heads, "positive", integer=True))
    groups = h if n_kv_heads is None else n_kv_heads
    g = int(check_number(caller, "n_kv_heads", groups, "positive", integer=True))
    if len(query) % h or h % g or len(key) % g:
        raise ArgumentError(
            f"{caller}: n_heads must divide the {counted(len(query), 'row')} of query, and "
            "n_kv_heads n_heads "
            f"and the {counted(len(key), 'row')} of key; got {h} and {g}"
        )
    size = len(query) // h
    if len(key) // g != size:
        raise ShapeError(
            f"{caller}: heads of query and key must have one size; got {size} and {len(key) // g}"
        )
    left = query.detach().reshape(h, size, -1)
    right = key.detach().reshape(g, size, -1).repeat_interleave(h // g, 0)
    return left.mT @ right


def head_hessians(model: nn.Module) -> dict[str, Tensor]:
    """Return H of every head of every attention layer that is recognized, by the layer's name."""
    found = {}
    for name, module in model.named_modules():
        for read in (_of_torch, _side_by_side, _by_group, _fused):
            weights = read(module)
            if weights is not None:
                found[name or type(module).__name__] = head_hessian(*weights)
                break
    if not found:
        raise ArgumentError(
            "hessian: model must hold attention layers with query and key weights side by side; "
            f"found none in {type(model).__name__}",
            remedy="Use head_hessian(query_weight, key_weight, n_heads).",
        )
    return found


def _of_torch(module: nn.Module) -> Weights | None:
    if not isinstance(module, nn.MultiheadAttention):
        return None
    if module.in_proj_weight is not None:
        query, key, _ = module.in_proj_weight.chunk(3)
        return query, key, module.num_heads, None
    if module.kdim != module.embed_dim:
        return None
    return module.q_proj_weight, module.k_proj_weight, module.num_heads, None


def _side_by_side(module: nn.Module) -> Weights | None:
    children = dict(module.named_children())
    for one, other in _PAIRS:
        query, key = _weight(children.get(one)), _weight(children.get(other))
        if query is None or key is None or query.shape[1] != key.shape[1]:
            continue
        n_heads, size = _number(module, _HEADS), _number(module, _SIZES)
        if n_heads is None and size is not None:
            n_heads = len(query) // size
        if n_heads:
            return query, key, n_heads, max(1, len(key) * n_heads // len(query))
    return None


def _by_group(module: nn.Module) -> Weights | None:
    """Read one layer that holds for each head of keys its queries, itself, its values."""
    whole, d = _weight(getattr(module, "projection", None)), _number(module, ("head_dim",))
    h, g = _number(module, ("n_heads",)), _number(module, ("n_kv_heads",))
    if not getattr(module, "by_group", False) or whole is None or not (d and h and g):
        return None
    cut, own = whole.unflatten(0, (g, -1)), h // g * d
    return cut[:, :own].flatten(0, 1), cut[:, own : own + d].flatten(0, 1), h, g


def _fused(module: nn.Module) -> Weights | None:
    """Read one layer of query, key and value: in this order, or head by head as in GPT-NeoX."""
    children, n_heads = dict(module.named_children()), _number(module, _HEADS)
    for one in _FUSED:
        whole = _weight(children.get(one))
        if whole is None or n_heads is None:
            continue
        size = _number(module, ("head_dim",)) or whole.shape[1] // n_heads
        groups = _number(module, ("n_kv_heads",)) or n_heads
        if one == "query_key_value" and len(whole) == 3 * n_heads * size:
            cut = whole.reshape(n_heads, 3, size, -1)
            return cut[:, 0].flatten(0, 1), cut[:, 1].flatten(0, 1), n_heads, None
        first, second = n_heads * size, (n_heads + groups) * size
        if len(whole) >= second:
            return whole[:first], whole[first:second], n_heads, groups
    return None


def _weight(layer: Any) -> Tensor | None:
    """Return a layer's weight with outputs first."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        return None
    return weight.mT if type(layer).__name__ == "Conv1D" else weight


def _number(module: nn.Module, names: tuple[str, ...]) -> int | None:
    for holder in (module, getattr(module, "config", None)):
        for name in names:
            value = getattr(holder, name, None)
            if isinstance(value, int) and value > 0:
                return value
    return None
