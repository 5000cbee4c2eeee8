"""Numbers printed in "Structure Is Not Enough" (Meynent et al., 2025), for context beside ours."""

from collections.abc import Iterator

from weightatlas.results import Record

ZOOS = ("SVHN", "CIFAR-10", "EuroSAT")
Row = tuple[float, ...]

# Tables 4 and 6. CNN3 (10,853 parameters), 93 x 64 code numbers, 1,200 networks per zoo.
# Agreement and L2 with the spread over networks. L2 counts padding.
_AGREEMENT: dict[str, tuple[Row, Row]] = {
    "CS": ((0.500, 0.319, 0.359), (0.20, 0.16, 0.24)),
    "B": ((0.266, 0.103, 0.192), (0.22, 0.08, 0.25)),
    "CB": ((0.266, 0.118, 0.185), (0.22, 0.14, 0.25)),
    "SB": ((0.861, 0.594, 0.665), (0.11, 0.20, 0.25)),
    "CSB": ((0.870, 0.596, 0.658), (0.09, 0.19, 0.25)),
}
_L2: dict[str, tuple[Row, Row]] = {
    "CS": ((30.7, 31.3, 41.4), (10, 13, 22)),
    "B": ((57.8, 59.5, 67.5), (6, 9, 17)),
    "CB": ((55.7, 60.7, 67.4), (7, 9, 17)),
    "SB": ((26.9, 29.6, 45.5), (10, 13, 21)),
    "CSB": ((27.1, 30.0, 43.6), (10, 13, 21)),
}
_ACCURACY: dict[str, Row] = {
    "CS": (0.742, 0.890, 0.957),
    "B": (0.538, 0.771, 0.901),
    "CB": (0.752, 0.893, 0.950),
    "SB": (0.887, 0.939, 0.966),
    "CSB": (0.886, 0.947, 0.969),
}
_GAP: dict[str, Row] = {
    "CS": (0.347, 0.700, 0.465),
    "B": (0.286, 0.576, 0.296),
    "CB": (0.337, 0.710, 0.482),
    "SB": (0.378, 0.785, 0.484),
    "CSB": (0.368, 0.785, 0.529),
}
# Best generated network per zoo; that of the zoo itself is 0.910 / 0.701 / 0.885.
_GENERATED: dict[str, Row] = {"CS": (0.613, 0.460, 0.565), "CSB": (0.904, 0.695, 0.875)}


def _records() -> Iterator[Record]:
    for metric, rows in (("agreement", _AGREEMENT), ("L2 unmasked", _L2)):
        for row, (values, spreads) in rows.items():
            for zoo, value, spread in zip(ZOOS, values, spreads, strict=True):
                yield _record(row, zoo, metric, value, spread)
    plain = (
        ("R2 test accuracy", _ACCURACY),
        ("R2 generalization gap", _GAP),
        ("best accuracy", _GENERATED),
    )
    for metric, table in plain:
        for row, values in table.items():
            for zoo, value in zip(ZOOS, values, strict=True):
                yield _record(row, zoo, metric, value)


def _record(row: str, zoo: str, metric: str, value: float, spread: float | None = None) -> Record:
    about = {"bench": "structure", "tier": "paper", "zoo": zoo, "method": row, "kind": "published"}
    return Record.build({**about, "metric": metric, "value": value, "spread": spread})


STRUCTURE: tuple[Record, ...] = tuple(_records())
