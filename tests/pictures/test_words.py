import numpy as np
import pytest
from PIL import Image

from jaxvision.pictures import plot_word_map


def test_words_are_drawn_where_they_are(tmp_path):
    path = tmp_path / "new" / "map.png"
    points = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    assert plot_word_map(path, ["$x^$", "of", "naïve"], points, title="three") == path
    with Image.open(path) as image:
        dark = np.asarray(image.convert("L")) < 128
    height, width = dark.shape
    assert height == width == 1400
    below, right = dark[height // 2 :], dark[:, width // 2 :]
    assert below[:, : width // 2].any() and right[height // 2 :].any(), "a word in each lower corner"
    assert not dark[200 : height // 2, width // 2 : width - 50].any(), "and none in the upper right one"


def test_one_word_and_points_all_alike(tmp_path):
    plot_word_map(tmp_path / "one.png", ["word"], np.zeros((1, 2)), title="one")
    plot_word_map(tmp_path / "two.png", ["a", "b"], np.ones((2, 2)), title="two")


@pytest.mark.parametrize(
    ("words", "points", "message"),
    [
        ([], np.zeros((0, 2)), r"points: expected \[1, 2\], got \[0, 2\]"),
        (["a"], np.zeros((2, 2)), r"points: expected \[1, 2\], got \[2, 2\]"),
        (["a"], np.array([[np.nan, 0]]), "expected finite numbers"),
    ],
)
def test_what_has_no_place_is_refused(tmp_path, words, points, message):
    with pytest.raises(ValueError, match=message):
        plot_word_map(tmp_path / "map.png", words, points, title="")
    assert not (tmp_path / "map.png").exists()
