"""One self-contained HTML page: no scripts, no outside resources."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from weightatlas.atomic import write_text
from weightatlas.progress import duration
from weightatlas.report import figures
from weightatlas.report.data import ReportData
from weightatlas.results import summarize
from weightatlas.tables import arrange, caption, number

if TYPE_CHECKING:
    from jinja2 import Template

_BENCHES = {
    "predict": "Prediction from weights",
    "rebuild": "Rebuilding held-out networks",
    "generate": "Generating networks",
    "losses": "What each loss contributes",
    "compression": "Size against behavior",
}


class Section(NamedTuple):
    """A figure with what it shows and how to read it."""

    anchor: str
    title: str
    text: str
    figure: str


class TablePart(NamedTuple):
    """A table of records, rows in the order ours, baselines, published."""

    title: str
    columns: list[str]
    rows: list[tuple[str, str, list[str]]]
    caption: str


class _Plan(NamedTuple):
    anchor: str
    title: str
    text: str
    field: str
    draw: Callable[[ReportData], str]


_PLAN = (
    _Plan(
        "accuracies",
        "Accuracy of the networks",
        "Test accuracy of held-out networks, of what the decoder makes of their codes, and of new networks. "
        "The mark is the median.",
        "accuracies",
        lambda data: figures.accuracy_distributions(data.accuracies),
    ),
    _Plan(
        "prediction",
        "Properties predicted from weights",
        "Held-out networks; no image was shown to them for this. On the dashed line a prediction is exact. "
        "Rings are a baseline that sees only simple statistics.",
        "predictions",
        lambda data: figures.predicted_versus_true(data.predictions),
    ),
    _Plan(
        "agreement",
        "Agreement with the original",
        "Good networks agree with each other anyway, because they are right. Only what lies beyond the best "
        "stranger (dashed) shows that this network was rebuilt, and not just some good one.",
        "agreement",
        lambda data: figures.agreement_histogram(data.agreement, data.a0),
    ),
    _Plan(
        "size",
        "Size against behavior",
        "Excess agreement is 1 for a perfect copy and 0 for the best stranger; values below −1 and sizes "
        "below 1/4 bit are drawn at the edge. "
        "Codes count with all their numbers; the decoder is shared by all networks and not counted.",
        "sizes",
        lambda data: figures.size_curve(data.sizes),
    ),
    _Plan(
        "generated",
        "Generated networks",
        "A good new network has high accuracy and is far from every training network. Copies stand at the "
        "left edge.",
        "generated",
        lambda data: figures.generated_networks(data.generated),
    ),
    _Plan(
        "map",
        "Map of the zoo",
        "Each point is a network, placed by its embedding. t-SNE keeps neighbors together; its distances "
        "between groups mean nothing.",
        "latent",
        lambda data: figures.latent_map(data.latent) if data.latent else "",
    ),
    _Plan(
        "training",
        "Training",
        "How the fit went.",
        "curves",
        lambda data: figures.training_curves(data.curves),
    ),
)


def write_report(path: str | Path, data: ReportData) -> Path:
    """Write a report as one HTML file that needs nothing else.

    Example:
        >>> from tempfile import mkdtemp
        >>> write_report(Path(mkdtemp()) / "report.html", ReportData(title="Digits")).name
        'report.html'

    Args:
        path: The file to write.
        data: What to show; missing parts are left out.

    Returns:
        The path of the file.

    Raises:
        FileError: The file cannot be written.
    """
    path = Path(path)
    write_text(path, render(data))
    return path


def render(data: ReportData) -> str:
    """Return the page as text; the same data give the same text."""
    return template("template.html").render(
        data=data,
        facts=_facts(data),
        headlines=[(headline, number(headline.value)) for headline in data.headlines],
        number=number,
        tables=_tables(data),
        sections=_sections(data),
        config=_config(data.config),
    )


def _sections(data: ReportData) -> list[Section]:
    """Draw every part that has data."""
    return [
        Section(plan.anchor, plan.title, plan.text, plan.draw(data))
        for plan in _PLAN
        if getattr(data, plan.field)
    ]


def _tables(data: ReportData) -> list[TablePart]:
    """Lay the records out, one table per bench."""
    parts = []
    for bench in dict.fromkeys(record.bench for record in data.records):
        chosen = summarize(record for record in data.records if record.bench == bench)
        columns, rows = arrange(chosen, "method", "metric")
        title = _BENCHES.get(bench, bench.capitalize())
        counts = sorted({record.n for record in chosen if record.n})
        note = "; ".join([*_measured_on(counts), caption(chosen)])
        parts.append(TablePart(title, columns, [(kind, label, cells) for label, kind, cells in rows], note))
    return parts


def _measured_on(counts: list[int]) -> list[str]:
    """Say on how many networks a table was measured; rows may differ, and paths count as one each."""
    if len(counts) > 1:
        return [f"{counts[0]:,} to {counts[-1]:,} networks or paths a row"]
    return [f"{count:,} networks" for count in counts]


def _facts(data: ReportData) -> dict[str, str]:
    """Short facts under the title."""
    time = {"wall time": duration(data.seconds)} if data.seconds else {}
    machine = {"machine": data.hardware} if data.hardware else {}
    return {**data.facts, **time, **machine}


def _config(config: dict[str, Any]) -> str:
    """Write the settings as YAML."""
    import yaml

    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True) if config else ""


@cache
def template(name: str) -> "Template":
    """Read a page of this folder."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("weightatlas.report", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)
