"""NetworkSpec: ids ignore names, follow layout and graph; JSON round trip; inconsistent axes refused."""

import pytest
from pydantic import ValidationError
from torch import nn

from weightatlas.weights.spec import LAYOUT_FIELDS, NODE_FIELDS, NetworkSpec, Node, Segment, TensorSpec
from weightatlas.weights.trace import trace

# Class -> fields that make up a function, fields that do not.
FIELDS = {
    NetworkSpec: ({"tensors", "graph", "input_shape"}, {"groups"}),
    TensorSpec: ({*LAYOUT_FIELDS, "aliases"}, {"name", "axes", "layer", "trainable"}),
    Node: ({*NODE_FIELDS}, set()),
    Segment: (set(), {"group", "members", "positions"}),
}


def spec(name: str = "w", shape: tuple[int, int] = (2, 3), stride: int = 1) -> NetworkSpec:
    axes = ((Segment(group=0, members=shape[0]),), (Segment(members=shape[1]),))
    tensor = TensorSpec(name=name, shape=shape, role="weight", axes=axes, layer=0)
    graph = (Node(op="input"), Node(op="linear", inputs=(0,), attributes={"stride": stride}, tensors=(0,)))
    return NetworkSpec(tensors=(tensor,), groups=(shape[0],), graph=graph, input_shape=(3,))


def test_ids_ignore_names_and_see_layout_and_function() -> None:
    assert spec("w").layout_id == spec("v").layout_id
    assert spec("w").function_id == spec("v").function_id
    assert spec().layout_id != spec(shape=(3, 3)).layout_id
    assert spec(stride=1).function_id != spec(stride=2).function_id
    assert spec(stride=1).layout_id == spec(stride=2).layout_id
    assert NetworkSpec(tensors=spec().tensors, groups=(2,)).function_id is None


@pytest.mark.parametrize("kind", FIELDS, ids=lambda kind: kind.__name__)
def test_every_field_is_part_of_the_function_or_known_not_to_be(kind) -> None:
    inside, outside = FIELDS[kind]
    assert inside | outside == set(kind.model_fields)
    assert not inside & outside


def test_ids_change_with_the_fields_of_the_function_alone() -> None:
    tensor, graph = spec().tensors[0], spec().graph or ()
    axes = ((Segment(members=2),), (Segment(members=3),))
    for change in ({"name": "v"}, {"axes": axes}, {"layer": 3}, {"trainable": False}):
        assert spec().replace(tensors=(tensor.replace(**change),)).function_id == spec().function_id, change
    for change in ({"role": "other"}, {"aliases": ("v",)}):
        assert spec().replace(tensors=(tensor.replace(**change),)).function_id != spec().function_id, change
    for change in ({"op": "conv"}, {"inputs": ()}, {"attributes": {}}, {"tensors": ()}):
        changed = (graph[0], graph[1].replace(**change))
        assert spec().replace(graph=changed).function_id != spec().function_id, change
    assert spec().replace(input_shape=(4,)).function_id != spec().function_id


def test_ids_of_zoos_on_disk_stay() -> None:
    """These literals stand in zoo.json of zoos that exist: never change them."""
    assert spec().layout_id == "46ee31a63022b592"
    assert spec().function_id == "9da5c5e55d9b0285"
    network = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 3)),
    )
    assert trace(network, (1, 8, 8)).function_id == "f20bda1a457fe72f"


def test_json_round_trip_keeps_everything() -> None:
    original = spec()
    again = NetworkSpec.model_validate_json(original.model_dump_json())
    assert again == original
    assert hash(again) == hash(original)


def test_offsets_layers_and_mask() -> None:
    axis = (Segment(members=2),)
    tensors = tuple(
        TensorSpec(name=n, shape=(2,), role="other", axes=(axis,), layer=layer, trainable=train)
        for n, layer, train in (("a", 1, True), ("b", 0, False), ("c", 1, True))
    )
    made = NetworkSpec(tensors=tensors)
    assert made.params == 6
    assert made.layers == ((1,), (0, 2))
    assert made.slices["b"] == slice(2, 4)
    assert made.trainable.tolist() == [True, True, False, False, True, True]


def test_axes_must_add_up_and_fit_their_groups() -> None:
    with pytest.raises(ValidationError, match="add up"):
        TensorSpec(name="w", shape=(4,), role="bias", axes=((Segment(members=3),),), layer=0)
    tensor = TensorSpec(name="w", shape=(4,), role="bias", axes=((Segment(group=0, members=4),),), layer=0)
    with pytest.raises(ValidationError, match="which has 5"):
        NetworkSpec(tensors=(tensor,), groups=(5,))


def test_equality_ignores_what_was_derived() -> None:
    one, two = spec(), spec()
    assert one.trainable.tolist() == [True] * 6
    assert two.params == 6
    assert two.trainable is not one.trainable
    assert one == two
    assert one != spec(stride=2)
    assert one != "spec"
