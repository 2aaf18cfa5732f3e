import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from jaxvision.ops import resize
from jaxvision.segmentation import average_views
from jaxvision.segmentation.views import best_labels, label_pixels, resize_bands, resize_bilinear, scaled_size

KERNEL = np.random.default_rng(1).standard_normal((2, 3, 3, 4)).astype(np.float32)


def _image(height, width, channels=3):
    return np.random.default_rng(height).standard_normal((height, width, channels)).astype(np.float32)


def _scores(images):
    """Each class weighs a pixel and those below and behind it: left and right differ."""
    found = []
    for image in images:
        x = np.pad(image, ((0, 1), (0, 2), (0, 0)))
        height, width = image.shape[:2]
        parts = [x[i : i + height, j : j + width] @ KERNEL[i, j] for i in range(2) for j in range(3)]
        found.append(np.sum(parts, 0))
    return found


def _interpolate(x, size):
    """Bilinear by numpy's interpolation, one axis after the other."""
    for axis, target in enumerate(size):
        have = x.shape[axis]
        places = (np.arange(target) + 0.5) * have / target - 0.5
        x = np.apply_along_axis(lambda line, at: np.interp(at, np.arange(len(line)), line), axis, x, places)
    return x


@given(*[st.integers(1, 90)] * 4)
@settings(max_examples=30, deadline=None)
def test_bilinear(height, width, rows, columns):
    image = _image(height, width, 2)
    got = resize_bilinear(image, (rows, columns))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, _interpolate(image, (rows, columns)), rtol=0, atol=1e-5)


def test_bilinear_is_that_of_the_ops():
    image = _image(13, 9)
    ours = resize(jnp.asarray(image)[None], (150, 5))[0]
    np.testing.assert_allclose(resize_bilinear(image, (150, 5)), ours, rtol=0, atol=1e-5)
    assert [len(band) for band in resize_bands(image, (150, 5))] == [64, 64, 22]


@pytest.mark.parametrize("flip", [False, True])
def test_probabilities_of_views_are_averaged(flip):
    image, scales, wanted = _image(21, 30), (0.5, 1.0, 1.75), []
    for scale in scales:
        size = (int(21 * scale + 0.5), int(30 * scale + 0.5))
        for mirrored in [False, True][: 1 + flip]:
            view = _interpolate(image, size)
            (logits,) = _scores([view[:, ::-1] if mirrored else view])
            wanted.append(softmax(_interpolate(logits[:, ::-1] if mirrored else logits, (21, 30)), -1))
    (got,) = average_views(_scores, [image], scales=scales, flip=flip)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.mean(wanted, 0), rtol=0, atol=1e-5)
    np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-5)


def test_results_have_the_sizes_asked_for():
    images = [_image(21, 30), _image(8, 9)]
    got = average_views(_scores, images, sizes=[(42, 60), (5, 5)], flip=True)
    assert [array.shape for array in got] == [(42, 60, 4), (5, 5, 4)]
    (alone,) = average_views(_scores, images[1:], sizes=[(5, 5)], flip=True)
    np.testing.assert_allclose(got[1], alone, atol=1e-6)
    assert average_views(_scores, []) == []


def test_a_symmetric_network_gives_one_answer_for_the_mirror_image():
    image = _image(12, 17)
    (one,) = average_views(_scores, [image], flip=True)
    (other,) = average_views(_scores, [image[:, ::-1]], flip=True)
    np.testing.assert_allclose(one, other[:, ::-1], rtol=0, atol=1e-6)


def test_best_labels_are_those_of_the_resized_scores():
    scores = _image(20, 33, 5)
    labels = best_labels(scores, (70, 40))
    np.testing.assert_array_equal(labels, _interpolate(scores.astype(np.float64), (70, 40)).argmax(-1))
    assert labels.dtype == np.uint8


def test_a_byte_holds_no_more_than_256_classes():
    assert label_pixels(np.eye(256)[None]).tolist() == [list(range(256))]
    with pytest.raises(ValueError, match="got 257 classes, expected at most 256"):
        best_labels(np.zeros((2, 2, 257)), (4, 4))


def test_huge_logits_stay_finite():
    scores = lambda images: [np.stack([200 * x[..., 0], -200 * x[..., 0]], -1) for x in images]  # noqa: E731
    (got,) = average_views(scores, [_image(6, 6)], scales=(0.5, 1.0))
    assert np.isfinite(got).all()


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0), (float("nan"),)])
def test_scales_must_be_positive(scales):
    with pytest.raises(ValueError, match="scales: got"):
        average_views(_scores, [_image(4, 4)], scales=scales)
    assert scaled_size((1, 3), 0.1) == (1, 1)


@pytest.mark.parity
def test_views_of_torch():
    """mmsegmentation's test-time augmentation restated in torch, with a network of random convolutions."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 5, 3, stride=2, padding=1)
    )

    def logits(x):
        return F.interpolate(network(x), x.shape[2:], mode="bilinear")

    image, scales, views = _image(37, 50), (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), []
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.no_grad():
        for scale in scales:
            size = (int(37 * scale + 0.5), int(50 * scale + 0.5))
            view = F.interpolate(x, size, mode="bilinear")
            for mirrored in (False, True):
                found = logits(view.flip(3) if mirrored else view)
                found = found.flip(3) if mirrored else found
                views.append(F.interpolate(found, (37, 50), mode="bilinear").softmax(1))
    wanted = torch.stack(views).mean(0)[0].permute(1, 2, 0).numpy()

    kernels = [network[i].weight.detach().numpy().transpose(2, 3, 1, 0) for i in (0, 2)]
    biases = [network[i].bias.detach().numpy() for i in (0, 2)]

    def scores(images):
        found = []
        for image in images:
            y = jnp.asarray(image)[None]
            for kernel, bias, stride in zip(kernels, biases, (1, 2), strict=True):
                y = jnp.maximum(y, 0) if stride == 2 else y
                y = jax.lax.conv_general_dilated(
                    y, kernel, (stride, stride), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
                ) + bias.reshape(1, 1, 1, -1)
            found.append(np.asarray(resize(y, image.shape[:2])[0]))
        return found

    (got,) = average_views(scores, [image], scales=scales, flip=True)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)
