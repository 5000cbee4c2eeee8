"""The encoders that `bench inr_frequency` compares."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """An encoder of the comparison.

    Args:
        encoder: Registered name.
        preset: Settings and learning rate of `presets/encoders`; none takes the encoder's defaults.
        invariance: Weight of the regularizer.
    """

    encoder: str
    preset: str | None = None
    invariance: float = 0.0


METHODS: dict[str, Entry] = {
    "SNE safe": Entry("sne", "sne_safe"),
    "SNE linked": Entry("sne", "sne_linked"),
    "SNE linked + LI": Entry("sne", "sne_linked", 0.1),
    "SNE paper": Entry("sne", "sne_paper"),
    "SNE paper + LI": Entry("sne", "sne_paper", 0.1),
    "SNE safe + LI": Entry("sne", "sne_safe", 0.1),
    "MLP": Entry("mlp"),
    "DeepSets": Entry("deep_sets"),
    "StatNN": Entry("stat_nn"),
    "NFN-NP": Entry("nfn_np", "nfn_np_sine"),
    "NFN-HNP": Entry("nfn_hnp", "nfn_hnp_sine"),
    "NFT": Entry("nft", "nft_sine"),
    "DWSNet": Entry("dws", "dws_sine"),
    "NeuralGraph": Entry("neural_graph"),
    "DNG": Entry("dng"),
}
TINY: dict[str, dict[str, Any]] = {
    "sne": {"dim": 8, "heads": 2, "blocks": 1},
    "nfn_np": {"channels": [4]},
    "nfn_hnp": {"channels": [4]},
}
