"""The page: complete, self-contained, deterministic, and honest about what is missing."""

import re
from html.parser import HTMLParser

import pytest

from tests.report.sample import full
from weightatlas.errors import FileError
from weightatlas.report import ReportData, write_report
from weightatlas.report.page import render
from weightatlas.results import Record

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Balanced(HTMLParser):
    """Checks that every element is closed, and collects references and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    return render(full())


@pytest.fixture(scope="module")
def parsed(page) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_nothing_is_fetched_and_nothing_runs(page, parsed):
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in parsed.references)
    assert "<script" not in page
    assert not re.findall(r"url\((?!#)", page)
    assert "@import" not in page
    bare = re.sub(r'xmlns(:\w+)?="[^"]+"', "", page)
    assert "http" not in bare


def test_links_within_the_page_lead_somewhere(page, parsed):
    wanted = {reference[1:] for reference in parsed.references if reference[0] == "#"} | set(
        re.findall(r"url\(#([^)]+)\)", page)
    )
    assert wanted <= set(parsed.ids)


def test_every_section_is_there_with_its_baselines(parsed):
    text = " ".join(parsed.text)
    for part in (
        "Digits & <friends>",
        "Prediction from weights",
        "layer statistics + ridge",
        "Rebuilding held-out networks",
        "random subspace",
        "SANE <paper>",
        "published",
        "0.530",
        "Accuracy of the networks",
        "Properties predicted from weights",
        "Agreement with the original",
        "Size against behavior",
        "Generated networks",
        "Map of the zoo",
        "Training",
        "2.13.0",
        "3:41 min",
    ):
        assert part in text, part


def test_the_same_data_give_the_same_page(page):
    assert render(full()) == page
    assert render(full(seed=1)) != page


def test_an_empty_report_has_no_figures():
    text = render(ReportData(title="Empty"))
    assert "<svg" not in text
    assert "<table" not in text
    assert "Empty" in text


def test_colors_follow_the_page(page):
    figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(figures) == 7
    assert all("var(--ink)" in figure for figure in figures)
    assert not re.findall(r"#0[1-9]0[1-9]0[1-9]", page)


def test_an_unwritable_place_is_a_named_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FileError, match="Cannot write"):
        write_report(tmp_path / "file" / "report.html", ReportData())


def test_a_table_says_on_how_many_networks_its_rows_were_measured():
    about = {"bench": "b", "tier": "smoke", "zoo": "z", "metric": "R2", "value": 0.5, "seeds": (0,)}
    rows = [Record.build({**about, "method": name, "n": count}) for name, count in (("a", 16), ("b", 56))]
    assert "16 to 56 networks or paths a row; split by lineage; one seed" in render(ReportData(records=rows))
    assert "16 networks; split by lineage; one seed" in render(ReportData(records=rows[:1]))
