import matplotlib
import numpy as np
import pytest

from jaxvision.pictures import (
    channel_pictures,
    colour_values,
    heatmap_overlay,
    kernel_pictures,
    sections_sheet,
    strongest_channels,
)


def _colour(value, name):
    return (np.array(matplotlib.colormaps[name](value)[:3]) * 255).round()


def test_values_are_stretched_over_the_colours():
    got = colour_values(np.array([[-2.0, 0.0], [1.0, 2.0]]))
    assert got.dtype == np.uint8
    for place, value in (((0, 0), 0.0), ((0, 1), 0.5), ((1, 1), 1.0)):
        np.testing.assert_allclose(got[place], _colour(value, "viridis"), atol=1)
    same = colour_values(np.full((2, 2), 7.0), colours="gray")
    assert (same == 0).all()


def test_an_overlay_is_hot_where_the_map_is():
    image, heat = np.full((6, 8, 3), 100, np.uint8), np.zeros((3, 4), np.float32)
    heat[0, 0] = 2
    got = heatmap_overlay(image, heat, alpha=0.5)
    np.testing.assert_allclose(got[0, 0], 50 + 0.5 * _colour(1.0, "turbo"), atol=2)
    np.testing.assert_allclose(got[5, 7], 75 + 0.25 * _colour(0.0, "turbo"), atol=2)
    np.testing.assert_array_equal(heatmap_overlay(image, 0 * heat), image)
    np.testing.assert_array_equal(heatmap_overlay(image, heat, alpha=0.0), image)


def test_channels_that_vary_most_come_first():
    maps = np.zeros((2, 2, 4))
    maps[..., 0] = 100  # large, but the same everywhere
    maps[0, 0] += [0, 1, 3, 2]
    assert strongest_channels(maps, 3).tolist() == [2, 3, 1]
    assert strongest_channels(maps, 9).tolist() == [2, 3, 1, 0]
    assert strongest_channels(maps, 3, order="first").tolist() == [0, 1, 2]
    pictures = channel_pictures(maps, [2, 0], colours="gray")
    assert pictures[0][:, :, 0].tolist() == [[255, 0], [0, 0]]
    assert (pictures[1] == 0).all()


def test_kernels_are_grey_at_zero():
    kernel = np.zeros((2, 1, 3, 2), np.float32)
    kernel[0, 0, :, 0] = (2.0, -1.0, 0.0)
    first, second = kernel_pictures(kernel)
    assert first[0, 0].tolist() == [255, 64, 128]
    assert (first[1] == 128).all() and (second == 128).all()
    (grey,) = kernel_pictures(np.full((1, 1, 1, 1), -1.0))
    assert grey.tolist() == [[[0, 0, 0]]]


def test_a_sheet_has_headings_and_rows():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    sheet = sections_sheet([("one", [("a", red)] * 3), ("two", [("", red)])], columns=2, cell=20)
    assert sheet.dtype == np.uint8 and sheet.shape[1] == 8 + 2 * 28
    rows = ((sheet == (200, 0, 0)).all(-1)).sum(1)
    assert sorted(set(rows.tolist())) == [0, 20, 40]
    assert (rows == 40).sum() == 20 and (rows == 20).sum() == 40
    assert (sheet[: 4 + 22] < 100).any()  # a heading


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: colour_values(np.zeros(3)), r"values: got \[3\]"),
        (lambda: colour_values(np.array([[np.nan]])), "finite numbers"),
        (lambda: colour_values(np.zeros((1, 1)), colours="hott"), "unknown colours 'hott'"),
        (lambda: heatmap_overlay(np.zeros((2, 2, 3)), np.zeros((2, 2))), "an image float64"),
        (lambda: heatmap_overlay(np.zeros((2, 2, 3), np.uint8), np.zeros(2)), r"heat \[2\]"),
        (
            lambda: heatmap_overlay(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2)), alpha=2),
            "alpha: got 2",
        ),
        (lambda: kernel_pictures(np.zeros((3, 3, 4, 8))), r"kernel: got \[3, 3, 4, 8\]"),
        (lambda: sections_sheet([("one", [])], columns=2, cell=20), "expected at least one picture"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
