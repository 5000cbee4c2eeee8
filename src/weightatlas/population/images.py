"""The images engine: network after network in channels-last order, with hand-written backward passes.

The library's convolutions are fastest in this order; in PyTorch's default one they are up to three times
slower for networks with many channels. No graph is recorded, and activations write over what nobody needs.
"""

from typing import ClassVar

from torch import Tensor

from weightatlas.population.batched import BatchedEngine
from weightatlas.population.engines import engines
from weightatlas.population.operations_images import laid_out
from weightatlas.population.program import CHANNELS_LAST, Kit


@engines.register("images")
class ImagesEngine(BatchedEngine):
    """One network at a time, channels innermost; needs a traceable network of known layers."""

    name = "images"
    kit: ClassVar[Kit] = CHANNELS_LAST
    width: ClassVar[int] = 128
    classes: ClassVar[int] = 2

    def block(self, sample: Tensor, batch: int) -> int:
        """Run one network at a time."""
        return 1

    def piece(self, sample: Tensor) -> int:
        """Run a batch whole: the library's kernels gain from many images."""
        return 2**31

    def enter(self, inputs: Tensor) -> Tensor:
        return laid_out(inputs[0]) if inputs.ndim == 5 else inputs

    def leave(self, outputs: Tensor) -> Tensor:
        return outputs.permute(0, 1, 4, 2, 3) if outputs.ndim == 5 else outputs

    def undo(self, outputs: Tensor) -> Tensor:
        return laid_out(outputs[0]) if outputs.ndim == 5 else outputs.contiguous()
