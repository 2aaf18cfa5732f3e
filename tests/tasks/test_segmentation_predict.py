import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from jaxvision.data import Normalize
from jaxvision.pictures import digit_scenes_palette
from jaxvision.tasks.segmentation_predict import (
    InferenceOptions,
    Segmenter,
    published_preparation,
    run_preparation,
    write_probabilities,
    write_segmentation,
)
from jaxvision.weights import Preprocessing

PLAIN = Normalize(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _segmenter(seen, *, size=None, **options):
    """Class 1 where the image is brighter than a half; the network notes the shapes that it sees."""

    def logits(images):
        seen.append(images.shape)
        bright = images.mean(-1) - 0.5
        return np.stack([-bright, bright], -1)

    prepare = run_preparation(PLAIN, size)
    return Segmenter(logits, prepare, InferenceOptions(**options), one_size=size is not None)


@pytest.fixture
def halves():
    image = np.zeros((50, 70, 3), np.uint8)
    image[:, 35:] = 255
    return image


def test_an_image_keeps_its_size(halves):
    seen = []
    (mask,) = _segmenter(seen).labels([halves])
    np.testing.assert_array_equal(mask, (halves[..., 0] > 0).astype(np.uint8))
    assert seen == [(1, 64, 128, 3)]
    assert mask.dtype == np.uint8


def test_the_network_sees_the_size_that_it_was_trained_at(halves):
    seen = []
    (mask,) = _segmenter(seen, size=(48, 40)).labels([halves])
    assert seen == [(1, 48, 40, 3)]  # nothing added at the border either
    assert mask.shape == (50, 70)
    assert (mask[:, :33] == 0).all() and (mask[:, 37:] == 1).all()


def test_one_pixel():
    (mask,) = _segmenter([]).labels([np.full((1, 1, 3), 255, np.uint8)])
    assert mask.tolist() == [[1]]


def test_windows(halves):
    seen = []
    segmenter = _segmenter(seen, window=(32, 32), overlap=(8, 8), batch_size=2)
    (mask,) = segmenter.labels([halves])
    np.testing.assert_array_equal(mask, halves[..., 0] > 0)
    assert set(seen) == {(2, 32, 32, 3)}
    (probabilities,) = segmenter.probabilities([halves])
    np.testing.assert_array_equal(probabilities.argmax(-1), mask)


def test_probabilities_of_several_views(halves):
    seen = []
    segmenter = _segmenter(seen, scales=(0.5, 1.0), flip=True)
    (probabilities,) = segmenter.probabilities([halves])
    assert seen == [(1, 64, 64, 3)] * 2 + [(1, 64, 128, 3)] * 2
    np.testing.assert_allclose(probabilities[0, 0], softmax([0.5, -0.5]), rtol=1e-5)
    (mask,) = segmenter.labels([halves])
    np.testing.assert_array_equal(mask, probabilities.argmax(-1))


def test_images_of_one_bucket_are_scored_at_once(halves):
    seen = []
    masks = _segmenter(seen, batch_size=2).labels([halves, halves[:, :30], halves[:40]])
    assert seen == [(2, 64, 128, 3), (2, 64, 64, 3)]
    assert [mask.shape for mask in masks] == [(50, 70), (50, 30), (40, 70)]


def test_published_weights_see_what_they_were_trained_on():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)
    whole = Preprocessing((20, 20), 20, mean, std)
    assert published_preparation(whole, native_size=False)(image).shape == (20, 30, 3)
    cropped = Preprocessing((20, 20), 24, mean, std)
    for preprocessing, native in ((whole, True), (cropped, False)):
        got = published_preparation(preprocessing, native_size=native)(image)
        np.testing.assert_allclose(got, (image / 255 - mean) / std, rtol=0, atol=1e-5)
    turned = published_preparation(cropped._replace(channel_order="bgr"), native_size=True)(image)
    np.testing.assert_allclose(turned, (image[..., ::-1] / 255 - mean) / std, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"inputs of shape \[16, 20, 20, 3\], expected images"):
        published_preparation(whole._replace(frames=16), native_size=False)


def test_what_is_written(halves, tmp_path):
    palette, mask = digit_scenes_palette(), (halves[..., 0] > 0).astype(np.uint8)
    names = ("background", "zero")
    path = write_segmentation(tmp_path, "a", halves, mask, class_names=names, palette=palette, alpha=0.5)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), mask)
        assert picture.getpalette()[3:6] == palette[1].tolist()
    with Image.open(tmp_path / "a_legend.png") as picture:
        assert picture.width > 3 * 360
    probabilities = np.random.default_rng(0).random((50, 70, 2), np.float32)
    write_probabilities(tmp_path / "a.npz", probabilities, names)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive["probabilities"].dtype == np.float16
        np.testing.assert_allclose(archive["probabilities"], probabilities, rtol=1e-3, atol=1e-7)
        assert archive["class_names"].tolist() == list(names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (16, 16), "overlap": (16, 4)}, "overlap: got 16 of a window of 16 pixels"),
        ({"window": (16, 16), "margin": 9}, "margin: got 9 with an overlap of 8"),
        ({"scales": (1.0, 0.0)}, "scales: got"),
        ({"sides": ()}, "sides: got"),
        ({"batch_size": 0}, "--batch-size: got 0"),
    ],
)
def test_mistakes_are_named(halves, options, message):
    with pytest.raises(ValueError, match=message):
        _segmenter([], **options).labels([halves])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": (8, 8)}, r"--overlap: got \(8, 8\), which nothing reads without --window; leave it out"),
        ({"margin": 4}, "--margin: got 4, .* give --window"),
        ({"blend": "uniform"}, "--blend: got uniform, .* give --window"),
        ({"refine_radius": 4, "window": (8, 8)}, "--refine-radius: got 4, .* give --refine"),
        ({"refine_epsilon": 0.1}, r"--refine-epsilon: got 0\.1, .* give --refine"),
    ],
)
def test_options_that_nothing_reads_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        InferenceOptions(**options)
    InferenceOptions(**{"window": (8, 8), "refine": True} | options)
