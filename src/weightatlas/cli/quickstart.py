"""weightatlas quickstart."""

from pathlib import Path
from typing import Literal

from weightatlas.cli import console

COLUMNS = {
    "predict": ("test_acc R2", "test_acc Kendall tau", "generalization_gap R2"),
    "rebuild": (
        "excess agreement",
        "agreement",
        "agreement where wrong",
        "accuracy error",
        "share above trivial",
    ),
    "generate": ("median accuracy", "best accuracy", "weight diversity", "nearest training network"),
}
TITLES = {
    "predict": "Graded from their weights alone",
    "rebuild": "Rebuilt from codes of about half as many numbers",
    "generate": "Generated, never trained on labels",
}


def quickstart(
    out: Path = Path("runs/quickstart"),
    tier: Literal["smoke", "laptop"] = "laptop",
    seed: int = 0,
    json: bool = False,
    dry_run: bool = False,
) -> None:
    """Train networks, learn their weights, then predict, rebuild and generate networks; ends in a report.

    Example:
        weightatlas quickstart --out runs/quickstart

    Args:
        out: Folder of everything that is made; running again continues.
        tier: laptop takes minutes on two cores; smoke only shows that everything works.
        seed: Seed of everything random.
        json: Print the measured numbers as JSON.
        dry_run: Only say what would be done.
    """
    from weightatlas.evaluate.protocols.quickstart import SIZES, run_quickstart

    if dry_run:
        facts = {"tier": tier, "folder": str(out), **SIZES[tier].model_dump()}
        console.print_facts(facts, title="quickstart", as_json=json)
        return
    from weightatlas.report.data import save_data
    from weightatlas.report.page import write_report
    from weightatlas.report.story import report_of

    story = run_quickstart(out, tier, seed)
    data = report_of(story, f"weightatlas quickstart --tier {tier} --seed {seed}")
    save_data(out, data)
    page = write_report(out / "report.html", data)
    if json:
        console.print_records(story.records, as_json=True)
        console.say(f"Report: {page}")
        return
    for part, columns in COLUMNS.items():
        rows = [record for record in story.records if record.bench == f"quickstart: {part}"]
        console.print_records(rows, title=TITLES[part], metrics=columns)
    console.print_facts({k: f"{s:.0f} s" for k, s in story.seconds.items()}, title="Time")
    console.out().print(f"Report: {page}", soft_wrap=True)
