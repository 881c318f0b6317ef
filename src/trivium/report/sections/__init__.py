"""The sections of the page, in the order of a reader's questions."""

from collections.abc import Mapping
from typing import Any

from trivium.report.blocks import Section
from trivium.report.fields import Limits
from trivium.report.sections.data import data_section, warnings_section
from trivium.report.sections.demo import demo_section
from trivium.report.sections.labels import fix_section, label_section
from trivium.report.sections.method import method_section
from trivium.report.sections.planning import plan_section
from trivium.report.sections.scores import score_section
from trivium.report.sections.signal import signal_section, where_section
from trivium.report.sections.tuning import tune_section
from trivium.report.sections.why import why_section

__all__ = ["build"]


def build(report: Mapping[str, Any], limits: Limits) -> list[Section]:
    """Return every section of the page; one with nothing to show says why."""
    sections = [
        signal_section(report, limits),
        where_section(report, limits),
        score_section(report, limits),
        tune_section(report, limits),
        label_section(report, limits),
        fix_section(report, limits),
        why_section(report, limits),
        plan_section(report, limits),
        method_section(report, limits),
        warnings_section(report, limits),
        data_section(report, limits),
    ]
    graded = demo_section(report, limits)
    return sections if graded is None else [graded, *sections]
