"""The verdict: the findings of a report as sentences, the most important first."""

from collections.abc import Mapping

from trivium._core.counted import counted, noun
from trivium.audit.standing import learns, standing
from trivium.audit.state import Section

__all__ = ["verdict"]

_NAMES = {
    "closed_form": "closed form",
    "logistic": "logistic regression",
    "boosting": "histogram boosting",
    "majority": "majority",
}
_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "cost": "minus the mean cost",
    "f1": "F1",
    "log_loss": "log-loss",
    "macro_f1": "macro F1",
    "mcc": "Matthews correlation",
}


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _columns(report: Section) -> int:
    """How many columns were looked at: those tested and, of very many, the others."""
    left: int = report.get("untested", {}).get("columns", 0)
    return len(report["depend"]) + left


def _tested(report: Section) -> str:
    total, tested = _columns(report), len(report["depend"])
    if total == tested:
        return f"{counted(tested, 'column')} tested"
    return f"{counted(total, 'column')}, the strongest {tested} at a quick look tested"


def _signal(report: Section) -> str:
    rows = report["depend"]
    if not rows:
        return "Signal: no column could be tested."
    hits = [row for row in rows if row["q_value"] < 0.05]
    if not hits:
        least = min(row["p_value"] for row in rows)
        return f"Signal: none found ({_tested(report)}, smallest {_p(least)})."
    # Columns at the floor of the p-value differ in strength, not in rank.
    names = ", ".join(row["column"] for row in hits[:4])
    more = f" and {len(hits) - 4} more" if len(hits) > 4 else ""
    least = min(row["q_value"] for row in hits)
    return (
        f"Signal: yes, {len(hits)} of {counted(_columns(report), 'column')} "
        f"{noun(len(hits), 'depends', 'depend')} on "
        f"{report['data']['label']} "
        f"(false-discovery q from {least:.2g}): {names}{more}."
    )


_BEYOND = {
    "order": "word order in {} matters beyond which words occur",
    "distance": "the distance between words in {} matters beyond their order",
}


def _texts(report: Section) -> list[str]:
    """What matters in the texts beyond which words occur, in one sentence."""
    found, looked = [], []
    for row in report["depend"]:
        for item in row["aspects"]:
            if item["aspect"] not in _BEYOND:
                continue
            if item["q_value"] < 0.05:
                what = _BEYOND[item["aspect"]].format(row["column"])
                found.append(f"{what} ({_p(item['p_value'])})")
            elif item["aspect"] == "order":
                looked.append(row["column"])
    if found:
        return [f"Text: {'; '.join(found)}."]
    if looked:
        more = f" and {len(looked) - 4} more" if len(looked) > 4 else ""
        return [f"Text: no sign that word order matters in {', '.join(looked[:4])}{more}."]
    return []


def _estimate(metric: str, score: Mapping[str, float]) -> str:
    half = (score["high"] - score["low"]) / 2
    if metric == "accuracy":
        return f"{100 * score['mean']:.1f} ± {100 * half:.1f} %"
    return f"{score['mean']:.3f} ± {half:.3f}"


def _prediction(report: Section) -> str:
    scores = report["scores"]
    metric = scores["headline"]
    parts = [
        f"{_NAMES[name]} {_estimate(metric, model[metric])}"
        for name, model in scores["models"].items()
    ]
    return (
        f"Prediction: {_METRICS[metric]} by {counted(scores['folds'], 'fold')}: {', '.join(parts)}."
    )


def _comparison(report: Section) -> str:
    found = standing(report, report["scores"]["headline"])
    ahead = [name for name, sign in found.items() if sign > 0]
    behind = [name for name, sign in found.items() if sign < 0]
    if "majority" not in ahead:
        return "The columns do not predict the label better than the majority class does."
    if behind:
        listed = " and ".join(_NAMES[name] for name in behind)
        why = "; more than a linear rule is in the data" if "boosting" in behind else ""
        return f"The closed form is behind {listed} here{why}."
    others = [name for name in ahead if name != "majority"]
    if others:
        return f"The closed form is ahead of {' and '.join(_NAMES[name] for name in others)}."
    return "The closed form and its rivals cannot be told apart on these rows."


def _tuning(report: Section) -> str:
    """Whether another decision on the same evidence does better by the metric."""
    tune = report["tune"]
    if tune["why"]:
        return f"Tuning: nothing to do; {tune['why']}."
    name = _METRICS.get(tune["metric"], tune["metric"])
    name += f" of {tune['positive']}" if tune["positive"] is not None else ""
    if any(one["outcome"] == "kept" for one in tune["tried"]):
        return (
            f"Tuning: by {tune['kept']}, {name} goes from {tune['before']:.3f} to "
            f"{tune['after']:.3f} (gain {tune['gain']:.3f} ± {tune['standard_error']:.3f} on held-"
            "out folds); predictions of the saved model use it."
        )
    if all(one["gain"] is None for one in tune["tried"]):
        return "Tuning: every stage was left out or stopped; the closed form stays."
    return (
        f"Tuning did not help: no change of the decision raises {name} by more than its standard "
        "error."
    )


def _labels(report: Section) -> str:
    flags = report["flags"]
    if not flags["listed"]:
        return "Labels: none looks wrong."
    if not learns(report):
        return "Labels: not judged; columns that do not predict a label cannot contradict it."
    expected = flags["expected_wrong"]
    text = f"Labels: about {expected:.0f} {_look(expected)} wrong; "
    n = flags["listed"]
    text += "the one to check is listed" if n == 1 else f"the {n} to check are listed"
    worth = [step for step in flags["what_if"] if step["low"] > 0 or step["high"] < 0]
    if not worth:
        them = noun(n, "it", "them")
        return (
            f"{text}; fixing {them} changes the accuracy on the other rows by less than its error."
        )
    step = worth[-1]
    points = 100 * step["accuracy_change"]
    size = "less than 0.1 points" if abs(points) < 0.1 else f"{points:+.1f} points"
    first = "fixing the first" + (f" {step['fixed']}" if step["fixed"] > 1 else "")
    return f"{text}; {first} changes the accuracy on the other rows by {size}."


def _look(expected: float) -> str:
    return noun(round(expected), "looks", "look")


def _leakage(report: Section) -> list[str]:
    """Leaks left out, then those that `--keep` put back; what came of each column is in `why`."""
    leaks = [w["where"] for w in report["warnings"] if w["code"].startswith("W-LEAK")]
    kept = [f"column {c['column']}" for c in report["data"]["schema"] if c["used"]]
    out = [where for where in leaks if where not in kept]
    used = [where for where in leaks if where in kept]
    found = [f"Leakage: {', '.join(out)}: left out of the fit."] if out else []
    if used:
        found.append(f"Leakage: {', '.join(used)}: used all the same, as --keep says.")
    return found


def _scale(report: Section) -> list[str]:
    """What is of all rows and what of a sample, where not all rows are held."""
    sample = report.get("sample")
    if not sample:
        return []
    return [
        f"Scale: {sample['of']:,} rows are too many to be held at once. The closed form and the "
        f"judgment of labels are exact over all of them; everything else is of {sample['rows']:,} "
        "rows drawn at random."
    ]


def verdict(report: Section) -> list[str]:
    """Sentences for the top of the page and the end of the terminal's output."""
    return [
        *_scale(report),
        *_leakage(report),
        _signal(report),
        *_texts(report),
        _prediction(report),
        _comparison(report),
        _tuning(report),
        _labels(report),
    ]
