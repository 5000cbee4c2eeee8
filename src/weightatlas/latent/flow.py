"""Flow matching over codes: a modern generator between a kernel density and a diffusion."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightatlas.latent.samplers import SampleConfig, normal, principal, samplers, uniform
from weightatlas.runtime import threads

BATCH, EULER, LR = 128, 50, 1e-2


@samplers.register("flow")
def flow(
    codes: Float[Tensor, "anchors codes width"],
    count: int,
    generator: torch.Generator,
    settings: SampleConfig,
) -> Float[Tensor, "count codes width"]:
    """Learn a velocity field that carries normal noise to the anchors, and follow it.

    Flow matching with straight paths (Lipman et al., 2023) on whitened principal coordinates of the
    codes. Dependencies between coordinates are learned, where kernel densities on single
    coordinates ignore them.
    """
    known = principal(codes, settings.components)
    scale = known.points.std(0).clamp_min(1e-8)
    real = (known.points / scale).detach()
    width = real.shape[1]
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), threads(1):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device=generator.device)))
        field = Velocity(width).to(real)
        optimizer = torch.optim.Adam(field.parameters(), lr=LR)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
        for _ in range(settings.steps):
            rows = torch.randint(len(real), (BATCH,), generator=generator, device=generator.device)
            end = real[rows.to(real.device)] + 0.1 * normal((BATCH, width), generator, real)
            start = normal((BATCH, width), generator, real)
            time = uniform((BATCH, 1), generator, real)
            loss = (field(start + time * (end - start), time) - (end - start)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        points = normal((count, width), generator, real)
        for step in range(EULER):
            points = points + field(points, points.new_full((count, 1), step / EULER)) / EULER
        return known.back(points * scale)


class Velocity(nn.Module):
    """Velocity of a point at a time between 0 (noise) and 1 (codes).

    Args:
        width: Coordinates of a point.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        wide = 4 * max(width, 16)
        layers = (
            nn.Linear(width + 9, wide),
            nn.SiLU(),
            nn.Linear(wide, wide),
            nn.SiLU(),
            nn.Linear(wide, width),
        )
        self.layers = nn.Sequential(*layers)

    def forward(
        self, points: Float[Tensor, "count width"], time: Float[Tensor, "count 1"]
    ) -> Float[Tensor, "count width"]:
        """Return the velocity at points and times."""
        waves = time * torch.pi * torch.tensor([1.0, 2.0, 4.0, 8.0]).to(time)
        return self.layers(torch.cat([points, time, waves.sin(), waves.cos()], dim=1))
