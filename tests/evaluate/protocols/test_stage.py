"""The stage: a zoo is populated once, split by lineage, and judged on test images only."""

import torch

from weightatlas.evaluate.protocols import stage as module
from weightatlas.evaluate.protocols.stage import Stage, resolve, stage
from weightatlas.population.score import score
from weightatlas.tasks import create_task


def test_the_zoo_is_reused(there, cache, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was trained again")

    monkeypatch.setattr("weightatlas.zoo.populate.train", refuse)
    again = stage("digits", "smoke", cache)
    assert torch.equal(again.test_values, there.test_values)


def test_parts_share_no_lineage(there):
    names = {part: set(there.part(part).column("lineage").tolist()) for part in ("train", "val", "test")}
    assert not names["train"] & (names["test"] | names["val"])
    assert len(names["train"]) == int(there.lineage("train").max()) + 1
    assert there.about("b", 3) == {
        "bench": "b", "tier": "smoke", "zoo": "digits", "seeds": (3,), "split": "lineage"
    }  # fmt: skip


def test_the_exam_gives_the_accuracies_the_zoo_stores(there):
    classes = there.exam.classes(there.test_values)
    assert torch.allclose(there.exam.accuracy(classes), there.test.labels["test_acc"], atol=1e-6)
    assert torch.equal(there.test_outputs.argmax(2), classes)


def test_the_pool_holds_training_images_only(there):
    images = create_task("digits").split("train")[0]
    assert len(there.pool) == len(images)
    assert there.targets("test").shape == (len(there.test_values), len(images), 10)
    test_images = create_task("digits").split("test")[0].flatten(1)
    far = torch.cdist(there.pool.inputs.flatten(1), test_images)
    assert float(far.min()) > 0


def test_the_best_network_is_chosen_by_validation_accuracy(there):
    task = there.task
    accuracy = score(there.population, there.train_values, *task.split("val"))["acc"]
    assert accuracy[there.best] == accuracy.max()


def test_targets_are_computed_once(there, cache, monkeypatch):
    calls = []
    original = module.cache_targets

    def count(*arguments: object) -> object:
        calls.append(1)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "cache_targets", count)
    fresh = Stage(there.zoo, "smoke", cache)
    assert torch.equal(fresh.targets("val"), fresh.targets("val"))
    assert len(calls) == 1


def test_a_recipe_may_be_given_ready_made():
    recipe = resolve("digits", "smoke")
    assert resolve(recipe, "laptop") is recipe
