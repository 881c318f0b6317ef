"""Reports to render: a realistic one, and one in which every text is an attack."""

import copy
import math
import random

import pytest

ATTACKS = (
    "<script>document.title='ran'</script>",
    '"><img src=x onerror="document.title=\'ran\'">',
    "javascript:document.title='ran'",
    "</style><script>document.title='ran'</script>",
    "</title><svg onload=\"document.title='ran'\">",
    "{{7*7}}{% for x in y %}{{ config }}",
    "]]><!--",
    "--><script>document.title='ran'</script>",
    "a\x00b\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe\u202c\u2066x\u2069",
    "' onmouseover='document.title=\"ran\"' x='",
    "&lt;script&gt;",
    "\ud800 lone",
    "<b>" + "ä" * 10_000,
)

_PEOPLE = ("Ada Lovelace", "王小明", "مريم العلي", "Søren Kierkegaard", "Ольга Иванова", "דוד לוי")
_CITIES = ("København", "北京", "القاهرة", "São Paulo", "Reykjavík")
_NOTES = (
    "arrived late, said the clerk; refund requested twice and granted in part after a call",
    "很好，下次还会再来，包装也很仔细",
    "no remarks",
    "does not work as described: the left hinge broke on the second day",
)
_KINDS = (
    ("monthly spend", "number"), ("visits", "integer"), ("city", "category"),
    ("signed up", "datetime"), ("last note", "text"), ("age", "integer"), ("plan", "category"),
    ("客户等级", "category"), ("minutes on hold", "number"), ("discount", "number"),
    ("returns", "integer"), ("device", "category"), ("email opens", "integer"),
    ("distance to store (km)", "number"), ("الحالة", "category"), ("birth month", "integer"),
    ("noise a", "number"), ("noise b", "number"), ("noise c", "number"),
)  # fmt: skip
_CLASSES = ("stays", "leaves", "unsure")


def _excerpt(rng):
    return [
        {"column": "monthly spend", "value": f"{rng.uniform(3, 240):.2f}"},
        {"column": "city", "value": rng.choice(_CITIES)},
        {"column": "plan", "value": rng.choice(("basic", "plus", "family"))},
        {"column": "last note", "value": rng.choice(_NOTES)},
    ]


def _functions(index, kind):
    """A leading pair as the audit writes it: numbers and dates as curves, levels by name."""
    if kind == "category":
        x, f = ["basic", "plus", "family", None], [-1.1, 0.2, 1.3, -0.4]
    else:
        low, step = (18_000.0, 20.0) if kind == "datetime" else (2.5, 0.7)
        x = [low + step * i for i in range(40)]
        f = [(i / 20 - 1, (i / 20 - 1) ** 2, math.sin(i / 5))[index % 3] for i in range(40)]
    return {"x": x, "f": f, "y": ["stays", "leaves", "unsure"], "g": [-0.9, 1.2, 0.3],
            "correlation": 0.6 - 0.05 * index}  # fmt: skip


def _aspects(kind):
    if kind != "text":
        return []
    return [
        {"aspect": "presence", "p_value": 0.001, "q_value": 0.001, "method": "random shifts",
         "evidence": ""},
        {"aspect": "order", "p_value": 0.004, "q_value": 0.004, "method": "words shuffled",
         "evidence": "refund / granted; left / hinge"},
        {"aspect": "distance", "p_value": 0.31, "q_value": 0.31, "method": "", "evidence": ""},
    ]  # fmt: skip


def _depend(rng):
    rows = []
    for index, (name, kind) in enumerate(_KINDS):
        cka = max(0.46 * math.exp(-index / 3.2), 0.0) * rng.uniform(0.75, 1.1) + 0.004
        band = rng.uniform(0.008, 0.019)
        p = 0.0005 if cka > 2 * band else (0.012 if cka > band else rng.uniform(0.06, 0.98))
        rows.append(
            {
                "column": name,
                "kind": kind,
                "rows": 2386 - (index % 4) * 31,
                "kernel": "delta" if kind == "category" else "gaussian",
                "missing": (index % 4) * 31,
                "statistic": cka * 0.003,
                "cka": cka,
                "p_value": p,
                "p_tail": p**3,
                "shape": ("rising", "U", "wave", "levels")[3 if kind == "category" else index % 3],
                "functions": _functions(index, kind) if index < 8 and kind != "text" else None,
                "aspects": _aspects(kind),
                "q_value": min(1.0, p * len(_KINDS) / (index + 1)),
                "null_band": band,
                "method": "HSIC on features, numbers at 5 lengthscales, 2000 shifts",
            }
        )
    return sorted(rows, key=lambda row: (row["p_value"], -row["cka"]))


def _score(mean, half):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _scores():
    def model(accuracy, f1, loss, seconds):
        return {
            "accuracy": _score(accuracy, 0.0121), "macro_f1": _score(f1, 0.0153),
            "log_loss": _score(loss, 0.021), "seconds": seconds,
        }  # fmt: skip

    differences = (("logistic", 0.0113, 0.0062), ("boosting", -0.0071, 0.0104),
                   ("majority", 0.334, 0.016))  # fmt: skip
    return {
        "metrics": ["accuracy", "macro_f1", "log_loss"], "headline": "accuracy", "folds": 5,
        "how": "Five folds, repeated twice, stratified by class, identical rows kept together.",
        "models": {
            "closed_form": model(0.8412, 0.8304, 0.431, 0.084),
            "logistic": model(0.8299, 0.8211, 0.447, 1.92),
            "boosting": model(0.8483, 0.8377, 0.412, 6.4),
            "majority": {**model(0.507, 0.224, 1.02, 0.001), "macro_f1": _score(0.224, 0.002)},
        },
        "differences": [
            {"a": "closed_form", "b": b, "metric": "accuracy", **_score(mean, half)}
            for b, mean, half in differences
        ],
        "loo": {"accuracy": 0.8424, "log_loss": 0.4287}, "ridge": 0.0316, "temperature": 0.218,
        "confusion": [[1091, 88, 31], [74, 646, 42], [61, 80, 273]],
        "calibration": [
            {"predicted": 0.05 + 0.1 * i, "rows": [1310, 620, 402, 280, 240, 255, 330, 470, 690, 2]
             [i], "observed": min(max(0.05 + 0.1 * i + (-1) ** i * 0.015, 0), 1)}
            for i in range(10)
        ],
        "per_class": [
            {"class": "stays", "precision": 0.89, "recall": 0.902, "f1": 0.896, "rows": 1210},
            {"class": "leaves", "precision": 0.794, "recall": 0.848, "f1": 0.82, "rows": 762},
            {"class": "unsure", "precision": 0.789, "recall": 0.659, "f1": 0.718, "rows": 414},
        ],
    }  # fmt: skip


def make_flags(n, rng=None):
    """Return `n` flagged rows."""
    rng = rng or random.Random(5)
    items = []
    for rank in range(1, n + 1):
        label, suggested = rng.sample(_CLASSES, 2)
        chance = max(0.995 * math.exp(-rank / (0.9 * n)), 0.3)
        items.append(
            {"row": rng.randrange(1, 2400), "label": label, "suggested": suggested, "rank": rank,
             "probability": chance, "own_probability": (1 - chance) * 0.8,
             "excerpt": _excerpt(rng)}
        )  # fmt: skip
    return items


def _explained(rng, row):
    label, predicted = rng.choice(_CLASSES), rng.choice(_CLASSES)
    support = sorted((rng.uniform(0.01, 0.09) for _ in range(5)), reverse=True)
    oppose = sorted(-rng.uniform(0.005, 0.07) for _ in range(5))
    total, against = sum(support) + 0.61, sum(oppose) - 0.42

    def rows(values):
        return [
            {"row": rng.randrange(1, 2400), "label": rng.choice(_CLASSES), "contribution": value,
             "excerpt": _excerpt(rng)}
            for value in values
        ]  # fmt: skip

    return {
        "row": row, "label": label, "predicted": predicted, "rival": "unsure", "intercept": 0.333,
        "score": 0.333 + total + against, "support": rows(support), "oppose": rows(oppose),
        "total_support": total, "total_oppose": against,
    }  # fmt: skip


def _data():
    schema = [
        {"column": name, "kind": kind, "missing": (i % 4) * 31, "distinct": 3 + 97 * (i % 5),
         "used": True, "why": ""}
        for i, (name, kind) in enumerate(_KINDS)
    ]  # fmt: skip
    schema += [
        {"column": "customer id", "kind": "identifier", "missing": 0, "distinct": 2400,
         "used": False, "why": "every value is different"},
        {"column": "country", "kind": "constant", "missing": 0, "distinct": 1, "used": False,
         "why": "one value throughout"},
    ]  # fmt: skip
    return {
        "source": "customers-2026.csv", "rows": 2400, "rows_used": 2386, "columns": 22,
        "label": "will they stay?", "schema": schema,
        "classes": [
            {"name": "stays", "rows": 1210}, {"name": "leaves", "rows": 762},
            {"name": "unsure", "rows": 414},
        ],
        "checks": [
            {"code": "W-LABEL-MISSING", "where": "column will they stay?",
             "message": "14 rows have no label; they were set aside."},
            {"code": "W-IDENTIFIER", "where": "column customer id",
             "message": "Every value is different; the column was left out."},
            {"code": "W-CONFLICT", "where": "rows 211, 1840",
             "message": "Identical rows with different labels: 3 groups, 7 rows."},
        ],
    }  # fmt: skip


_STAGES = (
    ("read", 0.21, 18_400_000, "read 2,400 rows and 22 columns as text, then gave each column one "
     "kind", "UTF-8, comma, header in line 1"),
    ("plan", 0.01, 0, "9 choices by counts", "by which road, and what it will take"),
    ("depend", 1.84, 61_200_000, "tested 19 columns against the label", "all rows, exact kernels: "
     "2,386 rows fit the budget"),
    ("encode", 0.33, 9_800_000, "turned 19 columns into 148 features", "dates as sinusoids at "
     "calendar frequencies, text as hashed n-grams"),
    ("fit", 8.9, 44_000_000, "fitted the closed form and three baselines on the same folds",
     "shrinkage by exact leave-one-out"),
    ("flag", 0.06, 1_100_000, "left out every row in turn", "exact, no refit"),
    ("explain", 0.02, 2_400_000, "took 12 predictions apart", "the twelve most doubtful"),
)  # fmt: skip


def _plan():
    stages = [("depend", 1.3e10, 2.1, 1.84), ("encode", 3e8, 0.4, 0.33), ("fit", 9e9, 8.5, 7.1)]
    return {
        "budget": 10**12,
        "choice": [
            {"stage": "depend", "what": "12 numbers", "choice": "kernel by features",
             "why": "a smooth kernel has no end of features", "count": 13_000_000_000,
             "instead": "Gram matrices of 2,386 rows", "instead_count": 68_000_000_000},
            {"stage": "fit", "what": "boosting", "choice": "100 rounds, at most 31 leaves",
             "why": "scikit-learn's own settings", "count": None, "instead": None,
             "instead_count": None},
        ],
        "machine": {"name": "a datasheet", "calibrated": False,
                    "how": "this machine was never calibrated: within a factor of three"},
        "stages": [
            {"name": name, "count": count, "predicted_seconds": planned,
             "predicted_low": planned * 0.38, "predicted_high": planned * 2.8,
             "predicted_bytes": 40_000_000, "seconds": took, "bytes": 61_200_000}
            for name, count, planned, took in stages
        ],
        "count": 22_300_000_000, "predicted_seconds": 11.0, "predicted_low": 4.2,
        "predicted_high": 31.0, "predicted_bytes": 120_000_000, "seconds": 9.27,
        "bytes": 130_000_000,
    }  # fmt: skip


def _tune():
    def tried(stage, outcome, numbers, gain, error, why):
        before = None if gain is None else 0.771
        after = None if gain is None else 0.771 + gain
        return {"stage": stage, "outcome": outcome, "numbers": numbers, "before": before,
                "after": after, "gain": gain, "standard_error": error, "why": why}  # fmt: skip

    return {
        "metric": "f1", "positive": "leaves", "how": "inside the training part of each fold",
        "why": "", "kept": "offsets", "before": 0.771, "after": 0.802, "gain": 0.031,
        "standard_error": 0.012,
        "tried": [
            tried("offsets", "kept", 2, 0.031, 0.012, "the gain exceeds its standard error"),
            tried("head", "not kept", 447, -0.004, 0.006, "no gain"),
            tried("network", "not tried", 2893, None, None, "over its budget: 2.0e10"),
        ],
        "offsets": [
            {"class": "stays", "offset": 0.0}, {"class": "leaves", "offset": 0.7},
            {"class": "unsure", "offset": -0.2},
        ],
        "estimator": {
            "chosen": "counterfactual", "why": "least variance times work, of 2 measured",
            "measured": [
                {"name": "score, baseline optimal", "deviation": 0.034, "work": 5e3, "price": 5.8},
                {"name": "counterfactual", "deviation": 1e-4, "work": 1.5e4, "price": 1.5e-4},
            ],
        },
    }  # fmt: skip


def make_report():
    """Return a realistic report of a mixed table: 22 columns, 3 classes, 40 flags."""
    rng = random.Random(7)
    return {
        "schema": 1, "version": "0.1.0", "created": "2026-11-22T22:00:00Z", "seed": 0,
        "command": "trivium audit customers-2026.csv --label 'will they stay?'",
        "verdict": [
            "There is signal: 9 of 19 columns depend on the label (p < 0.001 for the strongest), "
            "and the closed form reaches 84.1 % accuracy (82.9 to 85.3).",
            "Boosting does no clearly better (\u22120.7 points, \u22121.8 to +0.3), so a bigger "
            "model is not where the gain is.",
            "40 labels look wrong, of which about 27 are; fixing the first 20 changes accuracy by "
            "about +0.6 points.",
            "The column \u201cdiscount\u201d carries little beyond chance.",
        ],
        "data": _data(), "depend": _depend(rng),
        "encode": {
            "features": 148,
            "columns": [
                {"column": name, "kind": kind, "features": 1 + i % 9, "how": "standardized"}
                for i, (name, kind) in enumerate(_KINDS)
            ],
            "waves": [
                {
                    "column": "signed up", "periods": [23.41, 7.0], "calendar_log_loss": 0.44,
                    "gain": 0.012, "standard_error": 0.004, "kept": True, "why": "kept",
                }
            ],
            "in_order": [
                {
                    "column": "complaint", "evidence": "order", "count": 2.1e11,
                    "tried": [{"encoding": "rotary", "gain": 0.021, "standard_error": 0.006,
                               "folds": 5}],
                    "ngrams_log_loss": 0.41, "gain": 0.021, "standard_error": 0.006,
                    "kept": "rotary", "why": "kept",
                }
            ],
        },
        "scores": _scores(),
        "flags": {
            "expected_wrong": 27.3, "listed": 40, "items": make_flags(40, rng),
            "what_if": [
                {"fixed": k, "accuracy_change": 0.0078 * (1 - math.exp(-k / 14)),
                 "low": 0.0078 * (1 - math.exp(-k / 14)) - 0.0002 * k ** 0.8,
                 "high": 0.0078 * (1 - math.exp(-k / 14)) + 0.0002 * k ** 0.8}
                for k in range(0, 41, 5)
            ],
        },
        "plan": _plan(),
        "tune": _tune(),
        "explain": {
            "method": "exact dual form of the closed form", "completeness_error": 3.3e-15,
            "tolerance": 1e-6, "items": [_explained(rng, row) for row in range(101, 113)],
        },
        "demo": None,
        "stages": [
            {"name": name, "seconds": s, "bytes": b, "skipped": False, "did": did, "why": why}
            for name, s, b, did, why in _STAGES
        ],
        "warnings": [
            {"code": "W-MIXED-ZONES", "where": "column signed up",
             "message": "Two time zones are mixed; all times were read in UTC."},
        ],
        "environment": {"python": "3.11.9", "torch": "2.13.0", "platform": "Linux x86_64"},
    }  # fmt: skip


def poison(value, texts, place=""):
    """Return `value` with an attack after every text, and as every free name."""
    if isinstance(value, dict):
        return {key: poison(item, texts, key) for key, item in value.items()}
    if isinstance(value, list):
        return [poison(item, texts, place) for item in value]
    if isinstance(value, str) and place not in ("metric", "metrics", "headline", "a", "b"):
        return next(texts)
    return value


def make_hostile_report():
    """Return the realistic report with every text of it an attack."""

    def attacks():
        while True:
            yield from ATTACKS

    report = poison(make_report(), attacks())
    models = report["scores"]["models"]
    models[ATTACKS[0]] = copy.deepcopy(models["logistic"])
    report["environment"] = {attack: attack for attack in ATTACKS}
    report["demo"] = {
        "truth": [{"what": a, "planted": a, "found": a, "grade": a} for a in ATTACKS],
    }
    report["scores"]["loo"] = {ATTACKS[1]: 0.5}
    report["scores"]["metrics"].append(ATTACKS[2])
    return report


@pytest.fixture
def report():
    """Return a realistic report."""
    return make_report()


@pytest.fixture
def hostile_report():
    """Return a report in which every text is an attack."""
    return make_hostile_report()


@pytest.fixture
def flagged():
    """Return the maker of flagged rows."""
    return make_flags


@pytest.fixture
def attacks():
    """Return the texts of the hostile report."""
    return ATTACKS
