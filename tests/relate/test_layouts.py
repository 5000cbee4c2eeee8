"""What differs between two layouts is named."""

from weightatlas.relate.layouts import LayoutDifference, layout_difference
from weightatlas.weights.spec import NetworkSpec, Segment, TensorSpec


def spec_of_shapes(**shapes):
    tensors = tuple(
        TensorSpec(
            name=name,
            shape=shape,
            role="weight",
            axes=tuple((Segment(members=n),) for n in shape),
            layer=layer,
        )
        for layer, (name, shape) in enumerate(shapes.items())
    )
    return NetworkSpec(tensors=tensors)


BODY = {"a": (8, 4), "b": (8, 8), "c": (8, 8), "d": (6, 8)}
BASE = spec_of_shapes(**BODY, head=(10, 6))


def test_equal_layouts_do_not_differ():
    assert layout_difference(BASE, spec_of_shapes(**BODY, top=(10, 6))) is None


def test_last_layers_are_a_head():
    found = layout_difference(BASE, spec_of_shapes(**BODY, head=(3, 6)))
    assert found == LayoutDifference("head replaced", "head 10 × 6 against 3 × 6")
    deeper = spec_of_shapes(**BODY, hidden=(7, 6), out=(3, 7))
    assert layout_difference(BASE, deeper).name == "head replaced"
    assert layout_difference(deeper, BASE).text == (
        "hidden 7 × 6 only in the first, out 3 × 7 only in the first, head 10 × 6 only in the second"
    )
    assert layout_difference(BASE, spec_of_shapes(**BODY)).name == "head replaced"
    renamed = spec_of_shapes(k=(8, 4), l=(8, 8), m=(8, 8), n=(6, 8), o=(3, 6))
    assert layout_difference(BASE, renamed).name == "head replaced"


def test_other_layers_are_no_head():
    wide = spec_of_shapes(**{**BODY, "a": (8, 5)}, head=(10, 6))
    assert layout_difference(BASE, wide) == LayoutDifference("other layout", "a 8 × 4 against 8 × 5")
    assert (
        layout_difference(BASE, spec_of_shapes(**{**BODY, "a": (8, 5)}, head=(3, 6))).name == "other layout"
    )
    more = layout_difference(BASE, spec_of_shapes(**BODY, head=(10, 6), e=(2, 2), f=(2, 2), g=(2, 2)))
    assert more.name == "other layout"
    names = {letter: (3, place + 1) for place, letter in enumerate("stuvwxy")}
    assert layout_difference(BASE, spec_of_shapes(**BODY, **names)).text.endswith(", and 4 more")
    renamed = spec_of_shapes(k=(8, 5), l=(8, 8), m=(8, 8), n=(6, 8), o=(10, 6))
    assert layout_difference(BASE, renamed).name == "other layout"


def test_the_order_of_tensors_alone_is_no_change():
    names = ["b", "a", "c", "d"]
    other = spec_of_shapes(**{name: BODY[name] for name in names}, head=(10, 6))
    assert layout_difference(BASE, other) == LayoutDifference(None, "the order of tensors")
