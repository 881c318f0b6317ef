"""Laws that every member of a family keeps, for ours and for yours.

Each module here is found by its file; the names in its `__all__` are names of this package and
load when they are asked for.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["check_kernel", "check_mergeable"]  # the front doors; every law file adds its own


def _exported(path: Path) -> list[str]:
    """Names in the `__all__` of a file, read without running it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            return list(ast.literal_eval(node.value))
    return []


def __getattr__(name: str) -> Any:
    """Find a law by its name."""
    if not name.startswith("_"):
        for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
            if name in _exported(path):
                return getattr(import_module(f"{__name__}.{path.stem}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
