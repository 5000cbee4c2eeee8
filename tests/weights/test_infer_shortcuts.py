"""Shortcuts that slice or pad: no tensor tells of them, and no certain group may break them."""

import warnings
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from weightatlas.networks.cnn_park import ParkDraw, cnn_park
from weightatlas.symmetry.verify import verify
from weightatlas.weights.axes import fresh
from weightatlas.weights.infer import infer
from weightatlas.weights.infer_layers import Unit
from weightatlas.weights.infer_shortcuts import unequal_sums


def conv(a, b, kernel=3):
    return nn.Conv2d(a, b, kernel, padding=kernel // 2)


def padded(x, width, front=0):
    """Slice or pad channels to a width."""
    missing = max(width - x.shape[1], 0)
    sides = (min(front, missing), missing - min(front, missing))
    return F.pad(x[:, :width], (0, 0) * (x.ndim - 2) + sides)


def held(network, shape):
    """The groups inferred from names and shapes, which must keep the function."""
    found = infer({name: tuple(t.shape) for name, t in sorted(network.state_dict().items())})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, report = verify(network, found.spec, shape)
    assert not report.failed
    assert report.error < 1e-9
    return found


PARKS = ParkDraw(draw="cnn_park", count=12, channels=(4, 8, 16), kernels=(1, 3)).options()


@pytest.mark.parametrize("options", PARKS, ids=lambda options: "-".join(map(str, options["widths"])))
def test_certain_groups_of_drawn_parks_hold(options):
    held(cnn_park(image_size=6, classes=7, **options), (3, 6, 6))


@pytest.mark.parametrize("classes", [5, 8, 16])
@pytest.mark.parametrize("channels_in", [1, 3, 8])
def test_a_width_that_is_also_an_input_or_output_is_no_way_out(classes, channels_in):
    network = cnn_park(
        channels_in,
        image_size=6,
        classes=classes,
        widths=(8, 16, 8, 16),
        kernels=(3, 1, 3, 1),
        residual=(-1, -1, 0, 0),
    )
    found = held(network, (channels_in, 6, 6))
    assert found.spec.groups == ()


def test_parks_of_one_width_keep_one_group():
    options = ParkDraw(draw="cnn_park", count=4, channels=(8,), kernels=(3,), layers=(3, 5)).options()
    for own in options:
        assert held(cnn_park(image_size=6, **own), (3, 6, 6)).spec.groups == (8,)


def test_the_reason_names_both_layers():
    text = infer(cnn_park().state_dict()).explain("group")
    assert "width 16 stays fixed (group, likely): 'layers.2' may add a slice of what 'layers.0'" in text
    assert "certain" not in text


class Named(nn.Module):
    """Layers with names of their own; the third adds the first."""

    shape = (3, 6, 6)

    def __init__(self, widths=(8, 12, 16), front=4):
        super().__init__()
        a, b, c = widths
        self.conv1, self.conv2, self.conv3 = conv(3, a), conv(a, b), conv(b, c)
        self.fc, self.front = nn.Linear(c, 5), front

    def forward(self, x):
        x = y = torch.relu(self.conv1(x))
        x = self.conv3(torch.relu(self.conv2(x)))
        return self.fc(torch.relu(x + padded(y, x.shape[1], self.front)).mean((2, 3)))


class Sliced(nn.Module):
    """Linear layers with a sliced shortcut."""

    shape = (9,)

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.out = (nn.Linear(a, b) for a, b in pairwise((9, 32, 24, 16, 5)))

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        return self.out(torch.relu(self.fc3(torch.relu(self.fc2(x))) + x[:, :16]))


class Block(nn.Module):
    """Two layers and a shortcut: padded without tensors (He et al., 2016, option A), or a layer."""

    def __init__(self, a, b, layer=False):
        super().__init__()
        self.conv1, self.bn1 = conv(a, b), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = conv(b, b), nn.BatchNorm2d(b)
        self.downsample = nn.Conv2d(a, b, 1) if layer else None

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.downsample is not None:
            return torch.relu(y + self.downsample(x))
        return torch.relu(y + padded(x, y.shape[1], (y.shape[1] - x.shape[1]) // 2))


class OptionA(nn.Module):
    """A residual network of blocks (width in, width out, whether the shortcut has a layer)."""

    shape = (3, 6, 6)

    def __init__(self, blocks=((8, 8), (8, 16), (16, 16))):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 8), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(*(Block(*block) for block in blocks))
        self.linear = nn.Linear(blocks[-1][1], 5)

    def forward(self, x):
        return self.linear(self.layer1(torch.relu(self.bn1(self.conv1(x)))).mean((2, 3)))


class Pyramid(nn.Module):
    """Bodies of blocks are Sequential, and the loop adds what enters them."""

    shape = (3, 6, 6)

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 6)
        self.bodies = nn.ModuleList(
            nn.Sequential(conv(a, b), nn.BatchNorm2d(b), nn.ReLU(), conv(b, b))
            for a, b in pairwise((6, 8, 10))
        )
        self.head = nn.Linear(10, 5)

    def forward(self, x):
        x = self.stem(x)
        for body in self.bodies:
            y = body(x)
            x = torch.relu(y + padded(x, y.shape[1]))
        return self.head(x.mean((2, 3)))


class Loop(nn.Module):
    """Every layer of a list adds its own input; two heads, so that layers form no chain."""

    shape = (7,)

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(7, 12)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise((12, 16, 20)))
        self.policy, self.value = nn.Linear(20, 3), nn.Linear(20, 1)

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            y = layer(x)
            x = torch.tanh(y + padded(x, y.shape[1]))
        return torch.cat([self.policy(x), self.value(x)], 1)


class FlatTwice(nn.Module):
    """The flatten of channels that are fixed is as wide as the layer that reads it."""

    shape = (3, 2, 2)

    def __init__(self, channels=10):
        super().__init__()
        self.conv1, self.fc1 = conv(3, channels), nn.Linear(4 * channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, 10)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(torch.relu(self.conv1(x)).flatten(1))))


class TwoPools(nn.Module):
    """Two global poolings side by side look like a flatten of two positions."""

    shape = (3, 6, 6)

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = conv(3, 8), conv(8, 16), nn.Linear(32, 5)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.fc(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


@pytest.mark.parametrize(
    ("make", "groups"),
    [
        (Named, (12,)),  # what only neighbors read stays free
        (lambda: Named((16, 12, 8)), (12,)),
        (lambda: Named((8, 12, 8)), (8, 12)),  # sums of equal widths are covered
        (Sliced, (24,)),
        (OptionA, ()),
        (lambda: OptionA(((8, 8), (8, 8))), (8,)),
        (lambda: OptionA(((8, 16, True), (16, 24), (24, 32, True))), (16, 32, 32)),
        (Pyramid, ()),
        (Loop, ()),
        (FlatTwice, ()),
        (lambda: FlatTwice(12), (12,)),
        (TwoPools, ()),
    ],
)
def test_hidden_shortcuts_are_not_broken(make, groups):
    network = make()
    assert held(network, network.shape).spec.groups == groups


def test_a_sequential_proves_that_there_is_no_shortcut():
    layers = [layer for a, b in pairwise((3, 8, 12, 16)) for layer in (conv(a, b), nn.ReLU())]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    assert held(network, (3, 6, 6)).spec.groups == (8, 12, 16)


def unit(name, a, b, kind="conv", spatial=True):
    return Unit(name, kind, fresh(a), fresh(b), spatial=spatial)


@pytest.mark.parametrize(
    ("units", "widths"),
    [
        ((unit("a", 3, 8), unit("b", 8, 16)), set()),  # around one layer alone no shortcut is of use
        ((unit("l.0", 3, 8), unit("l.1", 8, 16)), {8, 16}),  # unless a loop runs the list
        ((unit("l.0", 3, 8), unit("m.1", 8, 16)), set()),
        ((unit("a", 3, 8), unit("b", 8, 8), unit("c", 8, 9)), {8, 9}),
        ((unit("a", 3, 8), unit("b", 8, 9), unit("c", 9, 9, spatial=False)), set()),
        ((unit("a", 3, 8), unit("b", 8, 9), unit("c", 9, 16, "residual")), set()),
        ((unit("a", 3, 8), unit("b", 8, 9), unit("c", 9, 99)), set()),  # nobody reads it
    ],
)
def test_which_sums_are_possible(units, widths):
    assert set(unequal_sums(units, {8, 9, 16})) == widths
