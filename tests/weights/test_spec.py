"""NetworkSpec: ids ignore names, follow layout and graph; JSON round trip; inconsistent axes refused."""

import pytest
from pydantic import ValidationError

from weightatlas.weights.spec import NetworkSpec, Node, Segment, TensorSpec


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
