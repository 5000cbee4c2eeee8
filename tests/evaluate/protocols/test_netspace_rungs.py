"""Architectures of a ladder: populated alike, folded, and taught by the best of several."""

import torch

from tests.evaluate.protocols.netspace import rungs, smoke
from weightatlas.evaluate.protocols.netspace_rungs import ladder_of, lessons_of, teacher_outputs


def test_the_ladder_is_folded_and_runs(netspace_cache) -> None:
    fields = ladder_of(smoke("netspace_ladder", netspace_cache), rungs())
    assert [field.spec.params for field in fields] == [1250, 1954, 5530, 11338]
    assert all(t.role in ("weight", "bias") for field in fields for t in field.spec.tensors)
    there = smoke("netspace_ladder", netspace_cache)
    inputs, labels = there.task.split("val")
    for field in fields:
        outputs = field.population.outputs_no_grad(field.parts["val"], inputs)
        accuracy = (outputs.argmax(2) == labels).float().mean(1)
        torch.testing.assert_close(accuracy, field.scores["val"], rtol=0, atol=0.003)


def test_architectures_are_trained_alike(netspace_cache) -> None:
    ladder_of(smoke("netspace_ladder", netspace_cache), rungs())
    folders = [netspace_cache / "zoos" / f"netspace_ladder{end}-smoke" for end in ("", "-1", "-2", "-3")]
    assert all(folder.is_dir() for folder in folders)
    assert rungs().count == 4


def test_the_best_teacher_teaches_and_validation_images_have_none(netspace_cache) -> None:
    """Another stage on the same images gets the same teacher."""
    inputs = smoke("netspace_ladder", netspace_cache).pool.inputs
    found = [
        teacher_outputs(smoke(name, netspace_cache), rungs(), inputs)
        for name in ("netspace_ladder", "netspace_digits")
    ]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    lessons = lessons_of(smoke("netspace_ladder", netspace_cache), rungs())
    accuracy = (found[0].argmax(1) == lessons.answers).float().mean()
    assert accuracy > 0.5
