"""What averaging costs: measured where networks can be run, predicted or refused with a reason elsewhere."""

import pytest
import torch
from torch import nn

from tests.relate.small import NULL, drifted, mlp, networks
from weightatlas.errors import DataError
from weightatlas.networks import create_network
from weightatlas.population.forward import Population
from weightatlas.relate import family
from weightatlas.relate.compare import compare
from weightatlas.relate.merging import merging
from weightatlas.relate.sources import Known
from weightatlas.symmetry.verify import spec_of
from weightatlas.tasks import create_task

SPEC = mlp()
BASE = networks(SPEC, 1)[0]


def known(vector, **how):
    return Known("x", vector, SPEC, **how)


def running(vector, task):
    module = create_network("mlp", hidden=(20, 16))
    return known(vector, population=lambda: Population(module, SPEC), task=task)


@pytest.mark.parametrize("moved", [family.permuted, family.rescaled])
def test_copies_of_another_order_or_scale_merge_without_a_drop(moved):
    other = moved(BASE[None], SPEC)[0]
    found = merging(
        compare(BASE, other, SPEC, null=NULL), running(BASE, lambda name: create_task("digits")), known(other)
    )
    accuracies = found["accuracies"]
    assert accuracies["first"] == accuracies["second"] == accuracies["midpoint"] > 0
    assert found["measured drop"] == 0.0 == round(found["predicted drop"], 1)


def test_what_cannot_be_measured_is_predicted_with_the_reason():
    relation = compare(BASE, drifted(BASE), SPEC, null=NULL)
    found = merging(relation, known(BASE), known(BASE))
    assert "--network" in found["not measured"]
    assert "measured drop" not in found
    found = merging(relation, running(BASE, lambda name: None), known(BASE))
    assert "No task" in found["not measured"]

    def missing(name):
        raise DataError("The data are not here.")

    assert merging(relation, running(BASE, missing), known(BASE))["not measured"] == "The data are not here."
    with pytest.raises(DataError):
        merging(relation, running(BASE, missing), known(BASE), "digits")


def test_other_layouts_have_no_midpoint():
    other = spec_of(nn.Sequential(nn.Linear(4, 3)), (4,))
    relation = compare(BASE, torch.ones(other.params), SPEC, other, NULL)
    found = merging(relation, known(BASE), Known("y", torch.ones(other.params), other))
    assert "layouts differ" in found["no average"]


def test_networks_that_compute_other_functions_have_no_average():
    """Running the second with the code of the first would measure a network that nobody has."""
    other = Known("y", drifted(BASE), mlp("tanh"))
    relation = compare(BASE, other.vector, SPEC, other.spec, NULL)
    assert relation.related
    found = merging(relation, running(BASE, lambda name: create_task("digits")), other)
    assert list(found) == ["no average"]
    assert "other functions" in found["no average"]
