"""The guided filter against its equations, where OpenCV is installed; its absence is tested everywhere."""

import sys

import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from scipy.special import softmax

from jaxvision.segmentation import guided_refinement


def _guided_filter(guide, plane, radius, epsilon):
    """He et al. 2013, equations 14 and 15 with colour guidance, by solving one system a pixel."""

    def mean(x):
        return uniform_filter(x, (2 * radius + 1,) * 2 + (0,) * (x.ndim - 2), mode="mirror", axes=None)

    average, mean_plane = mean(guide), mean(plane[..., None])[..., 0]
    products = mean(guide[..., :, None] * guide[..., None, :])
    covariance = products - average[..., :, None] * average[..., None, :] + epsilon * np.eye(3)
    right = mean(guide * plane[..., None]) - average * mean_plane[..., None]
    slope = np.linalg.solve(covariance, right[..., None])[..., 0]
    offset = mean_plane - (slope * average).sum(-1)
    return (mean(slope) * guide).sum(-1) + mean(offset[..., None])[..., 0]


@pytest.fixture
def scene():
    """A bright square, and probabilities that are noisy and end two pixels beside its edge."""
    rng = np.random.default_rng(0)
    image = np.full((40, 48, 3), 40, np.uint8)
    image[10:30, 12:36] = (220, 180, 200)
    inside = np.zeros((40, 48))
    inside[12:32, 14:38] = 1
    logits = np.stack([2 - 4 * inside, 4 * inside - 2, np.zeros_like(inside)], -1)
    return image, softmax(logits + rng.standard_normal(logits.shape), -1)


@pytest.mark.parity
def test_probabilities_follow_the_edges_of_the_image(scene):
    pytest.importorskip("cv2.ximgproc", reason="OpenCV with its contrib modules is not installed")
    image, probabilities = scene
    got = guided_refinement(probabilities, image, radius=4, epsilon=1e-3)
    assert got.dtype == np.float32 and got.shape == probabilities.shape
    np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-5)
    truth = (image[..., 0] > 100).astype(int)
    assert (got.argmax(-1) == truth).mean() > (probabilities.argmax(-1) == truth).mean() + 0.03


@pytest.mark.parity
def test_the_filter_is_that_of_the_paper(scene):
    pytest.importorskip("cv2.ximgproc", reason="OpenCV with its contrib modules is not installed")
    image, probabilities = scene
    planes = [_guided_filter(image / 255, probabilities[..., k], 4, 1e-3) for k in range(3)]
    wanted = np.maximum(np.stack(planes, -1), 0)
    wanted /= wanted.sum(-1, keepdims=True)
    got = guided_refinement(probabilities, image, radius=4, epsilon=1e-3)
    inside = (slice(8, -8), slice(8, -8))  # the windows at the border are continued in another way
    np.testing.assert_allclose(got[inside], wanted[inside], rtol=0, atol=2e-4)


def test_without_opencv_the_command_is_named(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    image, probabilities = scene
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jaxvision\[refine\]'"):
        guided_refinement(probabilities, image)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((4, 5, 3), np.uint8), {}, r"probabilities \[4, 4, 2\] and an image uint8 \[4, 5, 3\]"),
        (np.zeros((4, 4, 3), np.float32), {}, "an image float32"),
        (np.zeros((4, 4, 3), np.uint8), {"radius": 0}, "got radius 0"),
        (np.zeros((4, 4, 3), np.uint8), {"epsilon": 0.0}, "epsilon 0.0, expected 1 or more and a positive"),
    ],
)
def test_mistakes_are_named(image, options, message):
    with pytest.raises(ValueError, match=message):
        guided_refinement(np.full((4, 4, 2), 0.5), image, **options)
