"""Several processes that train one encoder together: who they are, and what they tell each other."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch import distributed as dist

from weightatlas.errors import ConfigError, RunError
from weightatlas.runtime import pick_device

Result = TypeVar("Result")
PATIENCE = timedelta(hours=2)  # for a process that prepares alone what the others wait for


class Elsewhere(RunError):
    """Another process has failed, and names the reason; this one only ends."""


class Lost(Elsewhere):
    """Another process does not answer any more; whether it could say why is not known."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of one training; a single one by default, for which everything here does nothing.

    Example:
        >>> ALONE.main, ALONE.part(7), Processes(1, 2).part(7)
        (True, slice(0, 7, None), slice(4, 7, None))

    Args:
        rank: Number of this process, from 0; process 0 is the one that writes.
        count: How many there are.
        device: Where tensors must be that are sent.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes files and reports."""
        return self.rank == 0

    def part(self, total: int, rank: int | None = None) -> slice:
        """Return which of `total` rows a process works on: parts in order, of nearly equal size."""
        rank = self.rank if rank is None else rank
        small, more = divmod(total, self.count)
        start = rank * small + min(rank, more)
        return slice(start, start + small + (rank < more))

    def sum(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the sum over all processes, without gradient."""
        if self.count == 1:
            return values
        total = values.detach().clone()
        _talk(dist.all_reduce, total)
        return total

    def largest(self, numbers: Sequence[float]) -> list[float]:
        """Return the largest of the numbers of all processes, place by place."""
        if self.count == 1:
            return list(numbers)
        found = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        _talk(dist.all_reduce, found, dist.ReduceOp.MAX)
        return found.tolist()

    def gather(self, values: Float[Tensor, "views own dim"], total: int) -> Float[Tensor, "views total dim"]:
        """Join the rows of all processes in order; gradients flow back to the process a row came from.

        What every process computes from all rows has a gradient in each of them: the gradient of a row is
        the sum over the processes.

        Args:
            values: Rows of this process, `part(total)` of them.
            total: Rows of all processes.
        """
        return values if self.count == 1 else _Gather.apply(values, self, total)  # type: ignore[return-value]

    def fill(self, rows: Float[Tensor, "rows *shape"]) -> None:
        """Complete a tensor of which every process has written its part of the rows, in place."""
        for rank in range(self.count) if self.count > 1 else ():
            _talk(dist.broadcast, rows[self.part(len(rows), rank)], rank)

    def objects(self, own: Any) -> list[Any]:
        """Return what every process has to say, in order."""
        if self.count == 1:
            return [own]
        found: list[Any] = [None] * self.count
        _talk(dist.all_gather_object, found, own)
        return found

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the real numbers among tensors by those of the main process."""
        for tensor in tensors if self.count > 1 else ():
            if tensor.is_floating_point():
                _talk(dist.broadcast, tensor.data, 0)

    @torch.no_grad()
    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients by their sum over the processes, in one message."""
        if self.count == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        used = torch.tensor([float(p.grad is not None) for p in trained]).to(trained[0])
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained]
        total = self.sum(torch.cat([*parts, used]))
        *parts, used = total.split([p.numel() for p in trained] + [len(trained)])
        for parameter, part, count in zip(trained, parts, used.tolist(), strict=True):
            # A parameter that no process used keeps no gradient: the optimizer then leaves it alone.
            parameter.grad = part.view_as(parameter) if count else None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """End the block with an error everywhere if it fails anywhere; only one process names it.

        Raises:
            Elsewhere: Another process failed.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
            if self.count == 1:
                raise
        found = self.objects(None if error is None else f"{type(error).__name__}: {error}")
        failed = [rank for rank, text in enumerate(found) if text is not None]
        if error is not None and failed[0] == self.rank:
            raise error
        if failed:
            raise Elsewhere(f"Process {failed[0]} of {self.count} failed: {found[failed[0]]}")

    def main_first(self, work: Callable[[], Result]) -> Result:
        """Do the same work in all processes, first in the main one, whose files the others then find."""
        found: list[Result] = []
        for turn in (True, False):
            with self.shared():
                found += [work()] if self.main == turn else []
        return found[0]

    def once(self, error: RunError) -> RunError:
        """Return an error that all processes raise at once, in the form in which only one names it."""
        return error if self.main else Elsewhere(f"Process 0 of {self.count} failed: {error}")


ALONE = Processes()


def launched() -> int:
    """Count the processes a launcher has started for this command: 1 without one."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def is_quiet(error: BaseException | None = None) -> bool:
    """Say whether another process speaks for this one: of its progress, or of an error."""
    if launched() == 1:
        return False
    if error is None or not dist.is_initialized():  # what fails before the others are met, fails in all
        return os.environ.get("LOCAL_RANK", "0") != "0"
    if isinstance(error, KeyboardInterrupt | Lost):  # met by all
        return dist.get_rank() != 0
    return isinstance(error, Elsewhere)


def connect(device: str) -> Processes:
    """Meet the other processes, if a launcher (`accelerate launch`, `torchrun`) has started several.

    Args:
        device: Where the training runs, "auto", "cpu" or "cuda"; processes on CPUs talk over gloo, those on
            GPUs over NCCL.

    Raises:
        ConfigError: There is no such device, or there are more processes than GPUs on this machine.
    """
    if launched() == 1:
        return ALONE
    on_cpu = pick_device(device).type == "cpu"
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or launched())
    if not on_cpu and here > torch.cuda.device_count():
        raise ConfigError(
            f"{here} processes were started for {torch.cuda.device_count()} GPUs.",
            todo="Start one process per GPU, or train on the processor: --device cpu.",
        )
    from accelerate import PartialState

    with warnings.catch_warnings():  # about the number of threads, which the launcher has chosen
        warnings.simplefilter("ignore")
        state = PartialState(cpu=on_cpu, timeout=PATIENCE)
    return Processes(state.process_index, state.num_processes, state.device or torch.device("cpu"))


def leave() -> None:
    """Say goodbye to the other processes."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _talk(collective: Callable[..., Any], *arguments: Any) -> None:
    """Exchange something; a process that is gone ends this one too.

    Raises:
        Lost: Another process has ended.
    """
    try:
        collective(*arguments)
    except RuntimeError as error:
        raise Lost(f"Another process of the training has ended: {str(error)[:200]}") from None


class _Gather(torch.autograd.Function):
    """All rows in every process; backward, each process gets the sum of the gradients of its rows."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, processes: Processes, total: int) -> Tensor:
        ctx.processes = processes
        sizes = [len(range(total)[processes.part(total, rank)]) for rank in range(processes.count)]
        ctx.part, most = processes.part(total), max(sizes)
        padded = values.new_zeros(values.shape[0], most, values.shape[2])
        padded[:, : values.shape[1]] = values
        found = [torch.empty_like(padded) for _ in sizes]
        _talk(dist.all_gather, found, padded)
        return torch.cat([rows[:, :size] for rows, size in zip(found, sizes, strict=True)], dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.processes.sum(grads[0].contiguous())[:, ctx.part], None, None


def environment(rank: int, count: int, port: int, threads: int) -> dict[str, str]:
    """Write down what `connect` needs to know, as launchers do."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    chosen = os.environ.get("OMP_NUM_THREADS", str(max(threads // count, 1)))
    return {**os.environ, **{k: str(v) for k, v in {**place, **meet}.items()}, "OMP_NUM_THREADS": chosen}


def free_port() -> int:
    """Find a port of this machine on which processes can meet."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def launch(command: Sequence[str], count: int, threads: int) -> int:
    """Run a command in several processes on this machine that find each other.

    If one fails, the others are ended.

    Args:
        command: Program and arguments, the same for all.
        count: How many.
        threads: Processor cores they share.

    Returns:
        0, or the first exit code that is not.
    """
    import subprocess
    import time

    port = free_port()
    running = [
        subprocess.Popen(command, env=environment(rank, count, port, threads)) for rank in range(count)
    ]
    patience = 3.0  # one that fails has said so; the others are told by their broken connection
    try:
        while any(process.poll() is None for process in running):
            if any(process.poll() for process in running):
                break
            time.sleep(0.05)
    except KeyboardInterrupt:
        patience = 60.0  # all were asked as well, and finish their step
    return _ended(running, patience)


def _ended(running: Sequence[Any], patience: float) -> int:
    """Wait until all have ended, those that do not by themselves by a signal."""
    from subprocess import TimeoutExpired

    for process in running:
        try:
            process.wait(patience)
        except TimeoutExpired:
            process.kill()
            process.wait()
    codes = [process.returncode for process in running]
    return next((code for code in codes if code > 0), int(any(codes)))
