from pathlib import Path

import numpy as np
import pytest

from jaxvision.data import Normalize
from jaxvision.tasks.segmentation_predict import find_images, output_names, predict_mask

PLAIN = Normalize(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _brightness_logits(seen):
    """Class 1 where the image is brighter than a half."""

    def logits(images):
        seen.append(images.shape)
        bright = images.mean(-1) - 0.5
        return np.stack([-bright, bright], -1)

    return logits


@pytest.fixture
def halves():
    image = np.zeros((50, 70, 3), np.uint8)
    image[:, 35:] = 255
    return image


def test_an_image_keeps_its_size(halves):
    seen = []
    mask = predict_mask(_brightness_logits(seen), halves, PLAIN)
    np.testing.assert_array_equal(mask, (halves[..., 0] > 0).astype(np.uint8))
    assert seen == [(1, 64, 128, 3)]
    assert mask.dtype == np.uint8


def test_the_network_sees_the_size_that_it_was_trained_at(halves):
    seen = []
    mask = predict_mask(_brightness_logits(seen), halves, PLAIN, size=(48, 40))
    assert seen == [(1, 48, 40, 3)]  # nothing added at the border either
    assert mask.shape == (50, 70)
    assert (mask[:, :33] == 0).all() and (mask[:, 37:] == 1).all()


def test_one_pixel():
    mask = predict_mask(_brightness_logits([]), np.full((1, 1, 3), 255, np.uint8), PLAIN)
    assert mask.tolist() == [[1]]


def test_images_are_found_in_order(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", "._b.png"):
        (tmp_path / name).touch()
    assert [p.name for p in find_images([tmp_path / "b.png", tmp_path])] == ["b.png", "a.JPG", "b.png"]


def test_missing_inputs_are_named(tmp_path):
    with pytest.raises(ValueError, match="nothing to predict"):
        find_images([])
    with pytest.raises(FileNotFoundError, match=r"absent\.png: no such file"):
        find_images([tmp_path / "absent.png"])
    with pytest.raises(ValueError, match="no images in this folder"):
        find_images([tmp_path])


def test_no_result_overwrites_another():
    images = [Path("a.png"), Path("b.png"), Path("c/a.jpg"), Path("d/a.jpg")]
    assert [name for _, name in output_names(images)] == ["a_png", "b", "a_jpg", "a_jpg_2"]
