import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.region_cases import REFERENCE, polygons, regions

from jaxvision.data import fill_polygon, mask_of_runs, unpack_runs


def _unpacked(text, size):
    return mask_of_runs(unpack_runs(str(text)), size)


def test_packed_runs_are_those_of_coco():
    with np.load(REFERENCE) as recorded:
        cases = regions(60)
        assert len(cases) == len(recorded["regions"])
        for region, text in zip(cases, recorded["regions"], strict=True):
            np.testing.assert_array_equal(_unpacked(text, region.shape), region)


def test_polygons_cover_the_pixels_that_coco_fills():
    with np.load(REFERENCE) as recorded:
        filled = 0
        for (points, size), text in zip(polygons(300), recorded["polygons"], strict=True):
            region = fill_polygon(points, size)
            np.testing.assert_array_equal(region, _unpacked(text, size))
            filled += region.any()
        assert filled > 150


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pycocotools' own code
def test_against_pycocotools():
    from pycocotools import mask

    rng = np.random.default_rng()
    for _ in range(1000):
        size = tuple(int(side) for side in rng.integers(1, 60, 2))
        points = rng.uniform(-20, 80, (int(rng.integers(3, 12)), 2))
        runs = mask.frPyObjects([points.ravel().tolist()], *size)[0]
        np.testing.assert_array_equal(fill_polygon(points, size), mask.decode(runs).astype(bool))
        region = rng.random(size) < rng.random()
        packed = mask.encode(np.asfortranarray(region.astype(np.uint8)))["counts"].decode()
        np.testing.assert_array_equal(_unpacked(packed, size), region)


def test_runs_go_down_the_columns():
    mask = mask_of_runs([2, 3, 1], (3, 2))
    np.testing.assert_array_equal(mask, [[False, True], [False, True], [True, False]])
    assert not mask_of_runs([6], (3, 2)).any()
    assert mask_of_runs([0, 6], (3, 2)).all()
    assert mask_of_runs([], (0, 4)).shape == (0, 4)


def test_runs_that_do_not_fit():
    with pytest.raises(ValueError, match=r"runs of 5 pixels in all, expected 6, those of an image of 2x3"):
        mask_of_runs([2, 3], (3, 2))
    with pytest.raises(ValueError, match="a run of -1 pixels"):
        mask_of_runs([7, -1], (3, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2", "character ' '"),
        ("12\N{SNOWMAN}", "character '☃'"),
        ("12~", "character '~'"),
        ("12P", "end within a count"),
        ("o" * 14, "goes on and on"),
    ],
)
def test_texts_that_are_no_packed_runs(text, message):
    with pytest.raises(ValueError, match=message):
        unpack_runs(text)


@settings(deadline=None)
@given(st.text(alphabet=[chr(code) for code in range(40, 120)], max_size=40))
def test_any_text_is_a_region_of_the_size_or_a_value_error(text):
    try:
        mask = mask_of_runs(unpack_runs(text), (5, 6))
    except ValueError:
        return
    assert mask.shape == (5, 6)
    assert mask.dtype == bool
