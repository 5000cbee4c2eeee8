"""Settings of the training loop."""

from typing import Literal

from pydantic import Field, model_validator

from weightatlas.config import Config
from weightatlas.objectives.composite import LossConfig
from weightatlas.objectives.views import ViewConfig


class FitConfig(Config):
    """How an encoder is trained. Exactly one of `passes`, `steps` and `minutes` says how long.

    Example:
        >>> FitConfig(steps=100, lr=3e-4).schedule
        'cosine'

    Args:
        passes: Passes over the training networks.
        steps: Optimizer steps.
        minutes: Wall time, set-up included; the schedule then follows the clock, so that such a run
            is annealed to its end on any machine but is not bit-reproducible.
        max_seconds: Stop cleanly after this much time in this call; the same call continues.
        batch: Networks per step.
        lr: Peak learning rate.
        weight_decay: AdamW weight decay, applied to parameters with two axes or more.
        schedule: "cosine" after a linear warmup, "onecycle" as in SANE, "multistep" (a tenth after one
            half and again after three quarters, as in SNE) or "constant".
        warmup: Share of the training that is warmup (all but onecycle).
        clip: Largest gradient norm, or none.
        loss: Terms and their weights.
        views: How views of networks are made.
        queries: Queries per step on which networks are executed.
        targets_mb: Cache the originals' outputs on the whole query pool up to this size.
        precision: "bf16" runs the encoder in 16 bits, "auto" does so on CUDA only.
        compile: Compile the encoder with torch.compile, if that works here.
        validate_every: Validate after every so many passes; 0 never does.
        select: Validation number whose best state is kept, such as "val/kendall" or "val/loss"; none
            keeps the last state.
        patience: Stop after so many validations without a better number; none goes on to the end.
        checkpoint_minutes: Save the state this often, besides at the end.
        seed: Seed of order, views, queries and dropout; not of the encoder's initialization.
        device: "auto", "cpu", "cuda".
        track: Further metric sinks ("tensorboard", "wandb").
    """

    passes: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    max_seconds: float | None = Field(default=None, gt=0)
    batch: int = Field(default=64, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=3e-9, ge=0)
    schedule: Literal["cosine", "onecycle", "multistep", "constant"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    clip: float | None = Field(default=1.0, gt=0)
    loss: LossConfig = LossConfig()
    views: ViewConfig = ViewConfig()
    queries: int = Field(default=256, ge=1)
    targets_mb: float = Field(default=1024, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    validate_every: int = Field(default=1, ge=0)
    select: str | None = None
    patience: int | None = Field(default=None, ge=1)
    checkpoint_minutes: float = Field(default=1.0, ge=0)
    seed: int = 0
    device: str = "auto"
    track: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_length(self) -> "FitConfig":
        given = [name for name in ("passes", "steps", "minutes") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"set exactly one of passes, steps and minutes, not {given or 'none'}")
        return self

    @property
    def identity(self) -> dict[str, object]:
        """The settings that must be equal for a run to be continued."""
        free = {"max_seconds", "checkpoint_minutes", "device", "track", "targets_mb"}
        return self.model_dump(mode="json", exclude=free)
