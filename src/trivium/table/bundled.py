"""The real table that comes with trivium: 344 penguins (CC0), audited for `Sex` by default."""

from pathlib import Path

__all__ = ["bundled_label", "penguins_path"]


def penguins_path() -> Path:
    """Return the path of the bundled table.

    Example:
        >>> penguins_path().name
        'penguins-raw.csv'

    Source:
        Gorman, Williams and Fraser (2014), PLoS ONE 9(3): e90081; palmerpenguins; CC0 1.0.
    """
    return Path(__file__).parent / "data" / "penguins-raw.csv"


def bundled_label() -> str:
    """Return the column of the bundled table that is predicted by default."""
    return "Sex"
