import numpy as np
import pytest

from jaxvision.pictures import mistakes_sheet, worst_mistakes

NAMES = ("ant", "bee", "cat")
COLOUR = (10, 60, 250)
RED, GREEN = (190, 30, 30), (20, 110, 50)


def test_the_surest_mistakes_come_first():
    probabilities = np.array(
        [
            [0.6, 0.3, 0.1],
            [0.1, 0.9, 0.0],
            [0.2, 0.2, 0.6],
            [0.95, 0.05, 0.0],
            [0.0, 1.0, 0.0],
            [0.3, 0.6, 0.1],
        ]
    )
    labels = np.array([1, 0, 2, 1, -1, 0])  # the third is right, the fifth has no class
    assert worst_mistakes(probabilities, labels).tolist() == [3, 1, 0, 5]
    assert worst_mistakes(probabilities, labels, limit=2).tolist() == [3, 1]
    assert worst_mistakes(probabilities[2:3], labels[2:3]).tolist() == []
    assert worst_mistakes(np.zeros((0, 3)), np.zeros(0, int)).tolist() == []


def sheet(count: int, *, names=NAMES, shape=(20, 30), **options) -> np.ndarray:
    images = [np.full((*shape, 3), COLOUR, np.uint8)] * count
    probabilities = np.tile([0.2, 0.5, 0.3], (count, 1))
    return mistakes_sheet(images, np.full(count, 2), probabilities, class_names=names, **options)


def test_pictures_are_laid_out_in_rows_with_two_lines_below_each():
    got = sheet(5, columns=3, cell=90)
    assert got.dtype == np.uint8
    assert got.shape == (22 + 2 * (90 + 2 * 22 + 8) + 8, 8 + 3 * 98, 3)
    is_image = (got == COLOUR).all(-1)
    assert is_image.sum() == 5 * 90 * 60
    assert not is_image[:, 8 + 2 * 98 :][150:].any()  # the sixth place is empty
    for colour, line in ((RED, 0), (GREEN, 1)):
        top = 22 + 90 + line * 22
        band = got[top : top + 22, 8:98]
        assert (band == colour).all(-1).any()
        other = GREEN if colour == RED else RED
        assert not (band == other).all(-1).any()


def test_captions_tell_name_and_probability():
    first = sheet(1, columns=1, cell=150)
    assert (first != sheet(1, columns=1, cell=150, names=("ant", "fly", "cat"))).any()
    assert (first != sheet(1, columns=1, cell=150, names=("ant", "bee", "dog"))).any()
    np.testing.assert_array_equal(first, sheet(1, columns=1, cell=150, names=("fly", "bee", "cat")))


def test_long_names_stay_in_their_cell():
    got = sheet(1, columns=1, cell=64, names=("a", "b" * 80, "W" * 80))
    text = (got[22 + 64 :] != 255).any(-1)
    assert text.any()
    assert not text[:, : 8 - 1].any()
    assert not text[:, 8 + 64 + 1 :].any()


def test_pictures_of_any_size():
    for shape in ((1, 1), (1, 500), (500, 1)):
        assert (sheet(1, shape=shape, columns=1) == COLOUR).all(-1).any()


def test_without_mistakes_the_sheet_says_so():
    got = sheet(0)
    assert got.shape == (30, 8 + 6 * 168, 3)
    assert (got != 255).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: worst_mistakes(np.zeros((2, 3)), np.zeros(3, int)),
            r"probabilities \[2, 3\] and labels \[3\]",
        ),
        (lambda: sheet(2, names=("a", "b")), r"probabilities \[2, 3\] and 2 class names"),
        (lambda: sheet(2, columns=0), "got 0 columns of 160 pixels"),
        (lambda: sheet(2, cell=8), "got 6 columns of 8 pixels"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
