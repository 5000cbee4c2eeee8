"""Networks per second of every registered encoder, training and inference, in one process run.

    python speed/encoders.py                                 every encoder at batch 8 and 64
    python speed/encoders.py --encoders nfn_hnp nfn_np       with the package `nfn`, if it is importable

Every contestant takes steps in turn, so that whatever else the machine does meets all of them alike. A
training step is forward, backward and fused Adam on encoder and a head of 1000-1000-1; all use the same
optimizer and one thread. Numbers come from the processor time of this process: the best turn of each, as
other programs can only slow it down. Encoders run at their published settings where a preset exists; "bf16"
is the same under torch.autocast.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, stdev

import peer_nfn
import torch
from runner import RESULTS
from torch import Tensor, nn
from torch.nn import functional as F

from weightatlas import runtime
from weightatlas.encoders.base import Encoder, encoders
from weightatlas.encoders.heads import HeadConfig, PropertyHead
from weightatlas.encoders.io import create_encoder
from weightatlas.errors import WeightAtlasError
from weightatlas.fit.presets import preset
from weightatlas.networks import create_network, input_shape_of
from weightatlas.results import Record, append_records, stamped
from weightatlas.symmetry.verify import spec_of
from weightatlas.tables import table
from weightatlas.weights.batch import batch_of, weights_of

BENCH = "speed of encoders"
PRESETS = {"nfn_hnp": "nfn_hnp_cnn", "nfn_np": "nfn_np_cnn", "dws": "dws_inr", "nft": "nft_sine"}
NETWORKS = {"dws": "siren", "nft": "siren"}  # others: the 4,970-parameter CNN of the small-CNN zoo
HEAD = HeadConfig(hidden=(1000, 1000))
Step = Callable[[], None]


class Predictor(nn.Module):
    """An encoder and its head.

    Args:
        encoder: The encoder.
        width: Numbers per embedding.
    """

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, PropertyHead(width, 1, HEAD)
        self.spec = encoder.spec

    def forward(self, values: Tensor) -> Tensor:
        """Predict one number per network."""
        assert self.spec is not None
        return self.head(self.encoder.encode(weights_of(values, self.spec)).embedding)


def predictor(name: str) -> tuple[Predictor, Tensor]:
    """Make an encoder with its head, and some networks to encode."""
    network_name = NETWORKS.get(name, "cnn_unterthiner")
    network = create_network(network_name)
    shape = (2,) if network_name == "siren" else input_shape_of(network_name)
    spec = spec_of(network, shape)
    settings = preset(PRESETS[name]).settings if name in PRESETS else {}
    encoder = create_encoder(name, spec, **settings)
    encoder.spec = spec
    encoder.bind(network, torch.randn(64, *shape))
    values = 0.3 * torch.randn(64, spec.params, generator=runtime.generator_of("speed", spec.params))
    encoder.adapt(batch_of(values, spec))
    width = encoder.eval().embed(batch_of(values[:2], spec))
    return Predictor(encoder, width.shape[1]), values


def steps_of(module: nn.Module, values: Tensor, bf16: bool) -> tuple[Step, Step]:
    """Return one training step and one forward pass."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    labels = torch.rand(len(values), 1)

    def forward() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            return module(values).float()

    def train() -> None:
        module.train()
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(forward(), labels).backward()
        optimizer.step()

    def infer() -> None:
        module.eval()
        with torch.no_grad():
            forward()

    return train, infer


def measure(name: str, batch: int, repeats: int) -> list[Record]:
    """Time an encoder, and the package it is compared with, in turns.

    Args:
        name: Registered name.
        batch: Networks per step.
        repeats: Turns.
    """
    own, values = predictor(name)
    values = values[torch.arange(batch) % len(values)]
    contestants = {name: (own, False), f"{name}, bf16": (own, True)}
    if name in ("nfn_hnp", "nfn_np") and peer_nfn.available():
        peer = peer_nfn.Peer(name)
        contestants |= {"package nfn": (peer, False), "package nfn, bf16": (peer, True)}
    kinds = ("training", "inference")
    steps = {
        k: dict(zip(kinds, steps_of(m, values, bf16), strict=True)) for k, (m, bf16) in contestants.items()
    }
    laps: dict[tuple[str, str], list[float]] = {(label, kind): [] for label in steps for kind in kinds}
    for turn in range(repeats + 2):
        for (label, kind), own_laps in laps.items():
            start = time.process_time()
            steps[label][kind]()
            if turn > 1:  # the first two warm up
                own_laps.append(time.process_time() - start)
    return _records(name, batch, laps)


def _records(name: str, batch: int, laps: dict[tuple[str, str], list[float]]) -> list[Record]:
    records = []
    for (label, kind), seconds in laps.items():
        base = laps.get(("package nfn", kind))
        numbers = {f"{kind}, networks per second": (batch / min(seconds), None)}
        if base is not None:
            ratios = [b / own for b, own in zip(base, seconds, strict=True)]
            spread = stdev(ratios) if len(ratios) > 1 else None
            numbers[f"{kind}, ratio of best turns"] = (min(base) / min(seconds), None)
            numbers[f"{kind}, ratio"] = (median(ratios), spread)
        for metric, (value, spread) in numbers.items():
            common = {
                "bench": BENCH,
                "tier": "laptop",
                "zoo": f"{NETWORKS.get(name, 'cnn_unterthiner')}, batch {batch}",
            }
            kind_of = "baseline" if label.startswith("package") else "ours"
            rest = {"method": label, "kind": kind_of, "split": "none", "n": batch}
            records.append(Record.build(common | rest | {"metric": metric, "value": value, "spread": spread}))
    return records


def main() -> None:
    """Measure, keep the records, print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", nargs="*", default=encoders.names())
    parser.add_argument("--batch", type=int, nargs="*", default=[8, 64])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="one encoder, to see that everything runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results file")
    args = parser.parse_args()
    if args.quick:
        args.encoders, args.batch = ["stat_nn"], [2]
    from rich.console import Console

    console = Console()
    torch.set_num_threads(1)
    for name in args.encoders:
        for batch in args.batch:
            try:
                records = stamped(measure(name, batch, args.repeats), "python speed/encoders.py")
            except (WeightAtlasError, RuntimeError) as error:
                console.print(f"{name}, batch {batch}: not measured, {str(error).splitlines()[0]}")
                continue
            append_records(args.out, records)
            console.print(table(records, rows="method", columns="metric"))


if __name__ == "__main__":
    main()
