import numpy as np
import pytest

from jaxvision.pictures import predictions_sheet

COLOUR, BAR = (10, 60, 250), (31, 119, 180)


def sheet(probabilities, *, names=("ant", "bee", "cat"), shape=(20, 30), **options):
    images = [np.full((*shape, 3), COLOUR, np.uint8)] * len(probabilities)
    return predictions_sheet(images, np.asarray(probabilities), class_names=names, **options)


def test_pictures_are_laid_out_in_rows():
    got = sheet([[0.2, 0.5, 0.3]] * 4, columns=3, cell=90, bar_width=100)
    assert got.dtype == np.uint8
    assert got.shape == (8 + 2 * 98, 3 * (90 + 12 + 100 + 16), 3)
    is_image = (got == COLOUR).all(-1)
    assert is_image.sum() == 4 * 90 * 60
    assert not is_image[98:, 218:].any()  # the second row holds one picture


def test_bars_are_as_long_as_the_probabilities_and_the_greatest_comes_first():
    got = sheet([[0.25, 0.0, 0.75]], columns=1, cell=90, bar_width=100)
    bars = (got == BAR).all(-1).sum(axis=1)
    lengths = [bars[8 + line * 30 + 18] for line in range(3)]
    assert lengths == [75, 25, 0]


def test_as_many_classes_as_asked_for_or_as_there_are():
    one, all_of_them = (sheet([[0.5, 0.3, 0.2]], top=top, cell=90) for top in (1, 9))
    assert ((one == BAR).all(-1).any(axis=1)).sum() == 7
    assert ((all_of_them == BAR).all(-1).any(axis=1)).sum() == 3 * 7


def test_long_names_stay_in_their_cell():
    got = sheet([[0.5, 0.3, 0.2]], names=("a" * 90, "b", "c"), columns=1, cell=90, bar_width=100)
    right = got[:, 8 + 90 + 12 + 100 :]
    assert (right == 255).all()


def test_errors():
    with pytest.raises(ValueError, match=r"got 0 images"):
        predictions_sheet([], np.zeros((0, 3)), class_names="abc")
    with pytest.raises(ValueError, match=r"probabilities \[1, 2\] and 3 class names"):
        sheet([[0.5, 0.5]])
    for wrong in ({"cell": 40}, {"columns": 0}, {"top": 0}, {"bar_width": 20}):
        with pytest.raises(ValueError, match="at least 26 pixels a class"):
            sheet([[0.5, 0.3, 0.2]], **wrong)
