"""The moment: weight, mean, scatter and cross products that merge and un-merge exactly."""

from trivium.moment.moments import Moments

__all__ = ["Moments"]
