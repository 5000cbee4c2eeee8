"""Numbers printed in SNE's table of sine networks (Andreis et al., 2024), for context beside ours."""

from weightatlas.results import Record

# Andreis et al. (2024), section 4.1, on the zoo of Navon et al. (2023): (MSE, parameters).
_SNE_TABLE = {
    "MLP": (1.917, 14e3),
    "DeepSets": (2.674, 99e3),
    "StatNN": (0.937, 44e3),
    "NFN-NP": (0.911, 2.0e6),
    "NFN-HNP": (0.998, 2.8e6),
    "NFT": (0.401, 6e6),
    "DWSNet": (0.209, 1.5e6),
    "SNE paper + LI": (0.098, 358e3),
    "SNE paper": (0.156, 358e3),
}
PUBLISHED: tuple[Record, ...] = tuple(
    Record(
        bench="inr_frequency", tier="paper", zoo="Navon et al., sines", method=method, kind="published",
        metric=metric, value=value,
    )
    for method, numbers in _SNE_TABLE.items()
    for metric, value in zip(("MSE", "parameters"), numbers, strict=True)
)  # fmt: skip
