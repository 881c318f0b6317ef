"""The moment: weight, mean, scatter and cross products that merge and un-merge exactly."""

from trivium.moment.causal import Prefix, prefix
from trivium.moment.cross import CrossMoments
from trivium.moment.moments import Moments
from trivium.moment.sample import RowSample
from trivium.moment.tree import MergeTree, merge_tree

__all__ = ["CrossMoments", "MergeTree", "Moments", "Prefix", "RowSample", "merge_tree", "prefix"]
