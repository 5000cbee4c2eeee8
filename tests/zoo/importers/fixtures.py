"""Small folders in the exact forms in which zoos were published."""

import csv
import gzip
import io
import json
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LAYOUT = (
    ("sequential/conv2d/bias:0", (16,)),
    ("sequential/conv2d/kernel:0", (3, 3, 1, 16)),
    ("sequential/conv2d_1/bias:0", (16,)),
    ("sequential/conv2d_1/kernel:0", (3, 3, 16, 16)),
    ("sequential/conv2d_2/bias:0", (16,)),
    ("sequential/conv2d_2/kernel:0", (3, 3, 16, 16)),
    ("sequential/dense/bias:0", (10,)),
    ("sequential/dense/kernel:0", (16, 10)),
)
STEPS = (0, 20, 86)


def small_cnn_zoo(folder: Path, runs: int = 12) -> np.ndarray:
    """Write weights.npy, metrics.csv.gz and layout.csv as downloaded; return the matrix."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(runs * len(STEPS), 4970)).astype(np.float32)
    np.save(folder / "weights.npy", weights)
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(["varname", "start_idx", "end_idx", "shape"])
    start = 0
    for name, shape in LAYOUT:
        size = int(np.prod(shape))
        writer.writerow([name, start, start + size, str(shape)])
        start += size
    (folder / "layout.csv").write_text(lines.getvalue())
    rows = [
        {
            "config.activation": ("relu", "tanh")[run % 2],
            "config.b_init": "zeros",
            "config.dataset": "cifar10",
            "config.dropout": 0.1 * (run % 3),
            "config.init_std": 0.01,
            "config.l2reg": 1e-4,
            "config.learning_rate": 0.001 * (run + 1),
            "config.optimizer": "adam",
            "config.random_seed": 42,
            "config.train_fraction": 0.5,
            "config.w_init": "he_normal",
            "modeldir": f"/their/machine/run_{run:05d}",
            "step": step,
            "train_accuracy": 0.5,
            "test_accuracy": run / runs,
            "train_loss": 1.0,
            "test_loss": 1.5,
        }
        for run in range(runs)
        for step in STEPS
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    (folder / "metrics.csv.gz").write_bytes(gzip.compress(text.getvalue().encode()))
    return weights


def official_order(folder: Path, rows: int, header: bool = True) -> np.ndarray:
    """Write the published order of rows, with the header line it was saved with."""
    order = np.random.default_rng(1).permutation(rows)
    lines = (["0"] if header else []) + [str(row) for row in order]
    (folder / "cifar10_split.csv").write_text("\n".join(lines) + "\n")
    return order


def tensorflow_outputs(row: np.ndarray, images: np.ndarray, activation: str) -> np.ndarray:
    """Run one row as its TensorFlow network: NHWC images, HWIO kernels, valid padding, stride 2."""
    tensors, start = {}, 0
    for name, shape in LAYOUT:
        size = int(np.prod(shape))
        tensors[name.removeprefix("sequential/")] = (
            row[start : start + size].reshape(shape).astype(np.float64)
        )
        start += size
    x = images.astype(np.float64)
    for layer in ("conv2d", "conv2d_1", "conv2d_2"):
        kernel = tensors[f"{layer}/kernel:0"]
        side = (x.shape[1] - 3) // 2 + 1
        out = np.zeros((len(x), side, side, kernel.shape[-1]))
        for i in range(side):
            for j in range(side):
                patch = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                out[:, i, j] = np.einsum("nhwc,hwco->no", patch, kernel)
        out += tensors[f"{layer}/bias:0"]
        x = np.maximum(out, 0) if activation == "relu" else np.tanh(out)
    return x.mean((1, 2)) @ tensors["dense/kernel:0"] + tensors["dense/bias:0"]


class ModuleList(nn.Module):
    """The small CNN of the published zoos, layer for layer."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.module_list = nn.ModuleList(
            [
                *(nn.Conv2d(channels, 8, 5), nn.MaxPool2d(2, 2), nn.Tanh()),
                *(nn.Conv2d(8, 6, 5), nn.MaxPool2d(2, 2), nn.Tanh(), nn.Conv2d(6, 4, 2), nn.Tanh()),
                *(nn.Flatten(), nn.Linear(36, 20), nn.Tanh(), nn.Linear(20, 10)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.module_list:
            x = layer(x)
        return x


def ray_tune_run(folder: Path, number: int, network: nn.Module, epochs: tuple[int, ...] = (1, 5)) -> Path:
    """Write one run folder as Ray Tune left it."""
    run = folder / f"NN_tune_trainable_abc_{number:05d}_{number}_seed={number}_2021-10-01"
    for epoch in epochs:
        name = f"checkpoint_{epoch:06d}" if epoch % 2 else f"checkpoint_{epoch}"
        (run / name).mkdir(parents=True)
        torch.save(network.state_dict(), run / name / "checkpoints")
        torch.save({"state": {}, "param_groups": []}, run / name / "optimizer")
    settings = {"model::type": "CNN", "model::nlin": "tanh", "model::channels_in": 1, "optim::lr": 3e-3}
    settings |= {"optim::optimizer": "adam", "seed": number, "training::batchsize": 8, "model::dropout": 0}
    (run / "params.json").write_text(json.dumps(settings))
    rows = [
        {"training_iteration": e, "train_acc": 0.1 * e, "test_acc": 0.09 * e, "test_loss": 2.0, "config": {}}
        for e in range(6)
    ]
    (run / "result.json").write_text("\n".join(map(json.dumps, rows)) + '\n{"training_itera')
    return run


def their_class(module: str, name: str, bases: tuple[type, ...] = (object,)) -> type:
    """Make a class that pickles under another project's name."""
    parts = module.split(".")
    for stop in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:stop]), ModuleType(".".join(parts[:stop])))
    made = type(name, bases, {"__module__": module})
    setattr(sys.modules[module], name, made)
    return made


def save_objects(content: Any, path: Path, *modules: str) -> None:
    """Save with torch, then forget the foreign modules: reading must not need them."""
    torch.save(content, path)
    for module in modules:
        for known in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
            del sys.modules[known]


class Inr(nn.Module):
    """An INR of Navon et al.: Siren layers called seq.0, seq.1, a linear layer, plus 0.5."""

    def __init__(self, coordinates: int = 2, hidden: int = 32) -> None:
        super().__init__()
        widths = [coordinates, hidden, hidden, 1]
        self.seq = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self.seq)[:-1]:
            x = torch.sin(30.0 * layer(x))
        return self.seq[-1](x) + 0.5
