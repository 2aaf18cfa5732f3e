import numpy as np
import pytest

from jaxvision.data import ArrayImages, Joined


def _source(*values, class_names=("a", "b")):
    images = np.array(values, np.uint8)[:, None, None] * np.ones((1, 2, 3), np.uint8)
    return ArrayImages(images, np.array(values) % 2, class_names=class_names)


def test_records_follow_each_other():
    joined = Joined([_source(1, 2, 3), _source(4), _source(5, 6)])
    assert len(joined) == 6 and joined.num_classes == 2 and joined.class_names == ("a", "b")
    assert [int(joined[i]["image"][0, 0, 0]) for i in range(6)] == [1, 2, 3, 4, 5, 6]
    assert joined.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert int(joined[-1]["image"][0, 0, 0]) == 6
    for index in (6, -7):
        with pytest.raises(IndexError):
            joined[index]


def test_classes_must_be_the_same():
    with pytest.raises(ValueError, match="the same classes, got 2"):
        Joined([_source(1), _source(2, class_names=("b", "a"))])
    with pytest.raises(ValueError, match="got 0"):
        Joined([])
