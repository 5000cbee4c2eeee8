"""A generative adversarial network over codes."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.latent.samplers import SampleConfig, normal, principal, samplers, uniform
from weightatlas.runtime import threads

BATCH, CRITIC_STEPS = 64, 3
PENALTY = 1.0  # 10, as published for images, never settled on a ring of 120 anchors
LR, BETAS = 3e-3, (0.5, 0.9)


@samplers.register("gan")
def adversarial(
    codes: Float[Tensor, "anchors codes width"],
    count: int,
    generator: torch.Generator,
    settings: SampleConfig,
) -> Float[Tensor, "count codes width"]:
    """Train a Wasserstein GAN with gradient penalty on the anchors' principal coordinates and draw from it.

    Hyper-representations (NeurIPS 2022) name sampling by a GAN (S_GAN) without publishing it;
    this one follows Gulrajani et al. (2017) at the size of a few hundred anchors.
    """
    known = principal(codes, settings.components)
    scale = known.points.std(0).clamp_min(1e-8)
    real = (known.points / scale).detach()
    width = real.shape[1]
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), threads(1):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device=generator.device)))
        maker, critic = _network(width, width).to(real), _network(width, 1).to(real)
        slow, fast = _optimizer(maker), _optimizer(critic)
        for step in range(settings.steps):
            rows = torch.randint(len(real), (BATCH,), generator=generator, device=generator.device)
            # Little noise keeps a critic from remembering single anchors.
            true = real[rows.to(real.device)] + 0.05 * normal((BATCH, width), generator, real)
            made = maker(normal((BATCH, width), generator, real))
            if step % (CRITIC_STEPS + 1) < CRITIC_STEPS:
                loss = critic(made.detach()).mean() - critic(true).mean()
                loss = loss + PENALTY * _steepness(critic, true, made.detach(), generator)
                _descend(fast, loss)
            else:
                _descend(slow, -critic(made).mean())
    with torch.no_grad():
        return known.back(maker(normal((count, width), generator, real)) * scale)


def _network(width: int, out: int) -> nn.Sequential:
    wide = 4 * max(width, 16)
    layers = nn.Linear(width, wide), nn.SiLU(), nn.Linear(wide, wide), nn.SiLU(), nn.Linear(wide, out)
    return nn.Sequential(*layers)


def _optimizer(network: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=LR, betas=BETAS)


def _steepness(critic: nn.Module, true: Tensor, made: Tensor, generator: torch.Generator) -> Tensor:
    """How far the critic's slope is from 1 between true and made points."""
    part = uniform((len(true), 1), generator, true)
    between = (part * true + (1 - part) * made).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
