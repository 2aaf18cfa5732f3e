import numpy as np
import pytest

from jaxvision.data import Normalize
from jaxvision.tasks.segmentation_predict import predict_mask

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
