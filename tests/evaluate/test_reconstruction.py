"""A copy scores 1, what is trivially reached scores 0, and padding counts for nothing."""

import pytest
import torch

from tests.evaluate.small import SPEC, exam, networks, permuted
from weightatlas.errors import DataError
from weightatlas.evaluate.reconstruction import (
    agreement_where_wrong,
    compare,
    divergence,
    tercile_errors,
    token_l2,
)
from weightatlas.evaluate.reference import Reference, match, reference_of


@pytest.fixture(scope="module")
def reference() -> Reference:
    train = networks(20, seed=1)
    scores = exam().accuracy(exam().classes(train))
    return reference_of(exam(), train, scores, networks(12, seed=2), SPEC)


def test_a_copy_is_perfect(reference: Reference) -> None:
    test = networks(12, seed=2)
    judged = compare(exam(), test, test.clone(), reference)
    assert judged.excess == 1
    assert judged.above == (reference.best < 1).double().mean()
    assert (judged.agreement == 1).all()
    assert judged.l2.abs().max() == 0
    assert judged.kl.abs().max() < 1e-6
    assert judged.tercile_errors.abs().max() == 0


def test_the_best_trivial_rebuild_has_excess_zero(reference: Reference) -> None:
    """Replaying, per network, the best trivial candidate gives exactly 0; one method alone is below."""
    assert reference.excess(float(reference.best.double().mean())) == 0
    for agreement in reference.candidates.values():
        assert reference.excess(float(agreement.double().mean())) <= 0
    assert reference.a0_one <= reference.a0 < 1
    assert (reference.closest >= reference.candidates["nearest training network"]).all()


def test_rebuilding_as_the_best_training_network_is_not_above_zero(reference: Reference) -> None:
    train, test = networks(20, seed=1), networks(12, seed=2)
    best = train[exam().accuracy(exam().classes(train)).argmax()]
    judged = compare(exam(), test, best.expand_as(test), reference)
    torch.testing.assert_close(judged.agreement, reference.candidates["best training network"])
    assert judged.excess <= 0
    assert judged.above == 0


def test_nonsense_is_below_zero(reference: Reference) -> None:
    judged = compare(exam(), networks(12, seed=2), torch.randn(12, 51), reference)
    assert judged.excess < -0.3
    assert judged.l2.min() > 1


def test_alignment_undoes_the_order_of_neurons() -> None:
    """Test networks that are permuted training networks are found by the aligned nearest neighbor only."""
    train = networks(20, seed=1)
    test = permuted(train[3:9], torch.tensor([4, 2, 0, 5, 1, 3]))
    found = reference_of(exam(), train, torch.rand(20), test, SPEC).candidates
    assert (found["nearest training network, aligned"] == 1).all()
    assert found["nearest training network"].mean() < 1


def test_chunks_do_not_matter(reference: Reference) -> None:
    test = networks(12, seed=2)
    rebuilt = test + 0.1 * torch.randn(12, 51)
    small, large = compare(exam(chunk=5), test, rebuilt), compare(exam(chunk=99), test, rebuilt)
    cached = compare(exam(chunk=5), test, rebuilt, outputs=exam().outputs(test))
    for name in ("agreement", "wrong", "kl", "accuracy", "original", "l2"):
        torch.testing.assert_close(getattr(small, name), getattr(large, name), equal_nan=True)
        torch.testing.assert_close(getattr(small, name), getattr(cached, name), equal_nan=True)


def test_agreement_where_wrong_counts_the_same_error_only() -> None:
    labels = torch.tensor([0, 0, 0, 0])
    original = torch.tensor([[0, 1, 1, 2], [0, 0, 0, 0]])
    rebuilt = torch.tensor([[0, 1, 2, 0], [1, 0, 0, 0]])
    found = agreement_where_wrong(original, rebuilt, labels)
    assert found[0] == pytest.approx(1 / 3)
    assert found[1].isnan()


def test_diverged_networks_agree_with_nobody() -> None:
    test = networks(3, seed=2)
    rebuilt = test.clone()
    rebuilt[1, 0] = torch.nan
    judged = compare(exam(), test, rebuilt)
    assert judged.agreement.tolist() == [1, 0, 1]
    metrics = {record.metric for record in judged.records("x", bench="b", tier="smoke", zoo="z")}
    assert "agreement" in metrics
    assert "L2" not in metrics


def test_divergence_is_zero_only_for_equal_outputs() -> None:
    outputs = torch.randn(2, 5, 3)
    moved = outputs.clone()
    moved[1] *= 2
    found = divergence(outputs, moved)
    assert found[0] == 0
    assert found[1] > 0
    torch.testing.assert_close(divergence(outputs, outputs + 7), torch.zeros(2))  # softmax ignores a shift


def test_terciles_show_an_upward_bias() -> None:
    original = torch.linspace(0.1, 0.9, 30)[torch.randperm(30)]
    flattened = 0.5 + 0.5 * (original - 0.5)
    errors = tercile_errors(flattened, original)
    assert errors[0] > 0.05
    assert abs(errors[1]) < 0.02
    assert errors[2] < -0.05
    with pytest.raises(DataError, match="at least 3"):
        tercile_errors(torch.rand(2), torch.rand(2))


def test_padding_counts_only_in_legacy() -> None:
    original = torch.randn(2, 3, 4)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[:, 3] = False
    rebuilt = original.clone()
    rebuilt[:, :, 3] += 1
    assert token_l2(original, rebuilt, mask).abs().max() == 0
    torch.testing.assert_close(token_l2(original, rebuilt, mask, legacy=True), torch.full((2,), 3**0.5))


def test_records_carry_context(reference: Reference) -> None:
    test = networks(12, seed=2)
    judged = compare(exam(), test, test + 0.05 * torch.randn(12, 51), reference)
    records = judged.records("AE", bench="rebuild", tier="smoke", zoo="digits", seeds=(0,))
    by_metric = {record.metric: record for record in records}
    assert by_metric["excess agreement"].value == judged.excess
    assert by_metric["agreement"].spread is not None
    assert by_metric["agreement"].n == 12
    trivial = reference.records(bench="rebuild", tier="smoke", zoo="digits")
    assert {record.kind for record in trivial} == {"baseline"}
    best = [r.value for r in trivial if r.method.startswith("best of") and r.metric == "excess agreement"]
    assert best == [0]


def test_mistakes_are_named() -> None:
    test = networks(4)
    with pytest.raises(DataError, match="must be equal"):
        compare(exam(), test, test[:3])
    with pytest.raises(DataError, match="needs a reference"):
        _ = compare(exam(), test, test).excess
    with pytest.raises(DataError, match="a score per training network"):
        reference_of(exam(), test[:0], torch.zeros(0), test)
    with pytest.raises(DataError, match="already agrees"):
        reference_of(exam(), test, torch.rand(4), test[:2]).excess(1.0)


def test_match_is_paired() -> None:
    first = torch.tensor([[0, 1, 2], [-1, 1, 1]])
    assert match(first, first).tolist() == [1, pytest.approx(2 / 3)]
