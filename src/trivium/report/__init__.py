"""The page of a run: one self-contained HTML file, no script, no request, everything escaped."""

from trivium.report.page import render

__all__ = ["render"]
