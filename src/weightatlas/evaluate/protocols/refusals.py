"""Rows that cannot be measured: a method that refuses the networks stops its row, not the bench."""

from collections.abc import Callable, Mapping
from typing import Any

from weightatlas.errors import NoCode, SpecError
from weightatlas.results import Record, refusal

REFUSALS = (SpecError, NoCode)
"""What a method raises that does not accept the networks of a zoo, or needs code that is not known."""


def or_refusal(work: Callable[[], list[Record]], about: Mapping[str, Any]) -> list[Record]:
    """Measure a row, or record why the method takes no part.

    Everything else that goes wrong, such as a property that the zoo lacks, stops the bench.

    Example:
        >>> def work():
        ...     raise SpecError("The encoder 'mlp' works on one layout, these networks have 6.")
        >>> found = or_refusal(work, dict(bench="b", tier="smoke", zoo="park", method="mlp", seeds=(0,)))
        >>> found[0].note
        "The encoder 'mlp' works on one layout, these networks have 6."

    Args:
        work: Measures.
        about: Fields that all records of the row share.
    """
    try:
        return work()
    except REFUSALS as error:
        return [refusal(" ".join(error.what.split()), **about)]
