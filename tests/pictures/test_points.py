import numpy as np
import pytest
from PIL import Image

from jaxvision.pictures import plot_labelled_points


@pytest.mark.parametrize("size", [1, 12, 300])
def test_points_are_drawn_in_the_colours_of_their_classes(tmp_path, size):
    rng = np.random.default_rng(0)
    path = plot_labelled_points(
        tmp_path / "map.png",
        rng.normal(size=(size, 2)),
        rng.integers(-1, 12, size),
        [f"$class {index}" for index in range(12)],
        title="a map",
        names=[f"${index}" for index in range(size)],
        edges=rng.integers(0, size, (20, 2)),
    )
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), int)
    assert min(pixels.shape[:2]) > 500
    spread = pixels.max(axis=-1) - pixels.min(axis=-1)
    if size > 1:
        assert (spread > 60).sum() > 50, "there is colour"


def test_without_classes_all_is_grey(tmp_path):
    path = plot_labelled_points(tmp_path / "map.png", np.eye(3, 2), np.full(3, -1), (), title="a map")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), int)
    assert (pixels.max(axis=-1) - pixels.min(axis=-1)).max() < 20
    assert (pixels.max(axis=-1) < 250).sum() > 100


@pytest.mark.parametrize(
    ("points", "labels", "names", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), (), r"points: expected \[N, 2\]"),
        (np.zeros((2, 3)), np.zeros(2, int), (), r"got \[2, 3\]"),
        (np.zeros((2, 2)), np.zeros(3, int), (), "got 3 and 0 for 2 points"),
        (np.zeros((2, 2)), np.zeros(2, int), ("a",), "got 2 and 1 for 2 points"),
        (np.zeros((2, 2)), np.array([0, 4]), (), "labels: got 4 of 2 classes"),
        (np.array([[0, np.nan]]), np.zeros(1, int), (), "expected finite numbers"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path, points, labels, names, message):
    with pytest.raises(ValueError, match=message):
        plot_labelled_points(tmp_path / "m.png", points, labels, ("a", "b"), title="", names=names)
    assert not (tmp_path / "m.png").exists()
