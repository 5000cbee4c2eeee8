# %% [markdown]
# # A folder of my own checkpoints
#
# Files from many trainings pile up: several formats, wrapped and prefixed names, some diverged, some broken.
# What is in them, are they healthy, and how good are they probably? No code of the networks is needed.
# This script first makes such a folder from small networks for scikit-learn's digits (under a minute).

# %%
import csv
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

from weightatlas import PropertyPredictor, import_folder
from weightatlas.cli import main as weightatlas

NETWORKS = 96
OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/my-own-checkpoints")
torch.set_num_threads(1)

# %% Train networks of very different quality: learning rates over two decades, few or many steps.
digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


def trained(seed: int) -> tuple[dict[str, torch.Tensor], float]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=10 ** (-3.5 + 2 * torch.rand(1).item()))
    for _ in range(int(torch.randint(5, 80, (1,)))):
        loss = nn.functional.cross_entropy(network(images[:1000]), labels[:1000])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    accuracy = (network(images[1000:]).argmax(1) == labels[1000:]).float().mean().item()
    return network.state_dict(), accuracy


# %% Save them the way people do: torch and safetensors, wrapped, with the prefix of DataParallel.
checkpoints = OUT / "checkpoints"
checkpoints.mkdir(parents=True, exist_ok=True)
results = []
for seed in range(NETWORKS):
    state, accuracy = trained(seed)
    name = f"{seed:03d}.safetensors" if seed % 2 else f"{seed:03d}.pt"
    if seed % 2:
        save_file(state, checkpoints / name)
    else:
        wrapped = {f"module.{key}": tensor for key, tensor in state.items()}
        torch.save({"state_dict": wrapped, "epoch": 3}, checkpoints / name)
    results.append({"file": name, "test_acc": accuracy})
with (OUT / "results.csv").open("w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, ["file", "test_acc"])
    writer.writeheader()
    writer.writerows(results)

# %% Some went wrong, and some files are no checkpoints at all.
state["2.bias"][3] = torch.nan
save_file(state, checkpoints / "diverged.safetensors")
(checkpoints / "cut-off.pt").write_bytes((checkpoints / "000.pt").read_bytes()[:3000])
(checkpoints / "notes.txt").write_text("learning rate too high?", encoding="utf-8")

# %% [markdown]
# ## What is in the folder?
# The same on the command line: `weightatlas inspect checkpoints --html report.html`

# %%
code = weightatlas(["inspect", str(checkpoints), "--html", str(OUT / "report.html")])
print("exit code", code, "because a file is broken and a network has diverged")

# %% [markdown]
# ## One zoo of everything that can be read
# Files are grouped by architecture, which is inferred from names and shapes.

# %%
done = import_folder(checkpoints, OUT / "zoo", metrics=OUT / "results.csv")
print(
    f"{len(done.read)} of {done.files} files ({done.coverage:.0%}), {len(done.renamed)} with renamed tensors"
)
for path, reason in done.skipped.items():
    print(f"skipped {path.name}: {reason}")
print(done.zoo.spec)

# %% [markdown]
# ## How good are networks nobody has tested?
# A predictor learns from the networks whose accuracy is known; a split by lineage keeps relatives apart.

# %%
predictor = PropertyPredictor("layer_statistics", "boosting").fit(done.zoo, "test_acc")
print("R² on held-out networks:", round(predictor.score(done.zoo), 3))
predictor.save(OUT / "predictor")

# %%
new, accuracy = trained(NETWORKS + 1)
save_file(new, OUT / "new.safetensors")
weightatlas(["inspect", str(OUT / "new.safetensors"), "--run", str(OUT / "predictor")])
print(f"its true accuracy is {accuracy:.3f}; the page is {OUT / 'report.html'}")
