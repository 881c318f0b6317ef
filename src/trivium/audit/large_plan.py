"""What the plan and the report say of a table of which only a sample is held."""

from trivium._core.counted import counted
from trivium.audit.plan_choice import choice_of
from trivium.audit.plan_fit import RIDGES
from trivium.audit.state import AuditState, Section

__all__ = ["large_choices", "sample_section"]

_STAGES = {
    "read": (
        "all rows",
        "labels, missing labels, constant columns; kinds of columns, leaks, repeated rows and "
        "counts of cells in data.schema are of the sample",
    ),
    "plan": ("the sample", "sizes and choices, beside what is held and how all rows pass by"),
    "depend": ("the sample", "every test"),
    "encode": (
        "the sample",
        "the encoder is learnt from the sample and encodes all rows; nothing is learnt from the "
        "label",
    ),
    "fit": (
        "all rows",
        "the closed form, leave-one-out of every row, confusion, calibration, each class; the "
        "ridge and the temperature are chosen, and the models compared on folds, on the sample",
    ),
    "flag": (
        "all rows",
        "every row is judged without itself; the share of wrong labels and its temperature are "
        "fitted on the sample; what fixing changes is exact for all rows, and seen on the sample",
    ),
    "tune": ("the sample", "every stage; what is kept goes on top of the closed form of all rows"),
    "explain": ("the sample", "rows of the sample, by the closed form of the sample"),
}


def large_choices(state: AuditState) -> list[Section]:
    """Return the choices about all rows: what is held, and how all rows pass by."""
    large = state.large
    assert large is not None
    held, n, d = state.report["sample"]["rows"], large.n_rows, state.plan.size.features
    c, blocks = len(state.classes), len(large.parts.blocks)
    return [
        choice_of(
            "read",
            "rows held at once",
            f"a sample of {held:,} of {counted(n, 'row')}",
            f"{counted(large.cells, 'cell')} are more than --hold {state.options.hold:,}",
            held * len(large.parts.names),
            (f"all {counted(n, 'row')}", large.cells),
        ),
        choice_of(
            "fit",
            "closed form of all rows",
            f"moments of {counted(d, 'feature')}, {counted(blocks, 'block')} that pass twice",
            "exact, and nothing but the moments is held",
            n * d * d + n * d * d + RIDGES * n * d * (c + 2),
        ),
    ]


def sample_section(state: AuditState, held: int) -> Section:
    """Return the section `sample` of the report.

    Args:
        state: The run.
        held: Rows of the sample.
    """
    large = state.large
    assert large is not None
    return {
        "rows": held,
        "of": large.n_rows,
        "columns": len(large.parts.names),
        "hold": state.options.hold,
        "files": len(large.parts.files),
        "blocks": len(large.parts.blocks),
        "how": "uniform: the rows with the smallest mix of the seed and their number, and of each "
        "class at least two rows",
        "stages": [
            {"stage": name, "rows": rows, "what": what} for name, (rows, what) in _STAGES.items()
        ],
    }
