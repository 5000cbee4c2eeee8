"""Images as fields: pixels where they are, each distinct image once."""

import numpy as np
import torch

from weightatlas.tasks.fields import ImageFields, PointConfig, image_fields, pixels
from weightatlas.tasks.task import create_task


def test_pixels_give_back_the_image():
    values = torch.rand(3, 4, 5)
    images = ImageFields(values, np.arange(3), ("a", "b", "c"), ("x", "y", "z"))
    places = images.points(torch.arange(3), PointConfig())
    assert torch.equal(places[1], pixels(4, 5))
    torch.testing.assert_close(images.measure(places).view(3, 4, 5), 2 * values - 1)
    some = images.take(np.array([2, 0]))
    assert some.digests == ("z", "x")
    torch.testing.assert_close(some.measure(places[:2])[0], 2 * values[2].flatten() - 1)


def test_every_distinct_digit_is_there_once():
    task = create_task("digits")
    images = image_fields(task)
    assert len(set(images.digests)) == len(images) <= 1797
    assert torch.equal(images.values[0], task.raw("train")[0, 0])
    assert images.labels[0] == task.labels["train"][0]
    assert images.classes == tuple("0123456789")
