"""A small but complete report."""

import numpy as np

from weightatlas.report import (
    Curves,
    Generated,
    Headline,
    LatentMap,
    ReportData,
    Scatter,
    SizeCurve,
)
from weightatlas.results import Record


def records() -> tuple[Record, ...]:
    about = {"tier": "smoke", "zoo": "digits", "seeds": (0,), "n": 40}
    rows = [
        ("predict", "embedding + ridge", "ours", "R2", 0.94),
        ("predict", "layer statistics + ridge", "baseline", "R2", 0.91),
        ("rebuild", "refined", "ours", "excess agreement", 0.53),
        ("rebuild", "random subspace", "baseline", "excess agreement", 0.12),
        ("rebuild", "SANE <paper>", "published", "agreement", 0.596),
    ]
    return tuple(
        Record(bench=bench, method=method, kind=kind, metric=metric, value=value, **about)  # type: ignore[arg-type]
        for bench, method, kind, metric, value in rows
    )


def full(seed: int = 0) -> ReportData:
    rng = np.random.default_rng(seed)
    accuracy = rng.uniform(0.3, 0.97, 40)
    noisy = accuracy + rng.normal(0, 0.05, 40)
    return ReportData(
        title="Digits & <friends>",
        summary="Networks were trained.",
        facts={"networks": "40"},
        headlines=(Headline(label="Excess", value=0.53, baseline="random subspace", baseline_value=0.12),),
        records=records(),
        accuracies={"original": accuracy, "rebuilt": noisy},
        predictions=(
            Scatter(label="test accuracy", method="ridge", true=accuracy, predicted=noisy),
            Scatter(label="test accuracy", method="floor", true=accuracy, predicted=noisy, kind="baseline"),
            Scatter(label="gap", method="ridge", true=accuracy, predicted=noisy),
        ),
        latent=LatentMap(
            embeddings=rng.normal(size=(40, 12)), values=accuracy, generated=rng.normal(size=(5, 12))
        ),
        curves=(Curves(title="Loss", x=np.arange(10), lines={"total": np.linspace(1, 0.1, 10)}, log=True),),
        agreement={"rebuilt": noisy.clip(0, 1), "refined": accuracy},
        a0=0.8,
        sizes=(
            SizeCurve(method="codes", bits=[4, 17], excess=[0.3, 0.5]),  # type: ignore[arg-type]
            SizeCurve(method="int", kind="baseline", bits=[2, 8], excess=[-5, 0.97]),  # type: ignore[arg-type]
        ),
        generated=(
            Generated(method="PCA + KDE", accuracy=accuracy, distance=noisy),
            Generated(method="noise", accuracy=accuracy, distance=noisy * 0.1, kind="baseline"),
        ),
        config={"zoo": {"networks": 40}},
        versions={"torch": "2.13.0"},
        hardware="a processor, 2 cores",
        command="weightatlas quickstart",
        seconds=221.0,
    )
