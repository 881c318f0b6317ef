"""A kernel machine as a file: tensors with a checksum; code is never in it."""

import copy
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trivium._core.errors import ArgumentError, ModelError
from trivium._core.tensor_file import as_written, read_tensors, write_tensors
from trivium.pathkernel.machine_base import Floor
from trivium.pathkernel.machine_solver import Descent, Exact
from trivium.pathkernel.path_kernel import PathKernel, PathNode
from trivium.pathkernel.row_sets import named_rows, rows_from_names

if TYPE_CHECKING:
    from trivium.pathkernel.kernel_machine import KernelMachine

__all__ = ["read_machine", "write_machine"]

_KIND = "trivium.kernel_machine/1"
_OPTIONS = ("loss", "ridge", "budget", "random_state")
_LEARNED = ("target_", "coefficients_")


def write_machine(machine: "KernelMachine", path: str | os.PathLike[str]) -> None:
    """Write a machine.

    Raises:
        ArgumentError: The base is a function that is no module, or rows that are no tensors.
        OutputError: The file cannot be written.
    """
    base = machine.base
    if base is not None and not isinstance(base, nn.Module):
        raise ArgumentError(
            f"KernelMachine: base must be None or a module to be saved; got {type(base).__name__}"
        )
    tensors = named_rows("KernelMachine", machine.rows_)
    tensors |= {name: getattr(machine, name) for name in _LEARNED}
    tensors["constant"] = machine.floor_.constant
    about: dict[str, Any] = {name: getattr(machine, name) for name in _OPTIONS}
    about |= {"classes": machine.classes_, "kernel": _named(machine.kernel)}
    about["descent"] = asdict(machine.solver) if isinstance(machine.solver, Descent) else None
    about["base"] = None if base is None else type(base).__name__
    if base is not None:
        tensors |= {f"base.{name}": value for name, value in base.state_dict().items()}
    if isinstance(machine.kernel, PathKernel):
        nodes = machine.kernel.nodes
        tensors["nodes"] = torch.stack([node.weights for node in nodes])
        for i, node in enumerate(nodes):
            tensors |= {f"buffer.{i}.{name}": value for name, value in node.buffers.items()}
        about |= {"rates": [node.rate for node in nodes], "normalize": machine.kernel.normalize}
        about["chunk"] = machine.kernel.chunk
    write_tensors("KernelMachine.save", path, _KIND, tensors, about)


def read_machine(
    machine: type["KernelMachine"],
    path: str | os.PathLike[str],
    kernel: Any,
    base: nn.Module | None,
) -> "KernelMachine":
    """Read a machine back.

    Raises:
        ArgumentError: A base is missing or too much.
        ModelError: Missing, damaged, or saved with another kernel or architecture.
    """
    tensors, about = read_tensors("KernelMachine.load", path, _KIND)
    with as_written("KernelMachine.load", path, "a kernel machine"):
        return _read(machine, path, kernel, base, tensors, about)


def _read(
    machine: type["KernelMachine"],
    path: str | os.PathLike[str],
    kernel: Any,
    base: nn.Module | None,
    tensors: dict[str, Tensor],
    about: dict[str, Any],
) -> "KernelMachine":
    if (about["base"] is None) != (base is None):
        raise ArgumentError(f"KernelMachine.load: base must be {about['base']}; got {base!r:.60}")
    if base is not None:
        base = copy.deepcopy(base)
        state = {n.removeprefix("base."): v for n, v in tensors.items() if n.startswith("base.")}
        try:
            base.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(
                f"KernelMachine.load: base must have the saved architecture; {error}",
                where=str(path),
            ) from error
    options = {name: about[name] for name in _OPTIONS}
    options["solver"] = Exact() if about["descent"] is None else Descent(**about["descent"])
    found = machine(_kernel(kernel, tensors, about, str(path)), base=base, **options)
    found.rows_ = rows_from_names("KernelMachine.load", tensors)
    found.target_, found.coefficients_ = (tensors[name] for name in _LEARNED)
    found.floor_ = Floor(base, tensors["constant"])
    found.classes_ = list(about["classes"])
    return found


def _named(kernel: Any) -> str:
    return "PathKernel" if isinstance(kernel, PathKernel) else repr(kernel)


def _kernel(kernel: Any, tensors: dict[str, Tensor], about: dict[str, Any], path: str) -> Any:
    model = kernel.model if isinstance(kernel, PathKernel) else kernel
    if isinstance(model, nn.Module) and about["kernel"] == "PathKernel":
        nodes = [
            PathNode(rate, tensors["nodes"][i], _buffers(tensors, i))
            for i, rate in enumerate(about["rates"])
        ]
        n_weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if tensors["nodes"].shape[1] != n_weights:
            raise ModelError(
                f"KernelMachine.load: the network must have {tensors['nodes'].shape[1]} trainable "
                f"weights, as saved; got {n_weights}",
                where=path,
            )
        options = {name: about[name] for name in ("normalize", "chunk")}
        return PathKernel(model, nodes, **options)
    if _named(kernel) != about["kernel"]:
        raise ModelError(
            f"KernelMachine.load: kernel must be {about['kernel']}, as saved; got {kernel!r:.80}",
            where=path,
        )
    return kernel


def _buffers(tensors: dict[str, Tensor], node: int) -> dict[str, Tensor]:
    start = f"buffer.{node}."
    return {n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)}
