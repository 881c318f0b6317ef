"""The words of the page for the identifiers of the report object."""

from trivium.report.text import cut

__all__ = ["LOSSES", "SHARES", "metric_name", "model_name"]

_MODELS = {
    "closed_form": "closed form",
    "logistic": "logistic regression",
    "boosting": "histogram boosting",
    "majority": "majority class",
}

_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "cost": "minus the mean cost",
    "log_loss": "log loss",
    "brier": "Brier score",
    "roc_auc": "area under ROC",
}

# Metrics that are shares of one and read best as percentages.
SHARES = frozenset({"accuracy", "balanced_accuracy", "macro_f1", "precision", "recall", "f1"})

# Metrics where less is better.
LOSSES = frozenset({"log_loss", "brier"})


def model_name(key: str) -> str:
    """Return the page's name of a model."""
    return _MODELS.get(key) or cut(key.replace("_", " "), 40)[0]


def metric_name(key: str) -> str:
    """Return the page's name of a metric."""
    return _METRICS.get(key) or cut(key.replace("_", " "), 40)[0]
