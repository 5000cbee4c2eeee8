"""The encoders that `bench inr_frequency` and `bench inr_classify` compare, at their published sizes."""

from dataclasses import dataclass
from typing import Any

from weightatlas.encoders.heads import HeadConfig

SNE_HEAD = HeadConfig(code=32, hidden=(512,))
_NFN_HEAD = HeadConfig(hidden=(1000, 1000))


@dataclass(frozen=True, slots=True)
class Entry:
    """An encoder of the comparison.

    Args:
        encoder: Registered name.
        preset: Settings and learning rate of `presets/encoders`; none takes the encoder's defaults.
        invariance: Weight of the regularizer.
        head: What follows the encoder.
    """

    encoder: str
    preset: str | None = None
    invariance: float = 0.0
    head: HeadConfig = SNE_HEAD


METHODS: dict[str, Entry] = {
    "SNE safe": Entry("sne", "sne_safe"),
    "SNE linked": Entry("sne", "sne_linked"),
    "SNE linked + LI": Entry("sne", "sne_linked", 0.1),
    "SNE paper": Entry("sne", "sne_paper"),
    "SNE paper + LI": Entry("sne", "sne_paper", 0.1),
    "SNE safe + LI": Entry("sne", "sne_safe", 0.1),
    "MLP": Entry("mlp", "mlp_inr", head=HeadConfig()),
    "DeepSets": Entry("deep_sets", "deep_sets_inr", head=HeadConfig()),
    "StatNN": Entry("stat_nn", "stat_nn_inr", head=HeadConfig()),
    "NFN-NP": Entry("nfn_np", "nfn_np_sine", head=_NFN_HEAD),
    "NFN-HNP": Entry("nfn_hnp", "nfn_hnp_sine", head=_NFN_HEAD),
    "NFT": Entry("nft", "nft_sine", head=HeadConfig(hidden=(512, 512))),
    "DWSNet": Entry("dws", "dws_sine", head=HeadConfig()),
    "NeuralGraph": Entry("neural_graph"),
    "DNG": Entry("dng"),
}
TINY: dict[str, dict[str, Any]] = {
    "sne": {"dim": 8, "heads": 2, "blocks": 1},
    "nfn_np": {"channels": [4]},
    "nfn_hnp": {"channels": [4]},
}
