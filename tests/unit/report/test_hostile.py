"""Hostile text in every place of the report: it is shown, and it is nothing but text."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from trivium.report import render

TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "section", "nav", "footer",
    "p", "h1", "h2", "ul", "ol", "li", "dl", "dt", "dd", "div", "span", "b", "bdi", "code", "a",
    "figure", "figcaption", "table", "caption", "thead", "tbody", "tr", "th", "td", "details",
    "summary", "svg", "desc", "rect", "line", "circle", "text", "polygon", "polyline",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "aria-labelledby",
    "aria-hidden", "aria-label", "role", "tabindex", "scope", "open", "width", "height", "viewbox",
    "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "points", "text-anchor", "transform",
    "preserveaspectratio", "overflow", "vector-effect",
}  # fmt: skip


class Inert(HTMLParser):
    """What a browser would see: which elements, which attributes, which text."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.links, self.words = set(), set(), set(), []
        self.comments = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value for name, value in attrs if name in ("href", "src", "xlink:href")}

    def handle_data(self, data):
        self.words.append(data)

    def handle_comment(self, data):
        self.comments.append(data)

    def unknown_decl(self, data):
        self.comments.append(data)


def test_only_our_elements_attributes_and_anchors_are_on_the_page(hostile_report):
    seen = Inert(render(hostile_report))
    assert seen.tags <= TAGS, seen.tags - TAGS
    assert seen.attributes <= ATTRIBUTES, seen.attributes - ATTRIBUTES
    assert all(re.fullmatch(r"#[a-z]+", link) for link in seen.links)
    assert seen.comments == []


def test_the_check_above_can_fail(hostile_report, attacks):
    page = render(hostile_report).replace("</h1>", f"{attacks[0]}{attacks[1]}</h1>", 1)
    seen = Inert(page)
    assert seen.tags - TAGS == {"script", "img"}
    assert "onerror" in seen.attributes - ATTRIBUTES


def test_attacks_are_shown_as_text(hostile_report):
    text = "".join(Inert(render(hostile_report)).words)
    for words in ("<script>document.title='ran'</script>", "{{7*7}}", "]]>", "javascript:"):
        assert words in text
    assert "49{%" not in text


def test_no_hidden_character_is_on_the_page(hostile_report):
    page = render(hostile_report)
    hidden = re.compile(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u2069\ud800-\udfff]"
    )
    assert hidden.search(page) is None
    assert "\u27e8U+202E\u27e9" in page
    assert "\u27e8ESC\u27e9[31mred" in page
    assert "10,003 chars" in page


def test_each_place_alone_is_inert(report, attacks):
    def places(value, path=()):
        if isinstance(value, dict):
            for key, item in value.items():
                yield from places(item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value[:1]):
                yield from places(item, (*path, index))
        else:
            yield path

    def short(value):
        if isinstance(value, dict):
            return {key: short(item) for key, item in value.items()}
        return [short(item) for item in value[:1]] if isinstance(value, list) else value

    attack, report = attacks[1] + attacks[0], short(report)
    for path in list(places(report)):
        target = report
        for key in path[:-1]:
            target = target[key]
        kept = target[path[-1]]
        target[path[-1]] = attack
        seen = Inert(render(report))
        assert seen.tags <= TAGS, path
        assert seen.attributes <= ATTRIBUTES, path
        target[path[-1]] = kept


@pytest.mark.parametrize("name", ["report", "hostile_report"])
def test_the_policy_forbids_everything_but_our_own_style(name, request):
    page = render(request.getfixturevalue(name))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page).group(1)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert page.count("<style") == 1
    assert "url(" not in style
    assert "@import" not in style
    assert " style=" not in page
