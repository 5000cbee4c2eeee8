"""The rebuild bench in miniature: activation codes beat every trivial rebuild; finished seeds are kept."""

import pytest

from weightatlas.evaluate.protocols.autoencoders import activation_encoder
from weightatlas.evaluate.protocols.rebuild import rebuild_records, trial_of
from weightatlas.evaluate.protocols.stage import Stage
from weightatlas.weights.batch import weights_of
from weightatlas.zoo.populate import populate
from weightatlas.zoo.recipe import load_recipe


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Stage:
    folder = tmp_path_factory.mktemp("rebuild")
    return Stage(populate(load_recipe("digits", "smoke"), folder / "zoo"), "smoke", folder)


def by_method(records, metric="excess agreement"):
    return {record.method: record.value for record in records if record.metric == metric}


def test_activation_codes_rebuild_strangers_better_than_baselines(small):
    ours = by_method(rebuild_records(small, "activation", 0, "smoke"))
    pca = by_method(rebuild_records(small, "pca", 0, "smoke"))
    trivial = by_method(rebuild_records(small, "trivial", 0, "smoke"))
    assert ours["activation"] > 0
    assert ours["activation"] > max(*pca.values(), *(v for n, v in trivial.items() if "refined" in n))
    assert trivial["best of these (a0)"] == 0


def test_sizes_are_equal(small):
    ours = rebuild_records(small, "activation", 0, "smoke")
    (ratio,) = {r.value for r in ours if r.metric == "parameters per number"}
    assert 1.8 <= ratio < 1.81


def test_the_trial_can_be_a_spread_out_part(small):
    trial = trial_of(small, 4)
    assert (
        len(trial.originals) == len(trial.outputs) == len(trial.targets) == len(trial.reference.closest) == 4
    )
    whole = trial_of(small)
    assert len(whole.originals) == len(small.test_values)


def test_seeds_choose_other_images(small):
    codes = [
        activation_encoder(small, images=64, seed=seed)
        .encode(weights_of(small.test_values, small.spec))
        .codes
        for seed in (0, 0, 1)
    ]
    assert (codes[0] == codes[1]).all()
    assert not (codes[0] == codes[2]).all()
