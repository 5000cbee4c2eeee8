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
        run: Folder that quickstart or fit wrote, or a results file of bench.
        out: The page; RUN/report.html, or beside the results file, by default.
        json: Print the path and the measured numbers as JSON.
    """
    from weightatlas.report import of_run, write_report

    if run.suffix == ".json":
        from weightatlas.report.bench import of_results

        data, page = of_results(run), run.with_suffix(".html")
    else:
        data, page = of_run(run), run / "report.html"
    path = write_report(out or page, data)
    if json:
        records = [record.model_dump(mode="json") for record in data.records]
        console.print_json({"report": str(path), "records": records})
        return
    if data.records:
        console.print_records(data.records)
    console.out().print(str(path), soft_wrap=True)
