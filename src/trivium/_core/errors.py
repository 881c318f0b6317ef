"""Every deliberate error of trivium: what was wrong, where, and what to do about it.

Each class is also a builtin exception, so `except ValueError` keeps working, and carries the
exit code that the command line returns for it.
"""

from typing import Any, ClassVar

__all__ = [
    "ArgumentError",
    "BusyError",
    "DataError",
    "MissingExtraError",
    "ModelError",
    "NumericalError",
    "OutputError",
    "ResourceError",
    "ShapeError",
    "TriviumError",
    "TriviumWarning",
]


class TriviumError(Exception):
    """Base of all deliberate errors.

    Args:
        what: What was wrong, as `caller: argument must RULE; got VALUE`.
        where: The place: file, row, column, shape; `None` where the call is the place.
        remedy: What to do about it, as a sentence.
        code: Stable name of this error, `E-...`; the class's own name for it by default.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "E-TRIVIUM"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        remedy: str | None = None,
        code: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        self.code = code or self.default_code
        text = what if where is None else f"{what} ({where})"
        super().__init__(text if remedy is None else f"{text}. {remedy}")

    def as_dict(self) -> dict[str, Any]:
        """Return the error as a JSON object: `code, what, where, remedy, exit_code`."""
        return {
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "remedy": self.remedy,
            "exit_code": self.exit_code,
        }


class ArgumentError(TriviumError, ValueError):
    """An argument breaks its rule."""

    exit_code = 2
    default_code = "E-ARGUMENT"


class ShapeError(ArgumentError):
    """Two arguments disagree on an axis, or one has the wrong number of axes."""

    default_code = "E-SHAPE"


class DataError(TriviumError, ValueError):
    """The data cannot be used as they are; nothing was changed."""

    exit_code = 3
    default_code = "E-DATA"


class ModelError(DataError):
    """A saved model is damaged, incomplete or from a newer version; nothing in it was used."""

    default_code = "E-MODEL"


class NumericalError(TriviumError, ArithmeticError):
    """A matrix or a sum left the range in which the result can be trusted."""

    exit_code = 3
    default_code = "E-NUMERICAL"


class ResourceError(TriviumError, MemoryError):
    """The work needs more memory, disk or time than was allowed; the message has the figure."""

    exit_code = 5
    default_code = "E-RESOURCE"


class OutputError(TriviumError, OSError):
    """A result could not be written; what was there before is intact."""

    exit_code = 3
    default_code = "E-OUTPUT"


class BusyError(OutputError):
    """Another run is writing to the same folder."""

    default_code = "E-BUSY"


class MissingExtraError(TriviumError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""

    exit_code = 2
    default_code = "E-EXTRA"


class TriviumWarning(UserWarning):
    """A result that can be used, with something to know about it."""
