"""The page as a document: structure, sections, what stands where nothing was found."""

import re
from html.parser import HTMLParser

import pytest

from trivium._core.errors import ArgumentError
from trivium.report import render
from trivium.report.page import MAX_BYTES

QUESTIONS = [
    "signal", "where", "scores", "tune", "labels", "fixes", "why", "plan", "method", "warnings",
    "data",
]  # fmt: skip
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Every start tag, the open elements, and the text of the page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.words, self.errors = [], [], [], []
        self.feed(text)
        self.close()
        if self.open:
            self.errors.append(f"never closed: {self.open}")

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.errors.append(f"</{tag}> closes {self.open[-3:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def find(self, tag, **attributes):
        return [
            found
            for name, found in self.tags
            if name == tag and all(found.get(k) == v for k, v in attributes.items())
        ]

    @property
    def text(self):
        return re.sub(r"[ \n]+", " ", "".join(self.words))


def test_a_full_report_is_a_well_formed_document(report):
    page = Page(render(report))
    assert page.errors == []
    assert page.find("html", lang="en")
    assert page.find("meta", name="viewport")
    assert len(page.find("h1")) == 1


def test_the_sections_follow_the_questions_and_the_contents_link_to_each(report):
    page = Page(render(report))
    assert [found["id"] for found in page.find("section") if "id" in found] == QUESTIONS
    assert [found["href"] for found in page.find("a")] == [f"#{name}" for name in QUESTIONS]


def test_charts_speak_and_tables_have_captions_and_scopes(report):
    text = render(report)
    page = Page(text)
    charts = page.find("svg", role="img")
    assert len(charts) == 10  # two histograms, calibration, what-if, six pairs of functions
    assert text.count("<title>") == len(charts) + 1
    assert text.count("<desc>") == len(charts)
    unspoken = [s for s in page.find("svg") if "role" not in s and "aria-hidden" not in s]
    assert len(unspoken) == 5  # the stretched boxes inside the what-if chart and four curves
    assert len(page.find("table")) == len(page.find("caption"))
    assert all(found.get("scope") in ("col", "row") for found in page.find("th"))


def _luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_its_paper_in_light_and_dark(report):
    schemes = re.findall(r":root \{(.*?)\}", render(report), re.DOTALL)[:2]
    assert len(schemes) == 2
    for scheme in schemes:
        colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", scheme))
        for name in ("ink", "soft", "main", "against", "good", "warn"):
            for ground in ("paper", "ground"):
                ends = sorted((_luminance(colors[name]), _luminance(colors[ground])))
                contrast = (ends[1] + 0.05) / (ends[0] + 0.05)
                assert contrast >= 4.5, (name, ground, contrast)  # WCAG 2.2, AA


def test_a_typical_page_is_small(report):
    assert len(render(report).encode()) <= 500_000


def test_every_number_of_a_model_comes_with_its_interval(report):
    text = Page(render(report)).text
    for words in ("84.1\u202f%", "82.9 to 85.3", "0.410 to 0.452", "+0.5 to +1.7", "no clear"):
        assert words in text


def test_the_score_is_the_sum_of_its_parts_and_the_check_is_printed(report):
    text = Page(render(report)).text
    item = report["explain"]["items"][0]
    for value in (item["intercept"], item["total_support"], item["score"]):
        assert f"+{value:.4f}" in text
    assert "Passed." in text
    report["explain"]["completeness_error"] = 1e-3
    assert "FAILED." in Page(render(report)).text


@pytest.mark.parametrize(
    "gone",
    [
        "plan",
        "depend",
        "encode",
        "scores",
        "flags",
        "explain",
        "stages",
        "warnings",
        "data",
        "verdict",
    ],
)
@pytest.mark.parametrize("empty", ["absent", "none", "hollow"])
def test_a_missing_part_is_said_to_be_missing(report, gone, empty):
    if empty == "absent":
        del report[gone]
    else:
        report[gone] = None if empty == "none" else type(report[gone])()
    page = Page(render(report))
    assert page.errors == []
    assert [found["id"] for found in page.find("section") if "id" in found] == QUESTIONS


def test_the_page_says_what_was_tuned_and_how_sure_that_is(report):
    text = Page(render(report)).text
    assert "Yes, by offsets: F1 of leaves +3.10 \u00b1 1.20 points" in text
    for words in ("not kept", "counterfactual (chosen)", "+0.70", "least variance times work"):
        assert words in text
    assert "The class of the largest sum is predicted." in text
    report["tune"] |= {"metric": "cost", "kept": "head"}
    text = Page(render(report)).text
    assert "The class of least expected cost under these sums, after the scores of the head" in text
    report["tune"] |= {"metric": "f1"}
    report["tune"] |= {"kept": "closed form", "gain": 0.0, "standard_error": 0.0}
    for item in report["tune"]["tried"]:
        item["outcome"] = "not kept"
    assert "Tuning did not help" in Page(render(report)).text
    report["tune"] |= {"tried": [], "why": "fewer than 20 rows"}
    assert "Fewer than 20 rows." in Page(render(report)).text


def test_what_was_planned_stands_beside_what_came(report):
    text = Page(render(report)).text
    assert "11\u202fs planned, 9.3\u202fs taken" in text
    for words in ("kernel by features", "Gram matrices of 2,386 rows", "4.2 s to 31\u202fs"):
        assert words.replace(" s", "\u202fs") in text
    assert "this machine was never calibrated" in text
    report["plan"] |= {"seconds": None, "bytes": None}
    assert "11\u202fs planned" in Page(render(report)).text
    report["plan"] = {"stages": [3], "choice": [{"stage": 4, "count": "x"}], "machine": "m"}
    assert Page(render(report)).errors == []
    del report["plan"]
    assert "Nothing was planned in this run." in Page(render(report)).text


def test_an_empty_report_and_fields_of_odd_types_render():
    odd = {"verdict": 3, "data": [], "depend": {"a": 1}, "scores": "x", "flags": [None]}
    odd |= {"tune": {"tried": [{"gain": "x"}, 3], "offsets": [2], "estimator": "e"}}
    odd |= {"explain": {"items": ["x", 3]}, "stages": [1, None], "warnings": "w", "demo": []}
    for report in ({}, odd):
        page = Page(render(report))
        assert page.errors == []
        assert "Not measured" in page.text


def test_a_skipped_stage_gives_its_reason(report):
    report["flags"] = {}
    report["stages"][5] |= {"skipped": True, "why": "fewer than 20 rows"}
    assert (
        "The stage \u201cflag\u201d was skipped: fewer than 20 rows." in Page(render(report)).text
    )


def test_a_change_within_its_error_is_no_clear_change(report):
    assert "+0.7 points of accuracy on the others (+0.4 to +1.1)" in Page(render(report)).text
    report["flags"]["what_if"][-1]["low"] = -0.01
    text = Page(render(report)).text
    assert (
        "Fixing the first 40: no clear change on the other rows (\u22121.0 to +1.1 points)" in text
    )


def test_the_headline_metric_leads_and_the_rival_is_named(report):
    report["scores"]["headline"] = "macro_f1"
    text = Page(render(report)).text
    assert "Macro F1 83.0\u202f% (81.5 to 84.6)" in text
    assert re.search(r"How \w+ comes out ahead of unsure\.", text)


def test_no_flags_is_a_good_result(report):
    report["flags"] |= {"items": [], "what_if": [], "listed": 0}
    text = Page(render(report)).text
    assert "No label is contradicted by the rest of the data." in text


def test_the_demonstration_grades_itself(report):
    report["demo"] = {
        "truth": [
            {"what": "order", "planted": "swap", "found": "-", "grade": "missed"},
            {"what": "x1", "planted": "cubic", "found": "rank 1", "grade": "found"},
        ]
    }
    page = Page(render(report))
    assert "1 of 2 found" in page.text
    assert "\u2717 missed" in page.text
    assert page.find("section")[1]["id"] == "demo"


def test_nothing_that_is_not_finite_reaches_the_page(report):
    bad = [float("nan"), float("inf"), float("-inf"), None, "x"]
    for index, row in enumerate(report["depend"]):
        row |= {"cka": bad[index % 5], "p_value": bad[(index + 1) % 5], "null_band": bad[index % 5]}
    for index, model in enumerate(report["scores"]["models"].values()):
        model["accuracy"] = {"mean": bad[index], "low": bad[index], "high": 0.5}
    report["scores"]["calibration"][0]["observed"] = float("nan")
    report["flags"]["what_if"][1]["accuracy_change"] = float("nan")
    report["explain"]["items"][0] |= {"intercept": float("nan"), "score": None}
    page = Page(render(report))
    assert page.errors == []
    assert "n/a" in page.text
    assert "nan" not in page.text.split()
    for _, attributes in page.tags:
        numbers = [attributes.get(name) or "" for name in ("x", "y", "width", "cx", "points")]
        assert not any("nan" in text or "inf" in text for text in numbers)


def test_many_classes_show_the_pairs_most_confused(report):
    names = [f"class {i:03}" for i in range(1000)]
    report["data"]["classes"] = [{"name": name, "rows": 9} for name in names]
    confusion = [[0] * 1000 for _ in names]
    confusion[3][4] = 77
    report["scores"]["confusion"] = confusion
    page = render(report)
    assert "The pairs of classes most often confused." in page
    assert len(page.encode()) <= MAX_BYTES


def test_a_hundred_thousand_flags_are_cut_and_the_page_says_where_the_rest_is(report, flagged):
    report["flags"] |= {"items": flagged(100_000), "listed": 100_000}
    page = render(report)
    assert len(page.encode()) <= MAX_BYTES
    assert "The first 2,000 of 100,000; all are in fixes.csv and rows.csv." in page


def test_whatever_the_data_hold_the_page_stays_under_two_megabytes(report, flagged):
    long = "\u202e<&\"'" * 2_000
    items = flagged(2_500)
    for item in items:
        item["label"] = item["suggested"] = long
        item["excerpt"] = [{"column": long, "value": long}] * 40
    report["flags"] |= {"items": items, "listed": 2_500}
    report["depend"] = [dict(row, column=long, kernel=long) for row in report["depend"] * 200]
    report["data"]["schema"] = [dict(report["data"]["schema"][0], column=long, why=long)] * 4_000
    report["warnings"] = [{"code": long, "where": long, "message": long}] * 3_000
    report["environment"] = {f"{i}{long}": long for i in range(500)}
    report["verdict"] = [long] * 500
    page = render(report)
    assert len(page.encode()) <= MAX_BYTES
    assert "cut further than usual" in page
    assert Page(page).errors == []


def test_the_same_report_gives_the_same_page(report):
    assert render(report) == render(report)


def test_anything_but_a_mapping_is_refused():
    with pytest.raises(ArgumentError, match=r"render: report must be the mapping .* got list"):
        render([])


def test_the_strongest_columns_show_their_functions(report):
    page = Page(render(report))
    assert len(page.find("div", **{"class": "multiple"})) == 6
    assert "How they act" in page.text
    assert "monthly spend rises, r = 0.60" in page.text
    # Shapes are told of columns that were found only.
    for row in report["depend"]:
        row["q_value"] = 0.9
    bare = Page(render(report))
    assert not bare.find("div", **{"class": "multiple"})
    assert "No column stands out" in bare.text


@pytest.mark.parametrize(
    "functions",
    [
        None,
        {},
        {"x": [1.0], "f": [0.0], "y": ["a", "b"], "g": [0, 1]},
        {"x": [1.0, None, float("nan")], "f": [0.0, 1.0, 2.0], "y": ["a", "b"], "g": [0, 1]},
        {"x": "no list", "f": [0.0], "y": ["a", "b"], "g": [0, 1]},
        {"x": list(range(500)), "f": [0.0] * 500, "y": ["a", "b"], "g": [0, 1]},
    ],
)
def test_functions_that_cannot_be_drawn_are_left_out(report, functions):
    for row in report["depend"]:
        row["functions"] = functions
    page = Page(render(report))
    assert page.errors == []
    assert not page.find("div", **{"class": "multiple"})


def test_both_p_values_stand_side_by_side(report):
    text = Page(render(report)).text
    assert re.search("p, exact ?p, tail ?q ?shape", text)
    assert "1.3\u00a0\u00d7\u00a010\u207b\u00b9\u2070" in text
    for row in report["depend"]:
        row["p_tail"] = None
    assert "p, tail" not in Page(render(report)).text


def test_texts_are_told_in_three_questions(report):
    text = Page(render(report)).text
    words = "refund / granted; left / hinge"
    assert re.search(f"last note ?order, beyond which words ?0.004 ?0.004 ?{words}", text)
    assert "Order: words shuffled." in text
    for row in report["depend"]:
        row["aspects"] = []
    assert "What matters in the texts" not in Page(render(report)).text
