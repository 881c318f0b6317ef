"""System 7: logistic and softmax regression in closed form."""

from trivium.closedform.classifier import ClosedFormClassifier
from trivium.closedform.export import init_linear_, to_torch
from trivium.closedform.flags import Flags, label_flags
from trivium.closedform.influence import Influence
from trivium.closedform.regressor import ClosedFormRegressor

__all__ = [
    "ClosedFormClassifier",
    "ClosedFormRegressor",
    "Flags",
    "Influence",
    "init_linear_",
    "label_flags",
    "to_torch",
]
