"""The curve that counts for compression: excess agreement against bits per parameter."""

from collections.abc import Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from weightatlas.evaluate.compression import Compressed, half, integers, mean_network, nearest_network, prune
from weightatlas.evaluate.distances import aligned
from weightatlas.evaluate.exam import Exam
from weightatlas.evaluate.pca import pca
from weightatlas.evaluate.reconstruction import compare
from weightatlas.evaluate.reference import Reference
from weightatlas.results import Kind, Record
from weightatlas.weights.spec import NetworkSpec


def storage_baselines(
    values: Float[Tensor, "networks params"],
    train: Float[Tensor, "others params"],
    spec: NetworkSpec,
    numbers: Iterable[int] = (28, 12, 6),
    code_bits: Iterable[int] = (16, 8, 4),
) -> Iterable[Compressed]:
    """Yield every baseline a code must stand beside, one at a time.

    Args:
        values: Test networks as rows.
        train: Training networks as rows.
        spec: Layout of both.
        numbers: Numbers per token of the codes that are compared, for PCA at the same size.
        code_bits: Bits per code number, for PCA.
    """
    yield half(values)
    for bits in (8, 6, 4, 3, 2):
        yield integers(values, spec, bits)
    for keep in (0.5, 0.25, 0.1):
        yield prune(values, keep, spec)
    yield mean_network(train, len(values))
    yield nearest_network(values, train)
    tokens = sum(sum({spec.tensors[place].rows for place in layer}) for layer in spec.layers)
    # The same function in the reference's neuron order: a linear code over networks needs it.
    ordered, ordered_train = aligned(values, train[0], spec), aligned(train, train[0], spec)
    for count in numbers:
        for bits in code_bits:
            yield pca(values, train, spec, count, "tokens", bits)
            most = min(count * tokens, spec.params)
            yield pca(ordered, ordered_train, spec, most, "networks", bits)


def rate_records(
    sets: Iterable[Compressed],
    exam: Exam,
    originals: Float[Tensor, "networks params"],
    reference: Reference,
    outputs: Float[Tensor, "networks queries classes"] | None = None,
    kind: Kind = "baseline",
    **context: Any,
) -> list[Record]:
    """Judge compressed networks and write their size beside their agreement.

    Args:
        sets: Compressed networks.
        exam: The evaluation images.
        originals: The networks they come from.
        reference: What is trivially reached.
        outputs: Outputs of the originals, if already known.
        kind: Whether these are ours or baselines.
        context: Other fields of `Record`: bench, tier, zoo, seeds, ...

    Returns:
        Per set: bits per parameter, bits per network, fixed megabytes, and all metrics of `compare`.
    """
    records: list[Record] = []
    for item in sets:
        sizes = {
            "bits per parameter": item.bits_per_parameter,
            "bits per network": item.bits,
            "fixed megabytes": item.fixed / 8e6,
        }
        about = {"method": item.name, "kind": kind, "n": len(originals), **context}
        records += [Record.build({**about, "metric": name, "value": size}) for name, size in sizes.items()]
        judged = compare(exam, originals, item.weights, reference, outputs)
        records += judged.records(item.name, kind, **context)
    return records
