"""NFN-NP: equivariant layers that permute input and output neurons too (Zhou et al., 2023)."""

from weightatlas.encoders.base import encoders
from weightatlas.encoders.nfn_hnp import Nfn


@encoders.register("nfn_np")
class NfnNp(Nfn):
    """NFN-NP: all neurons are permuted, so maps are smaller; learned vectors restore who is who at the ends.

    With the vectors (`embed_ends`) and `pool="hnp"` this is the published NP of the CNN zoos; it is invariant
    to hidden permutations. Without vectors and `bands`, and with `pool="np"` and `normalize="tensor"`, it
    ignores the order of inputs and outputs as well.
    """

    name = "nfn_np"
    ends = True
