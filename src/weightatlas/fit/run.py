"""One call of `fit`: everything on its device, the steps, the state on disk."""

import logging
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
from weightatlas.fit.clock import Clock
from weightatlas.fit.config import FitConfig
from weightatlas.fit.feed import Order, Queries, TargetFeed, labels_at, moved, own_pieces, thinned
from weightatlas.fit.interrupt import polite_interrupts
from weightatlas.fit.result import FitResult
from weightatlas.fit.schedule import factor
from weightatlas.fit.state import load_state, read_progress, refuse_others, save_state
from weightatlas.fit.training import Means, Training, digest_of, fingerprint, optimizer_of
from weightatlas.fit.validate import Validation
from weightatlas.objectives.composite import Composite
from weightatlas.objectives.views import make_views
from weightatlas.population.forward import Population
from weightatlas.processes import ALONE, Processes
from weightatlas.runtime import generator_of, key_of, pick_device
from weightatlas.tracking import Tracker
from weightatlas.weights.batch import Batch, Weights

log = logging.getLogger("weightatlas")
PATIENCE = 20


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
        processes: Processes = ALONE,
    ) -> None:
        self.processes, self.clock = processes, Clock(processes)
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
        self.step, self.wasted, self.lr = 0, 0, 0.0
        self.identity = {
            "config": {**settings_of(encoder), **config.identity, **own, **(about or {})},
            "data": fingerprint(batch),
            "queries": digest_of(queries.inputs) if queries is not None and loss.needs_queries else None,
        }

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
        return self.clock.seconds / (60 * (self.config.minutes or 1))

    @property
    def left(self) -> bool:
        """Whether there are steps left, or steps that no line of the log tells of."""
        return self.share < 1 or bool(self.means.state)

    def go(self) -> FitResult:
        """Prepare or resume, train, save."""
        self.training.to(self.device)
        optimizer = optimizer_of(self.training, self.config)
        with self.processes.shared():
            saved = None if self.out is None else read_progress(self.out)
            if saved is None:
                self.training.encoder.adapt(thinned(self.batch))
            else:
                self._resume(self.out or Path(), saved, optimizer)
        self._agree()
        place, also = (self.out, self.config.track) if self.processes.main else (None, ())
        with self.processes.shared():
            tracker = Tracker(place, upto=None if saved is None else self.step, also=also)
        if self.left:
            self._feed()
            self._train(optimizer, tracker)
        self.training.eval()
        finished = not self.left
        if finished:
            self.best.restore(self.training)
        with self.processes.shared():
            if self.out is not None and finished and self.processes.main:
                save_pretrained(self.training.encoder, self.out / "encoder")
        passes = self.step / self.order.steps
        parts = (self.training.encoder, self.training.loss, self.step, passes, self.clock.seconds, finished)
        return FitResult(*parts, tracker.history)

    def _agree(self) -> None:
        """Let all processes start from the same numbers.

        Raises:
            RunError: They were started for different trainings.
        """
        found = self.processes.objects({**self.identity, "step of the saved state": self.step})
        others = {key for key in found[0] if any(other[key] != found[0][key] for other in found)}
        if others:
            raise self.processes.once(
                RunError(
                    f"The processes differ in {', '.join(sorted(others))}.",
                    todo="Start all with the same command; every machine must see the folder of the run.",
                )
            )
        self.processes.spread(self.training.state_dict().values())
        self.clock.tick(stop=False)

    def _feed(self) -> None:
        self.targets = None
        population = self.training.population
        if population is not None and self.queries is not None:
            draws = None if self.steps is None else self.config.queries * -(-self.steps // self.order.steps)
            values, pool = self.batch.groups[0].values, self.queries.inputs
            self.targets = TargetFeed(population, values, pool, draws, self.config.targets_mb, self.processes)
        self.validate = None
        if self.validation is not None and self.config.validate_every:
            parts = (self.validation, self.config, self.queries, self.processes)
            self.validate = Validation(self.training, *parts)

    def _train(self, optimizer: torch.optim.Optimizer, tracker: Tracker) -> None:
        forward = self.training.prepared(self.config, self.device)
        total, clock = self.steps or 60 * (self.config.minutes or 1), self.clock
        label = f"training {self.training.encoder.name}"
        saved_at = clock.here
        with polite_interrupts() as interrupt, progress.track(total, label) as bar:
            bar.advance(self.step if self.steps else clock.seconds)
            for loss in self._steps(forward, optimizer, tracker):
                bar.advance(1 if self.steps else clock.seconds - bar.done, f"loss {loss}")
                stop = clock.tick(interrupt.wanted)
                due = clock.here - saved_at >= 60 * self.config.checkpoint_minutes
                late = clock.here >= (self.config.max_seconds or float("inf"))
                if due or late or stop:
                    self._save(optimizer)
                    saved_at = clock.here
                if stop:
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
            views = given["views"]
            networks = given.get("networks", sum(len(view.clean) // view.count for view in views))
            self._update(forward(**given), optimizer, networks * views[0].count)
            self.step += 1
            self.lr = self.config.lr * rate
            if self.step % self.order.steps == 0:
                shown = self._log(tracker)
            yield shown
        if self.means.state:
            self._log(tracker)

    def _inputs(self) -> dict[str, Any]:
        """Gather what this process works on in the step; a function of seed and step."""
        seed, step = self.config.seed, self.step
        loss, source = self.training.loss, generator_of(seed, "views", step)
        whole = self.order(step)
        pieces = own_pieces(whole, self.processes)
        views = []
        for piece in pieces:
            group, rows = self.batch.groups[piece.group], piece.rows.to(self.device)
            part = Weights(group.values[rows], group.spec, rows)
            views.append(make_views(part, self.config.views, loss.views, source, piece.among))
        own = [(piece.group, piece.rows.to(self.device)) for piece in pieces if len(piece.rows)]
        torch.manual_seed(key_of(seed, "dropout", step) & 0x7FFF_FFFF_FFFF_FFFF)
        given: dict[str, Any] = {
            "views": [view for view in views if len(view.clean)],
            "generator": generator_of(seed, "window", step),
        }
        if self.processes.count > 1:
            given |= {"processes": self.processes, "networks": sum(len(rows) for _, rows in whole)}
        if loss.labels:
            given["labels"] = labels_at(self.batch, loss.labels, own)
        if self.targets is not None and self.queries is not None:
            index, inputs = self.queries.sample(self.config.queries, generator_of(seed, "queries", step))
            given |= {"queries": inputs, "targets": self.targets(own[0][1], index, inputs)}
        return given

    def _update(self, terms: dict[str, Tensor], optimizer: torch.optim.Optimizer, networks: int) -> None:
        """Go one step down, unless the gradient is not finite."""
        terms["loss"].backward()
        self.processes.add_gradients(self.training.parameters())
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
            error = RunError(
                f"The training diverged: {PATIENCE} steps in a row had a gradient that is not finite.",
                where=f"At step {self.step}.",
                todo="Lower lr, set clip, or use variant='softmax_mse' for the behavioral term.",
            )
            raise self.processes.once(error)

    def _log(self, tracker: Tracker) -> str:
        """Write one line per pass, and validate if it is time."""
        number = -(-self.step // self.order.steps)
        line = {"pass": number, **self.means.take(), "lr": self.lr, "seconds": round(self.clock.seconds, 3)}
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
        state = {"step": self.step, "seconds": self.clock.seconds, "means": self.means.state, **self.identity}
        state |= {"best": self.best.state, "lr": self.lr}
        with self.processes.shared():
            if self.processes.main:
                save_state(self.out, self.training, optimizer, state, self.best.tensors)

    def _resume(self, out: Path, saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
        """Continue where the folder's state stands, whatever number of processes it was left by.

        Raises:
            RunError: The folder holds a run with other settings or data.
        """
        refuse_others(out, saved, self.identity)
        self.best.load(saved.get("best"), load_state(out, self.training, optimizer))
        self.step, self.clock.earlier = saved["step"], saved["seconds"]
        self.means.state, self.lr = saved["means"], saved.get("lr", 0.0)
        log.info("continuing %s at step %d", out, self.step)
