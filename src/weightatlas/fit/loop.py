"""The one training loop: every encoder, every loss, interruptible and exactly resumable."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from weightatlas.encoders.base import Encoder
from weightatlas.errors import ConfigError, gather
from weightatlas.fit.check import check_run, embedding_dim, needed
from weightatlas.fit.config import FitConfig
from weightatlas.fit.feed import as_batch, as_queries
from weightatlas.fit.joint import joint_problems
from weightatlas.fit.result import FitResult, closed_form
from weightatlas.fit.run import Run
from weightatlas.objectives.composite import Composite, build_loss
from weightatlas.population.forward import Population
from weightatlas.processes import connect
from weightatlas.runtime import key_of


def fit(
    encoder: Encoder,
    data: Any,
    config: FitConfig | None = None,
    out: str | Path | None = None,
    *,
    queries: Any = None,
    population: Population | None = None,
    validation: Any = None,
    loss: Composite | None = None,
    about: Mapping[str, Any] | None = None,
    on_pass: Callable[[Encoder, int], None] | None = None,
) -> FitResult:
    """Train an encoder. The same call continues an interrupted run, and returns a finished one.

    On a CPU an interrupted and continued run equals an uninterrupted one bit for bit, if its length is
    given in passes or steps and the population's engine is named rather than timed.

    Started in several processes (`accelerate launch`, `torchrun`), all of them make this call and train one
    encoder: each works on its part of every step's networks, gradients are added up, and the result is that
    of one process up to floating-point reassociation. Process 0 writes. What could not be equal is refused.

    Args:
        encoder: Any encoder; its scaling and PCA are fitted here, on the training networks.
        data: Training networks: a zoo, a `Batch` or `Weights`.
        config: Length, rates, loss, views; encoders in closed form, such as PCA, need none.
        out: Folder of the run: state, metrics.jsonl, config.yaml and the encoder; none keeps nothing.
        queries: Inputs on which networks are executed, a `QueryPool` or a tensor; for behavioral terms.
        population: Executes the networks; for behavioral terms.
        validation: Networks to validate on, as `data`.
        loss: A loss of your own instead of `config.loss`.
        about: Further facts by which runs differ, JSON values; a run is continued only if they are equal.
        on_pass: Called after each pass with the encoder and the pass's number; it must not leave it changed.

    Raises:
        ConfigError: Every problem of the call, at once, before anything is trained.
        RunError: The folder holds another run, the training diverged, or another process failed.
        KeyboardInterrupt: After Ctrl-C, with the state saved.
    """
    processes = connect("auto" if config is None else config.device)
    out = None if out is None else Path(out)
    writes = out if processes.main else None
    with processes.shared():
        batch = as_batch(data)
        if not any(parameter.requires_grad for parameter in encoder.parameters()):
            return closed_form(encoder, batch, writes)
        config = needed(config, encoder)
        pool = as_queries(queries)
        dim = embedding_dim(encoder, batch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key_of(config.seed, "loss"))
            loss = loss or build_loss(config.loss, dim)
        held = None if validation is None else as_batch(validation)
        check_run(encoder, batch, config, loss, population, pool, writes, held)
        run = Run(encoder, batch, config, out, pool, population, held, loss, about, processes)
        problems = joint_problems(encoder, batch, loss, run.order, processes)
        gather(ConfigError, problems, where="Nothing was trained.")
    run.on_pass = on_pass
    with torch.random.fork_rng():
        return run.go()
