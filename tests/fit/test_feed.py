"""What training reads: enough for closed forms, and never more memory than a part of a mapped zoo."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.encoders import small
from weightatlas.fit.feed import Order, own_pieces, thinned
from weightatlas.processes import Processes
from weightatlas.weights.batch import Batch, Weights

HERE = Path(__file__).parent.parent.parent


def test_closed_forms_see_evenly_spread_networks_with_their_labels() -> None:
    values, spec = small.values(30), small.spec()
    order = torch.randperm(30)
    parts = zip(values[order].split([20, 10]), order.split([20, 10]), strict=True)
    batch = Batch(tuple(Weights(own, spec, rows) for own, rows in parts), {"sum": values.sum(1)})
    assert thinned(batch, 30 * spec.params) is batch
    few = thinned(batch, 9 * spec.params)
    assert [len(group) for group in few] == [6, 3]
    assert torch.equal(few.groups[0].values[[0, -1]], batch.groups[0].values[[0, -1]])
    joined = few.join([group.values for group in few])
    torch.testing.assert_close(joined.sum(1), few.labels["sum"])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_share_every_step_in_order(count: int) -> None:
    parts = [Weights(small.values(n), small.spec(), torch.arange(n)) for n in (5, 4, 6)]
    order = Order(Batch(tuple(parts)), 7, seed=3, mixed=True)
    for step in range(order.steps):
        whole = order(step)
        found = [own_pieces(whole, Processes(rank, count)) for rank in range(count)]
        sizes = [sum(len(piece.rows) for piece in own) for own in found]
        assert max(sizes) - min(sizes) <= 1
        for place, (group, rows) in enumerate(whole):
            pieces = [own[place] for own in found]
            assert torch.equal(torch.cat([piece.rows for piece in pieces]), rows)
            assert {piece.group for piece in pieces} == {group}
            for piece in pieces:
                first = piece.among.first
                assert torch.equal(rows[first : first + len(piece.rows)], piece.rows)
                assert piece.among.total == len(rows)


LARGER = """
import sys
import threading
import time
import torch

torch.set_num_threads(1)
from weightatlas.encoders.io import create_encoder
from weightatlas.fit import FitConfig, feed, fit
from weightatlas.networks import create_network
from weightatlas.objectives import recipe
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of

feed.thinned.__defaults__ = (2**20,)
spec, path, rows = spec_of(create_network("digits_cnn"), (1, 8, 8)), sys.argv[1], 12_000
with open(path, "wb") as file:
    for _ in range(12):
        file.write(torch.randn(rows // 12, spec.params).numpy().data)
values = torch.from_file(path, shared=False, size=rows * spec.params, dtype=torch.float32)


def held():  # memory that is not a page of a file, in MB
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def step():
    encoder = create_encoder("sane", spec, dim=16, layers=1, heads=2, latent=4)
    config = FitConfig(steps=3, batch=16, loss=recipe("S"))
    return fit(encoder, batch_of(values.view(rows, spec.params), spec), config)


base, peak, done = held(), 0.0, False


def watch():
    global peak
    while not done:
        peak = max(peak, held())
        time.sleep(0.002)


thread = threading.Thread(target=watch)
thread.start()
assert step().finished
done = True
thread.join()
print(round(peak - base), round(values.numel() * 4 / 2**20))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_zoo_larger_than_memory_trains_in_a_part_of_its_size(tmp_path: Path) -> None:
    """A mapped zoo of 126 MB: what is held beside pages of its file stays below half of it."""
    command = [sys.executable, "-c", LARGER, str(tmp_path / "rows")]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held, whole = map(int, done.stdout.split())
    assert whole == 126
    assert held < whole / 2, f"{held} MB"
