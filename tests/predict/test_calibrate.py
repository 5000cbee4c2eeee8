"""What calibrates has chosen nothing; mixed batches are cut in their order."""

import numpy as np
import torch

from tests.predict.test_finetune import batch, tuning
from weightatlas.predict.calibrate import Networked, choosing


def test_rows_of_a_mixed_batch_keep_their_order() -> None:
    whole = Networked.read(batch(10), ("size",))
    keep = torch.arange(20) % 3 == 0
    part = whole.rows(keep)
    assert len(part.batch) == int(keep.sum()) == len(part.relatives)
    found = part.batch.join([group.values.square().mean(1) for group in part.batch])
    torch.testing.assert_close(found, part.batch.labels["size"])
    torch.testing.assert_close(found, whole.batch.labels["size"][keep])


def test_half_of_the_families_chooses_unless_nothing_is_chosen() -> None:
    relatives = np.repeat(np.arange(10), 2).astype(str)
    chooses = choosing(relatives, tuning()).view(10, 2)
    assert bool((chooses[:, 0] == chooses[:, 1]).all())
    assert int(chooses[:, 0].sum()) == 5
    assert not choosing(relatives, tuning(select="none")).any()
