"""Populations, encoders, objectives and fit need torch, numpy, safetensors, pydantic and jaxtyping alone."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent.parent

ALONE = """
import re
import sys
from importlib import metadata
from importlib.machinery import PathFinder

needed = {"torch", "numpy", "safetensors", "pydantic", "jaxtyping"}
names = (re.split(r"[^\\w.-]", line)[0] for line in metadata.requires("weightatlas"))
named = {name.lower().replace("_", "-") for name in names}
refused = {
    package
    for package, wheels in metadata.packages_distributions().items()
    if any(wheel.lower().replace("_", "-") in named - needed for wheel in wheels)
}
assert {"scipy", "sklearn", "yaml", "rich", "polars", "accelerate", "joblib", "tyro"} <= refused, refused


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in refused else super().find_spec(name, path, target)


sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]

import torch
from pathlib import Path

torch.set_num_threads(1)
from weightatlas.encoders.io import create_encoder, from_pretrained
from weightatlas.fit import FitConfig, fit
from weightatlas.objectives import recipe
from weightatlas.population.forward import Population
from weightatlas.population.train import TrainConfig, train
from weightatlas.symmetry.verify import spec_of
from weightatlas.weights.batch import batch_of

out = Path(sys.argv[1])
network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
spec = spec_of(network, (4,))
inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
data = {"train": (inputs, inputs[:, :3].argmax(1))}
runs = [TrainConfig(key=key, lr=1e-2, batch_size=16) for key in range(12)]
last = list(train(network, spec, data, runs, epochs=8))[-1]
assert last.metrics["train_acc"].mean() > 0.5
population = Population(network, spec)
config = FitConfig(passes=2, batch=4, queries=8, loss=recipe("CSB"))
encoder = create_encoder("sane", spec, dim=8, layers=1, heads=2, latent=2)
batch = batch_of(last.weights, spec)
for _ in range(2):  # the second call finds the run finished
    done = fit(encoder, batch, config, out, queries=inputs, population=population, validation=batch)
assert done.finished and (out / "config.yaml").exists()
assert FitConfig.from_yaml(out / "config.yaml") == config
assert torch.equal(from_pretrained(out / "encoder").embed(batch), encoder.embed(batch))
assert not refused & {name.split(".")[0] for name in sys.modules}
print("alone")
"""


def test_training_runs_without_the_other_packages(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALONE, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.stdout == "alone\n", done.stderr
