"""Populations of the NetSpace benches: one network a row, independent parts, stop epochs spread."""

import pytest
import torch

from tests.evaluate.protocols.netspace import rungs, smoke
from weightatlas.errors import ZooError
from weightatlas.evaluate.protocols.netspace_rungs import ladder_of
from weightatlas.evaluate.protocols.netspace_stage import PARTS, batch_of_fields, field_of, queries_of


def test_every_network_is_taken_once_at_an_epoch_of_its_own(netspace_cache) -> None:
    there = smoke("netspace_digits", netspace_cache)
    field = field_of(there.zoo, spread=True)
    counts = {part: len(field.parts[part]) for part in PARTS}
    assert counts == {"train": 20, "val": 2, "test": 2}
    every = torch.cat([field.parts[part] for part in PARTS])
    stored = there.zoo.weights().values
    names, steps = there.zoo.column("lineage"), there.zoo.column("step")
    found = [int((stored == row).all(1).nonzero()[0]) for row in every]
    assert len({names[row] for row in found}) == 24
    assert {int(steps[row]) for row in found[:20]} == {1, 2, 3, 4}
    last = field_of(there.zoo)
    assert torch.equal(last.parts["test"][0], stored[_row(there.zoo, names[found[22]], 4)])


def _row(zoo, name: str, step: int) -> int:
    pairs = zip(zoo.column("lineage"), zoo.column("step"), strict=True)
    return next(row for row, pair in enumerate(pairs) if pair == (name, step))


def test_counts_choose_networks_and_leave_architectures_out(netspace_cache) -> None:
    fields = ladder_of(smoke("netspace_ladder", netspace_cache), rungs())
    batch = batch_of_fields(fields, "train", (3, 0, 0, 2))
    assert [len(group) for group in batch] == [3, 2]
    assert torch.cat([group.rows for group in batch]).tolist() == [0, 1, 2, 3, 4]
    assert batch.labels["val_acc"].shape == (5,)


def test_too_few_networks_are_refused(netspace_cache) -> None:
    zoo = smoke("netspace_digits", netspace_cache).zoo
    few = zoo.filter(lineage=zoo.column("lineage")[0])
    with pytest.raises(ZooError, match="too few"):
        field_of(few)


def test_a_teacher_answers_the_training_images_only(netspace_cache) -> None:
    there = smoke("netspace_digits", netspace_cache)
    plain = queries_of(there)
    assert [part.teacher for part in plain] == [None, None]
    pool, held = queries_of(there, lambda inputs: inputs.flatten(1).sum(1, keepdim=True))
    assert pool.teacher is not None
    assert pool.teacher.shape == (len(pool.inputs), 1)
    assert held.teacher is None
