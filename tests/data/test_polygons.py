import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.labelme_masks import shape_to_mask
from PIL import Image, ImageDraw

from jaxvision.data.polygons import SHAPES, draw_shape, read_points

SIZE = (20, 30)


def draw(kind, points, size=SIZE):
    canvas = Image.new("L", size[::-1])
    draw_shape(ImageDraw.Draw(canvas), kind, points, value=7, size=size, where="here")
    return np.array(canvas)


coordinates = st.tuples(st.floats(-15, 45, width=32), st.floats(-15, 45, width=32))


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_shapes_cover_the_pixels_of_labelme(data):
    kind = data.draw(st.sampled_from(sorted(set(SHAPES) - {"points"})))
    least, most = SHAPES[kind]
    points = data.draw(st.lists(coordinates, min_size=least, max_size=most or 7))
    try:
        drawn = draw(kind, points)
    except ValueError as error:
        assert "lies outside" in str(error)
        drawn = np.zeros(SIZE)
    np.testing.assert_array_equal(drawn, 7 * shape_to_mask(SIZE, points, kind))


def test_literal_pixels():
    mask = draw("rectangle", [(5.0, 6.0), (2.0, 3.0)])  # corners in the other order
    expected = np.zeros(SIZE, np.uint8)
    expected[3:7, 2:6] = 7
    np.testing.assert_array_equal(mask, expected)
    disc = draw("point", [(15.0, 10.0)])
    assert disc[10, 10:21].all()
    assert not disc[10, 9]
    assert not disc[5, 11]
    line = draw("line", [(0.0, 10.0), (29.0, 10.0)])
    assert (line > 0).sum(axis=0).tolist() == [10] * 30
    both = draw("points", [(5.0, 10.0), (24.0, 10.0)])
    np.testing.assert_array_equal(both, draw("point", [(5.0, 10.0)]) | draw("point", [(24.0, 10.0)]))


def test_what_lies_outside_is_cut_off():
    mask = draw("polygon", [(-50.0, -40.0), (10.0, -40.0), (10.0, 90.0), (-50.0, 90.0)])
    assert (mask[:, :11] == 7).all()
    assert (mask[:, 11:] == 0).all()


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_a_shape_that_is_all_outside_is_an_error(kind):
    least = SHAPES[kind][0]
    with pytest.raises(ValueError, match=f"here: the whole {kind} lies outside of the image of 30x20"):
        draw(kind, [(50.0 + i, 3.0) for i in range(least)])


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_too_few_points(kind):
    least = SHAPES[kind][0]
    with pytest.raises(
        ValueError, match=rf"here: a {kind} of {least - 1} point\(s\), expected (at least )?{least}"
    ):
        draw(kind, [(3.0, 3.0)] * (least - 1))


def test_too_many_points_and_unknown_kinds():
    with pytest.raises(ValueError, match=r"a circle of 3 point\(s\), expected 2"):
        draw("circle", [(3.0, 3.0)] * 3)
    with pytest.raises(ValueError, match=r"shape_type 'spline', expected one of polygon,.*mask"):
        draw("spline", [(3.0, 3.0)] * 3)


def test_points_are_read():
    assert read_points([[1, 2.5], [-3, 40]], SIZE, "here") == [(1.0, 2.5), (-3.0, 40.0)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "here: got null, expected a list"),
        ([[1, 2], [3]], r"here\[1\]: got a list of 1, expected \[x, y\]"),
        ([{"x": 1}], r"here\[0\]: got an object, expected \[x, y\]"),
        ([[1, "2"]], r"here\[0\]: got '2', expected a finite number"),
        ([[True, 2]], r"here\[0\]: got True, expected a finite number"),
        ([[float("nan"), 2]], r"here\[0\]: got nan, expected a finite number"),
        ([[1, float("inf")]], r"here\[0\]: got inf, expected a finite number"),
        ([[1, 10**5000]], r"here\[0\]: got a very long number, expected a finite number"),
        ([[1, 400]], r"here\[0\]: \(1, 400\) is far outside of the image of 30x20"),
    ],
)
def test_points_that_are_none(value, message):
    with pytest.raises(ValueError, match=message):
        read_points(value, SIZE, "here")
