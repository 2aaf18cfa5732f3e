import itertools

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from jaxvision.pictures import confusion_picture, reliability_picture


def read(path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


@pytest.fixture
def figures(monkeypatch):
    """Figures in the order in which they are saved."""
    saved = []
    original = Figure.savefig

    def spy(self, *args, **kwargs):
        saved.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    return saved


def texts(axes) -> dict[tuple[int, int], str]:
    return {
        tuple(int(place) for place in text.get_position()[::-1]): text.get_text()
        for text in axes.texts
        if text.get_text()
    }


COUNTS = np.array([[90, 10, 0], [1, 3, 0], [0, 0, 0]])


def test_cells_hold_shares_of_the_truth_and_counts(tmp_path, figures):
    path = confusion_picture(COUNTS, tmp_path / "out" / "a.png", class_names=["ant", "bee", "cat"])
    axes = figures[0].axes[0]
    assert texts(axes) == {(0, 0): "90", (0, 1): "10", (1, 0): "1", (1, 1): "3"}
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares[:2], [[0.9, 0.1, 0], [0.25, 0.75, 0]])
    assert shares.mask[2].all() and not shares.mask[:2].any()
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["ant", "bee", "cat"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("truth", "prediction")
    picture = read(path).reshape(-1, 3)
    blues = colormaps["Blues"]
    for share in (0.9, 0.1, 0.25, 0.75):  # the picture really shows them, by the square root
        colour = np.array(blues(np.sqrt(share))[:3]) * 255
        assert (np.abs(picture - colour).max(-1) <= 2).sum() > 200
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]


def test_pixels_are_written_as_shares(tmp_path, figures):
    counts = np.array([[10**9, 0, 0], [10**6 - 1, 10**9, 1], [3, 0, 2997]])
    confusion_picture(counts, tmp_path / "a.png", class_names=["ant", "bee", "cat"], in_percent=True)
    # One of a thousand million is nothing to write of, and what is not all is not written as all.
    assert texts(figures[0].axes[0]) == {
        (0, 0): "100",
        (1, 0): "0.1",
        (1, 1): "99.9",
        (2, 0): "0.1",
        (2, 2): "99.9",
    }


@pytest.mark.parametrize(
    "num_classes", [1, 2, 12, 61, *(pytest.param(count, marks=pytest.mark.slow) for count in (40, 200))]
)
def test_any_number_of_classes_and_no_overlapping_names(tmp_path, figures, num_classes):
    counts = np.random.default_rng(0).integers(0, 999, (num_classes, num_classes))
    names = [f"class number {index} of them all" for index in range(num_classes)]
    picture = read(confusion_picture(counts, tmp_path / "a.png", class_names=names))
    assert max(picture.shape) < 3600
    figure = figures[0]
    axes = figure.axes[0]
    assert bool(axes.texts) == (num_classes <= 60)
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert len(boxes) <= 60
    for above, below in itertools.pairwise(boxes):
        assert above.y0 >= below.y1 - 1
    width, height = figure.bbox.size
    cell = axes.get_window_extent().width / num_classes
    for text in axes.texts:  # numbers stay in their cells
        assert text.get_window_extent().width <= cell
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):  # names stay in the picture
        box = label.get_window_extent()
        assert -1 <= box.x0 <= box.x1 <= width + 1
        assert -1 <= box.y0 <= box.y1 <= height + 1


def test_names_are_not_formulas(tmp_path, figures):
    confusion_picture(np.eye(2, dtype=int), tmp_path / "a.png", class_names=["1 $_", "2 $\\frac"])
    assert len(figures) == 1


def test_reliability_shows_accuracy_gap_and_counts(tmp_path, figures):
    confidence, accuracy = np.array([np.nan, 0.4, 0.9]), np.array([np.nan, 0.5, 0.6])
    path = reliability_picture(confidence, accuracy, np.array([0, 10, 30]), tmp_path / "a.png", error=0.25)
    upper, lower = figures[0].axes
    bars = [(bar.get_x(), bar.get_y(), bar.get_height()) for bar in upper.patches]
    third = 1 / 3
    np.testing.assert_allclose(
        bars,
        [(third, 0, 0.5), (2 * third, 0, 0.6), (third, 0.5, -0.1), (2 * third, 0.6, 0.3)],
        atol=1e-6,
    )
    assert [bar.get_height() for bar in lower.patches] == [0, 0.25, 0.75]
    assert upper.get_title() == "reliability, calibration error 25.0 %"
    assert read(path).shape == (720, 600, 3)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda path: confusion_picture(np.zeros((2, 3), int), path, class_names="ab"), r"got \[2, 3\]"),
        (lambda path: confusion_picture(np.zeros((0, 0), int), path, class_names=""), r"got \[0, 0\]"),
        (lambda path: confusion_picture(COUNTS, path, class_names="ab"), "got 2 names for 3 classes"),
        (
            lambda path: reliability_picture(np.zeros(3), np.zeros(2), np.ones(3), path),
            r"got \[\[3\], \[2\], \[3\]\], expected \[B\] each",
        ),
        (lambda path: reliability_picture(np.zeros(3), np.zeros(3), np.zeros(3), path), "got 0 images"),
    ],
)
def test_bad_arguments_are_named_and_no_file_is_made(tmp_path, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
