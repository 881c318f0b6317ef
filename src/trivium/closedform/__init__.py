"""System 7: logistic and softmax regression in closed form."""

from trivium.closedform.classifier import ClosedFormClassifier
from trivium.closedform.export import init_linear_, to_torch
from trivium.closedform.flags import Flags, LabelNoise, label_flags, label_noise
from trivium.closedform.from_moments import left_out_logits, refit_moments
from trivium.closedform.influence import Influence
from trivium.closedform.regressor import ClosedFormRegressor

__all__ = [
    "ClosedFormClassifier",
    "ClosedFormRegressor",
    "Flags",
    "Influence",
    "LabelNoise",
    "init_linear_",
    "label_flags",
    "label_noise",
    "left_out_logits",
    "refit_moments",
    "to_torch",
]
