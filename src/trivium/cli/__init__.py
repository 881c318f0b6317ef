"""The command line: `trivium VERB`. Heavy imports happen inside the verbs."""

import sys
from typing import NoReturn

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code.

    Args:
        arguments: What follows `trivium`; those of the process by default.
    """
    try:
        from trivium.cli.entry import main as run
    except KeyboardInterrupt:
        print("error[E-INTERRUPTED]: interrupted", file=sys.stderr)
        sys.exit(130)
    run(arguments)
