"""weightatlas report."""

from pathlib import Path
from typing import Annotated

import tyro

from weightatlas.cli import console


def report(run: Annotated[Path, tyro.conf.Positional], out: Path | None = None, json: bool = False) -> None:
    """Draw a finished run as one HTML page without outside resources.

    Example:
        weightatlas report runs/quickstart

    Args:
        run: Folder that quickstart, fit or bench wrote.
        out: The page; RUN/report.html by default.
        json: Print the path and the measured numbers as JSON.
    """
    from weightatlas.report import of_run, write_report

    data = of_run(run)
    path = write_report(out or run / "report.html", data)
    if json:
        records = [record.model_dump(mode="json") for record in data.records]
        console.print_json({"report": str(path), "records": records})
        return
    if data.records:
        console.print_records(data.records)
    console.out().print(str(path), soft_wrap=True)
