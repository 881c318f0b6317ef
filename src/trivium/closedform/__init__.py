"""System 7: logistic and softmax regression in closed form."""

from trivium.closedform.classifier import ClosedFormClassifier
from trivium.closedform.flags import Flags, label_flags

__all__ = ["ClosedFormClassifier", "Flags", "label_flags"]
