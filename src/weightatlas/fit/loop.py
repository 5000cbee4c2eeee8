"""The one training loop: every encoder, every loss, interruptible and exactly resumable."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightatlas import progress
from weightatlas.encoders.base import Encoder, settings_of
from weightatlas.encoders.io import save_pretrained
from weightatlas.errors import RunError
from weightatlas.fit.best import Best
from weightatlas.fit.check import check_run, embedding_dim, needed
from weightatlas.fit.config import FitConfig
from weightatlas.fit.feed import Order, Queries, TargetFeed, as_batch, as_queries, labels_at, moved
from weightatlas.fit.interrupt import polite_interrupts
from weightatlas.fit.result import FitResult, closed_form
from weightatlas.fit.schedule import factor
from weightatlas.fit.state import load_state, read_progress, save_state
from weightatlas.fit.training import Means, Training, digest_of, fingerprint, optimizer_of
from weightatlas.fit.validate import Validation
from weightatlas.objectives.composite import Composite, build_loss
from weightatlas.objectives.views import make_views
from weightatlas.population.forward import Population
from weightatlas.runtime import generator_of, key_of, pick_device
from weightatlas.tracking import Tracker
from weightatlas.weights.batch import Batch, Weights

log = logging.getLogger("weightatlas")
PATIENCE = 20


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
        RunError: The folder holds another run, or the training diverged.
        KeyboardInterrupt: After Ctrl-C, with the state saved.
    """
    out = None if out is None else Path(out)
    batch = as_batch(data)
    if not any(parameter.requires_grad for parameter in encoder.parameters()):
        return closed_form(encoder, batch, out)
    config = needed(config, encoder)
    pool = as_queries(queries)
    dim = embedding_dim(encoder, batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_of(config.seed, "loss"))
        loss = loss or build_loss(config.loss, dim)
    held = None if validation is None else as_batch(validation)
    check_run(encoder, batch, config, loss, population, pool, out, held)
    run = Run(encoder, batch, config, out, pool, population, held, loss, about)
    run.on_pass = on_pass
    with torch.random.fork_rng():
        return run.go()


class Run:
    """One call of `fit`: everything on its device, and the step counter."""

    on_pass: Callable[[Encoder, int], None] | None

    def __init__(
        self,
        encoder: Encoder,
        batch: Batch,
        config: FitConfig,
        out: Path | None,
        queries: Queries | None,
        population: Population | None,
        validation: Batch | None,
        loss: Composite,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.started = time.monotonic()
        self.config, self.out = config, out
        self.device = pick_device(config.device)
        self.queries = None if queries is None else Queries(queries.inputs.to(self.device))
        self.batch = moved(batch, self.device)
        self.training = Training(encoder, loss, population if loss.needs_queries else None)
        self.order = Order(batch, config.batch, config.seed, mixed=loss.mixes)
        self.best = Best(config.select, config.patience)
        self.validation = None if validation is None else moved(validation, self.device)
        self.means, self.on_pass = Means(), None
        own = {} if loss.settings is None else {"own loss": loss.settings}
        self.step, self.earlier, self.wasted, self.lr = 0, 0.0, 0, 0.0
        self.identity = {
            "config": {**settings_of(encoder), **config.identity, **own, **(about or {})},
            "data": fingerprint(batch),
            "queries": digest_of(queries.inputs) if queries is not None and loss.needs_queries else None,
        }

    @property
    def seconds(self) -> float:
        """Wall time of the run, earlier calls included."""
        return self.earlier + time.monotonic() - self.started

    @property
    def steps(self) -> int | None:
        """Planned steps, or none if the clock decides."""
        if self.config.passes is not None:
            return self.config.passes * self.order.steps
        return self.config.steps

    @property
    def share(self) -> float:
        """Share of the training that is done."""
        if self.best.stopped:
            return 1.0
        if self.steps is not None:
            return self.step / self.steps
        return self.seconds / (60 * (self.config.minutes or 1))

    @property
    def left(self) -> bool:
        """Whether there are steps left, or steps that no line of the log tells of."""
        return self.share < 1 or bool(self.means.state)

    def go(self) -> FitResult:
        """Prepare or resume, train, save."""
        self.training.to(self.device)
        saved = None if self.out is None else read_progress(self.out)
        optimizer = optimizer_of(self.training, self.config)
        if saved is None:
            self.training.encoder.adapt(self.batch)
        else:
            self._resume(self.out or Path(), saved, optimizer)
        tracker = Tracker(self.out, upto=None if saved is None else self.step, also=self.config.track)
        if self.left:
            self._feed()
            self._train(optimizer, tracker)
        self.training.eval()
        finished = not self.left
        if finished:
            self.best.restore(self.training)
        if self.out is not None and finished:
            save_pretrained(self.training.encoder, self.out / "encoder")
        passes = self.step / self.order.steps
        parts = (self.training.encoder, self.training.loss, self.step, passes, self.seconds, finished)
        return FitResult(*parts, tracker.history)

    def _feed(self) -> None:
        self.targets = None
        population = self.training.population
        if population is not None and self.queries is not None:
            draws = None if self.steps is None else self.config.queries * -(-self.steps // self.order.steps)
            values = self.batch.groups[0].values
            limit = self.config.targets_mb
            self.targets = TargetFeed(population, values, self.queries.inputs, draws, limit)
        self.validate = None
        if self.validation is not None and self.config.validate_every:
            self.validate = Validation(self.training, self.validation, self.config, self.queries)

    def _train(self, optimizer: torch.optim.Optimizer, tracker: Tracker) -> None:
        forward = self.training.prepared(self.config, self.device)
        total = self.steps or 60 * (self.config.minutes or 1)
        label = f"training {self.training.encoder.name}"
        saved_at = time.monotonic()
        with polite_interrupts() as interrupt, progress.track(total, label) as bar:
            bar.advance(self.step if self.steps else self.seconds)
            for loss in self._steps(forward, optimizer, tracker):
                bar.advance(1 if self.steps else self.seconds - bar.done, f"loss {loss}")
                due = time.monotonic() - saved_at >= 60 * self.config.checkpoint_minutes
                late = (time.monotonic() - self.started) >= (self.config.max_seconds or float("inf"))
                if due or late or interrupt.wanted:
                    self._save(optimizer)
                    saved_at = time.monotonic()
                if interrupt.wanted:
                    raise KeyboardInterrupt
                if late:
                    return
        self._save(optimizer)

    def _steps(self, forward: Any, optimizer: torch.optim.Optimizer, tracker: Tracker) -> Iterator[str]:
        """Do steps until the end; after each, its loss in words."""
        self.training.train()
        shown = "-"
        while self.share < 1:
            rate, momentum = factor(self.config.schedule, self.share, self.config.warmup)
            for group in optimizer.param_groups:
                group["lr"], group["betas"] = self.config.lr * rate, (momentum, group["betas"][1])
            given = self._inputs()
            networks = sum(len(view.clean) for view in given["views"])
            self._update(forward(**given), optimizer, networks)
            self.step += 1
            self.lr = self.config.lr * rate
            if self.step % self.order.steps == 0:
                shown = self._log(tracker)
            yield shown
        if self.means.state:
            self._log(tracker)

    def _inputs(self) -> dict[str, Any]:
        """Gather what the step works on; a function of seed and step."""
        seed, step = self.config.seed, self.step
        loss, source = self.training.loss, generator_of(seed, "views", step)
        pieces = [(number, rows.to(self.device)) for number, rows in self.order(step)]
        groups = [(self.batch.groups[number], rows) for number, rows in pieces]
        parts = [Weights(group.values[rows], group.spec, rows) for group, rows in groups]
        views = [make_views(part, self.config.views, loss.views, source) for part in parts]
        torch.manual_seed(key_of(seed, "dropout", step) & 0x7FFF_FFFF_FFFF_FFFF)
        given: dict[str, Any] = {"views": views, "generator": generator_of(seed, "window", step)}
        if loss.labels:
            given["labels"] = labels_at(self.batch, loss.labels, pieces)
        if self.targets is not None and self.queries is not None:
            index, inputs = self.queries.sample(self.config.queries, generator_of(seed, "queries", step))
            given |= {"queries": inputs, "targets": self.targets(pieces[0][1], index, inputs)}
        return given

    def _update(self, terms: dict[str, Tensor], optimizer: torch.optim.Optimizer, networks: int) -> None:
        """Go one step down, unless the gradient is not finite."""
        terms["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.training.parameters(), self.config.clip or float("inf"))
        if bool(torch.isfinite(norm)):
            optimizer.step()
            self.wasted = 0
        else:
            self.wasted += 1
        optimizer.zero_grad()
        extra = {"grad_norm": norm, "skipped": torch.tensor(float(self.wasted > 0))}
        self.means.add({**terms, **extra}, networks)
        if self.wasted >= PATIENCE:
            raise RunError(
                f"The training diverged: {PATIENCE} steps in a row had a gradient that is not finite.",
                where=f"At step {self.step}.",
                todo="Lower lr, set clip, or use variant='softmax_mse' for the behavioral term.",
            )

    def _log(self, tracker: Tracker) -> str:
        """Write one line per pass, and validate if it is time."""
        number = -(-self.step // self.order.steps)
        line = {"pass": number, **self.means.take(), "lr": self.lr, "seconds": round(self.seconds, 3)}
        every = self.config.validate_every
        if self.validate is not None and (number % every == 0 or self.share >= 1):
            line |= self.validate()
            self.best.look(line, self.training)
        tracker.log(self.step, line)
        if self.on_pass is not None:
            self.on_pass(self.training.encoder, number)
        return f"{line['loss']:.4f}"

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        if self.out is None:
            return
        state = {"step": self.step, "seconds": self.seconds, "means": self.means.state, **self.identity}
        state |= {"best": self.best.state, "lr": self.lr}
        save_state(self.out, self.training, optimizer, state, self.best.tensors)

    def _resume(self, out: Path, saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
        """Continue where the folder's state stands.

        Raises:
            RunError: The folder holds a run with other settings or data.
        """
        old, new = saved["config"], self.identity["config"]
        changed = [f"{key}: was {old.get(key)}, is {new[key]}" for key in new if old.get(key) != new[key]]
        for key, name in (("data", "training networks"), ("queries", "queries")):
            if key in saved and saved[key] != self.identity[key]:
                changed.append(f"the {name} are others")
        if changed:
            raise RunError(
                f"{out} holds a run with other settings: {'; '.join(changed)}.",
                todo="Repeat the call with the old settings, or choose another folder.",
            )
        self.best.load(saved.get("best"), load_state(out, self.training, optimizer))
        self.step, self.earlier = saved["step"], saved["seconds"]
        self.means.state, self.lr = saved["means"], saved.get("lr", 0.0)
        log.info("continuing %s at step %d", out, self.step)
