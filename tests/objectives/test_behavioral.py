"""Behavioral loss: its variants, its gradient (Eqs. 5-10 of Meynent et al., 2025), and bad networks."""

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap
from torch.nn import functional as F

from tests.encoders import small
from weightatlas.encoders.base import Decoded, Encoded
from weightatlas.encoders.io import create_encoder
from weightatlas.objectives import Behavioral, Step
from weightatlas.weights.batch import weights_of
from weightatlas.weights.vector import unflatten


def step_of(original: Tensor, rebuilt: Tensor, queries: Tensor, views: int = 1) -> Step:
    population = small.population()
    encoded = Encoded(
        torch.zeros(len(rebuilt), 1, 1), torch.ones(len(rebuilt), 1).bool(), torch.zeros(len(rebuilt), 1)
    )
    return Step(
        weights=weights_of(original.repeat(views, 1), small.spec()),
        encoder=create_encoder("pca", small.spec()),
        encoded=encoded,
        decoded=Decoded(rebuilt),
        views=views,
        queries=queries,
        targets=population(original, queries).detach(),
        population=population,
    )


def loss_of(variant: str, original: Tensor, rebuilt: Tensor, **settings: object) -> Tensor:
    return Behavioral(variant, **settings)(step_of(original, rebuilt, small.queries()))["behavioral"]


def test_variants_equal_their_definitions():
    original, rebuilt = small.values(3), small.values(3, seed=1)
    run = small.population()
    ours, theirs = run(rebuilt, small.queries()), run(original, small.queries())
    expected = {
        "softmax_mse": F.mse_loss(ours.softmax(-1), theirs.softmax(-1)),
        "logits_mse": 0.5 * (ours - theirs).norm(dim=-1).square().mean(),
        "cross_entropy": F.cross_entropy(ours.flatten(0, 1), theirs.softmax(-1).flatten(0, 1)),
    }
    for variant, value in expected.items():
        torch.testing.assert_close(loss_of(variant, original, rebuilt), value)
    kl = F.kl_div(
        (ours / 2).log_softmax(-1).flatten(0, 1),
        (theirs / 2).softmax(-1).flatten(0, 1),
        reduction="batchmean",
    )
    torch.testing.assert_close(loss_of("distillation", original, rebuilt, temperature=2.0), 4 * kl)


@pytest.mark.parametrize("variant", ["softmax_mse", "logits_mse", "distillation"])
def test_equal_networks_cost_nothing_and_others_something(variant: str):
    original = small.values(3)
    assert float(loss_of(variant, original, original)) == pytest.approx(0, abs=1e-6)
    assert float(loss_of(variant, original, small.values(3, seed=1))) > 1e-4


def test_extreme_outputs_stay_finite_under_distillation():
    """The released code takes the log of an underflowed softmax: 0 * -inf."""
    original = 300 * small.values(3)
    rebuilt = (300 * small.values(3, seed=1)).requires_grad_()
    loss = loss_of("distillation", original, rebuilt)
    (grad,) = torch.autograd.grad(loss, rebuilt)
    assert torch.isfinite(loss)
    assert torch.isfinite(grad).all()


def test_bad_networks_are_left_out_and_get_no_gradient():
    original = small.values(4)
    rebuilt = small.values(4, seed=1)
    rebuilt[2] = torch.nan
    rebuilt.requires_grad_()
    result = Behavioral()(step_of(original, rebuilt, small.queries()))
    (grad,) = torch.autograd.grad(result["behavioral"], rebuilt)
    keep = torch.tensor([0, 1, 3])
    alone = Behavioral()(step_of(original[keep], rebuilt.detach()[keep], small.queries()))
    torch.testing.assert_close(result["behavioral"].detach(), alone["behavioral"])
    assert float(result["dropped"]) == 1
    assert torch.isfinite(grad).all()
    assert float(grad[2].abs().sum()) == 0 < float(grad[keep].abs().sum())


def test_all_views_are_compared_with_the_same_originals():
    original, rebuilt = small.values(3), small.values(3, seed=1)
    once = loss_of("softmax_mse", original, rebuilt)
    twice = Behavioral()(step_of(original, rebuilt.repeat(2, 1), small.queries(), views=2))["behavioral"]
    torch.testing.assert_close(once, twice)


def jacobians(weights: Tensor, inputs: Tensor) -> Tensor:
    """d outputs / d weights, shape (networks, queries, classes, params)."""
    module = small.network().double()

    def outputs(vector: Tensor, x: Tensor) -> Tensor:
        return functional_call(module, unflatten(vector, small.spec()), (x,))

    per_query = vmap(jacrev(outputs), in_dims=(None, 0))
    return vmap(per_query, in_dims=(0, None))(weights, inputs)


def test_the_gradient_tends_to_the_papers_closed_form():
    """Eq. 9: dB/d rebuilt_j = (1/k) delta_j^T F_j, F_j = (1/n) sum_i J_j(x_i)^T J^_j(x_i), as delta -> 0.

    The derivation drops second-order terms of f, so the relative error must fall in proportion to
    delta; the structural gradient (Eq. 5, F = identity) must not come near. Float64 throughout.
    """
    original, queries = small.values(3).double(), small.queries(16).double()
    direction = torch.randn(original.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = jacobians(original, queries)
    sizes = [1e-1, 1e-2, 1e-3, 1e-4]
    errors, structural = [], []
    for size in sizes:
        delta = size * direction
        gradient = gradient_of(original, original + delta, queries)
        after = jacobians(original + delta, queries)
        fisher = torch.einsum("jiop,jioq->jpq", before, after) / len(queries)
        closed = torch.einsum("jp,jpq->jq", delta, fisher) / len(original)
        errors.append(float((gradient - closed).norm() / gradient.norm()))
        cosine = torch.cosine_similarity(gradient.flatten(), delta.flatten(), dim=0)
        structural.append(float(cosine))
    slopes = [errors[i] / errors[i + 1] for i in range(3)]
    assert errors[-1] < 1e-3
    assert slopes[1:] == pytest.approx([10, 10], rel=0.15)
    assert max(structural) < 0.9


def gradient_of(original: Tensor, rebuilt: Tensor, queries: Tensor) -> Tensor:
    """dB/d rebuilt by automatic differentiation of the library's loss."""
    rebuilt = rebuilt.clone().requires_grad_()
    loss = Behavioral("logits_mse")(step_of(original, rebuilt, queries))["behavioral"]
    return torch.autograd.grad(loss, rebuilt)[0]
