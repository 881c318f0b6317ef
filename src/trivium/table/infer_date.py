"""Dates and times of the inference: rule 4 of `infer`, and its refusals."""

from dataclasses import replace

import numpy as np

from trivium._core.counted import counted, noun
from trivium.table.dates import NO_ZONE, Dates, Order, read_dates
from trivium.table.draft import Draft
from trivium.table.table import Column, Kind

__all__ = ["date_column", "known_dates", "with_dates"]


def date_column(draft: Draft, *, said: bool = False) -> Column | None:
    """Rule 4, and its refusals of rule 5."""
    dates = read_dates(draft.texts, draft.options.date_order)
    share = draft.share(dates.shaped)
    if share < 0.5 and not said:
        return None
    possible = np.isfinite(dates.seconds)
    if not possible.all():
        bad = draft.all_levels(~possible)
        row, _ = draft.levels.first(bad)
        message = (
            f"kept as text: {counted(n := draft.levels.n_rows(bad), 'cell')} "
            f"{noun(n, 'is', 'are')} no possible date though the others are: "
            f"{draft.levels.examples(bad)}"
        )
        return draft.noted("W-BAD-DATE", message, row=row).build(Kind.text)
    if dates.ambiguous:
        row, text = draft.levels.first(draft.all_levels(dates.shaped))
        message = (
            f"kept as text: {text} could be day/month or month/day, and no cell tells which; "
            "say --date-order dmy or mdy"
        )
        return draft.noted("W-AMBIGUOUS-DATE", message, row=row).build(Kind.text)
    return with_dates(draft, dates).build(Kind.datetime)


def known_dates(draft: Draft, order: Order | None) -> Column:
    """Read a column that is known to be dates; a cell that none tells how to read is missing."""
    dates = read_dates(draft.texts, draft.options.date_order or order)
    fits = np.isfinite(dates.seconds)
    draft = with_dates(draft, dates)
    if dates.ambiguous:
        guessed = draft.all_levels(dates.guessed)
        row, _ = draft.levels.first(guessed)
        message = (
            f"{counted(draft.levels.n_rows(guessed), 'cell')} with either day/month or month/day, "
            f"counted as missing: {draft.levels.examples(guessed)}; say --date-order dmy or mdy"
        )
        draft = draft.noted("W-AMBIGUOUS-DATE", message, row=row)
        draft = replace(draft, values=np.where(dates.guessed, np.nan, dates.seconds))
    return draft.build_lossy(fits)


def with_dates(draft: Draft, dates: Dates) -> Draft:
    """Take the moments, and note mixed zones."""
    draft = replace(draft, kind=Kind.datetime, values=dates.seconds, date_order=dates.order)
    zones = np.unique(dates.zones[np.isfinite(dates.seconds)])
    if len(zones) > 1:
        names = ", ".join(_zone_name(int(zone)) for zone in zones[:5])
        naive = ", a time without a zone as UTC" if NO_ZONE in zones else ""
        message = f"{len(zones)} time zones ({names}) are mixed; all are taken to UTC{naive}"
        return draft.noted("W-MIXED-ZONES", message)
    if len(zones) == 1 and zones[0] not in {0, NO_ZONE}:
        return draft.noted(
            "W-ZONE", f"times are in {_zone_name(int(zones[0]))} and taken to UTC", info=True
        )
    return draft


def _zone_name(minutes: int) -> str:
    if minutes == NO_ZONE:
        return "none"
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
