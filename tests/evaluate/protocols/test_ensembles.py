"""`bench ensembles`: members are chosen on validation images alone, and every way stands beside the zoo."""

import pytest
import torch

from weightatlas.evaluate.exam import Exam
from weightatlas.evaluate.protocols.ensembles import CHOSEN, WAYS, ZOO, choices, ensembles, greedy, numbers_of
from weightatlas.results import Record


@pytest.fixture(scope="module")
def records(there, cache, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return ensembles("smoke", tmp_path_factory.mktemp("ensembles") / "r.json", (0,), cache)


def test_every_way_and_choice_stands_beside_the_zoo(records):
    sets = [ZOO, *WAYS, *(f"fresh networks, {way}" for way in WAYS)]
    assert {r.method for r in records} == {f"{s}, {c}" for s in sets for c in ("best", "greedy")} | {CHOSEN}
    kinds = {r.method: r.kind for r in records}
    assert all(kinds[f"{way}, greedy"] == "ours" for way in WAYS)
    assert kinds[f"{ZOO}, best"] == "baseline"


def test_the_chosen_row_has_the_lowest_validation_loss_of_ours(records):
    losses = {r.method: r.value for r in records if r.metric == "validation loss" and r.kind == "ours"}
    assert losses[CHOSEN] == min(losses.values())
    winner = min((loss, method) for method, loss in losses.items() if method != CHOSEN)[1]
    found = {r.method: r.value for r in records if r.metric == "ensemble accuracy"}
    assert found[CHOSEN] == found[winner]


def test_greedy_members_repair_each_other():
    labels = torch.tensor([0, 0, 0])
    sure, unsure = [4.0, 0.0], [0.0, 1.0]
    outputs = torch.tensor([[sure, sure, unsure], [sure, sure, unsure], [unsure, unsure, [6.0, 0.0]]])
    assert greedy(outputs, labels, 2).tolist() == [0, 2]
    accuracy_first = choices(outputs, labels, 2)["best"].tolist()
    assert sorted(accuracy_first) == [0, 1]
    outputs[1] = torch.nan  # what diverged is never taken while something else is there
    assert 1 not in greedy(outputs, labels, 2).tolist()
    assert len(set(greedy(outputs.nan_to_num(), labels, 3).tolist())) == 3


def test_an_ensemble_averages_logits():
    outputs = torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])
    exam = Exam(lambda values: values, torch.tensor([0]))
    numbers = numbers_of({"val": outputs, "test": outputs}, torch.tensor([0, 1]), {"val": exam, "test": exam})
    assert numbers["ensemble accuracy"] == 1.0  # by votes it would be undecided
    assert numbers["member accuracy"] == 0.5
    assert numbers["disagreement"] == 1.0
