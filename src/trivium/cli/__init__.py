"""The command line: `trivium VERB`. Heavy imports happen inside the verbs."""

from trivium.cli.entry import main

__all__ = ["main"]
