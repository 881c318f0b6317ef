"""Whether the code runs as it stands: the question of `trivium._core.eager`, asked here too."""

from trivium._core import eager as _asked

eager = _asked.eager
