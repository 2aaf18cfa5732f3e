import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal.windows import gaussian

from jaxvision.inspect import receptive_fields
from jaxvision.segmentation import UNet, score_by_windows, slide_windows
from jaxvision.segmentation.sliding_windows import BLENDS, mirror_pad, window_axis


def _image(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _noise(seen):
    """Scores that depend on the place in the window, so that blending shows."""

    def score(images):
        seen.append(images.shape)
        ramp = np.linspace(0, 1, images.shape[2], dtype=np.float32)[:, None]
        return np.concatenate([images * ramp, images.mean(-1, keepdims=True)], -1)

    return score


def _mmsegmentation(score, image, window, stride, weights):
    """mmsegmentation's slide_inference, with weights in place of ones."""
    (height, width), sums, counts = image.shape[:2], 0, 0
    grids = [max(n - w + s - 1, 0) // s + 1 for n, w, s in zip((height, width), window, stride, strict=True)]
    for row in range(grids[0]):
        for column in range(grids[1]):
            bottom, right = (
                min(row * stride[0] + window[0], height),
                min(column * stride[1] + window[1], width),
            )
            top, left = max(bottom - window[0], 0), max(right - window[1], 0)
            logits = score(image[None, top:bottom, left:right])[0]
            margins = [(top, height - bottom), (left, width - right), (0, 0)]
            sums = sums + np.pad(logits * weights[..., None], margins)
            counts = counts + np.pad(weights[..., None], margins)
    return sums / counts


@pytest.mark.parametrize("blend", ["uniform", "gaussian"])
@pytest.mark.parametrize(("size", "batch_size"), [((33, 50), 1), ((33, 50), 4), ((16, 20), 3), ((17, 21), 7)])
def test_means_are_those_of_mmsegmentation(blend, size, batch_size):
    window, overlap, seen = (16, 20), (5, 8), []
    one = {"uniform": np.ones, "gaussian": lambda n: gaussian(n, n / 8)}[blend]
    image, weights = _image(*size, 3), np.outer(one(16), one(20))
    wanted = _mmsegmentation(_noise([]), image, window, (11, 12), weights)
    got = score_by_windows(
        _noise(seen), image, window=window, overlap=overlap, blend=blend, batch_size=batch_size
    )
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())
    assert set(seen) == {(batch_size, 16, 20, 3)}  # one shape: one compilation
    assert got.dtype == np.float32


def test_bands_are_the_whole_from_the_top_to_the_bottom():
    options = {"window": (16, 16), "overlap": (4, 4)}
    bands = list(slide_windows(_noise([]), _image(45, 30, 3), **options))
    assert [len(band) for band in bands] == [12, 12, 5, 16]
    whole = score_by_windows(_noise([]), _image(45, 30, 3), **options)
    np.testing.assert_array_equal(np.concatenate(bands), whole)


@given(st.integers(1, 200), st.integers(1, 64), st.floats(0, 1), st.floats(0, 1), st.sampled_from(BLENDS))
@settings(max_examples=200, deadline=None)
def test_every_pixel_has_a_weight(size, window, overlap, margin, blend):
    window = min(window, size)
    overlap = min(int(overlap * window), window - 1)
    places = window_axis(size, window, overlap=overlap, margin=int(margin * (overlap // 2)), blend=blend)
    sums = np.zeros(size)
    for start, weights in places:
        assert weights.shape == (window,) and (weights >= 0).all() and (weights <= 1).all()
        sums[start : start + window] += weights
    assert (sums > 0).all()
    starts = [start for start, _ in places]
    assert starts[0] == 0 and starts[-1] == size - window and starts == sorted(set(starts))


def test_linear_weights_of_neighbours_add_up_to_one():
    (first, weights), (second, others) = window_axis(26, 16, overlap=6, margin=1, blend="linear")
    assert (first, second) == (0, 10)
    np.testing.assert_allclose(weights[10:] + others[:6], 1, rtol=1e-6)
    assert weights[15] == others[0] == 0 and weights[0] > 0  # the margin is at the inner ends only


@pytest.fixture(scope="module")
def unet():
    """A U-Net of two levels, its radius in pixels, and its compiled scores."""
    model = UNet(3, features=(3, 4), dropout_rate=0.0)
    variables = jax.jit(lambda key: model.init(key, jnp.zeros((1, 16, 16, 3)), train=False))(
        jax.random.key(0)
    )
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    field = receptive_fields(lambda x: model.apply(variables, x, train=False), image)
    return jax.jit(lambda x: model.apply(variables, x, train=False)), max(field) // 2 + 1


@pytest.mark.parametrize("blend", BLENDS)
def test_windows_give_the_whole_images_scores_where_the_receptive_field_is_smaller_than_the_overlap(
    unet, blend
):
    score, radius = unet
    overlap = 2 * radius  # all steps are multiples of the stride, 2
    window = (overlap + 12, overlap + 8)
    image = _image(window[0] + 24, window[1] + 16, 3)
    got = score_by_windows(
        score, image, window=window, overlap=(overlap, overlap), margin=radius, blend=blend, batch_size=2
    )
    wanted = np.asarray(score(image[None]))[0]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    # Without the margin the ends of the windows, where the network sees its padding, show.
    plain = score_by_windows(score, image, window=window, overlap=(overlap, overlap), blend=blend)
    assert np.abs(plain - wanted).max() > 1e-4 * np.abs(wanted).max()


def test_an_image_smaller_than_the_window_is_mirrored():
    seen = []

    def score(images):
        seen.append(images)
        return images

    image = _image(5, 7, 3)
    np.testing.assert_allclose(score_by_windows(score, image, window=(8, 16)), image, rtol=1e-6)
    (padded,) = seen
    np.testing.assert_array_equal(padded[0, 5:8, :7], image[4:1:-1])
    np.testing.assert_array_equal(padded[0, :5, 7:14], image[:, ::-1])
    assert mirror_pad(image, (5, 7)) is image


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 16}, "overlap: got 16 of a window of 16 pixels"),
        ({"overlap": -1}, "overlap: got -1"),
        ({"window": 0, "overlap": 0}, "window of 0 pixels; expected a positive window"),
        (
            {"overlap": 4, "margin": 3},
            "margin: got 3 with an overlap of 4; expected 0 or more and at most half",
        ),
        ({"overlap": 4, "blend": "gauss"}, "blend: got 'gauss', expected one of 'gaussian'"),
        ({"size": 15, "overlap": 4}, "window: got 16 for an axis of 15 pixels; give a smaller one, or pad"),
    ],
)
def test_mistakes_are_named(options, message):
    options = {"size": 40, "window": 16, **options}
    with pytest.raises(ValueError, match=message):
        window_axis(options.pop("size"), options.pop("window"), **options)


def test_scores_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"scores: got \[1, 8, 8, 3\] for images \[1, \*\[16, 16, 3\]\]"):
        score_by_windows(lambda x: x[:, ::2, ::2], _image(20, 20, 3), window=(16, 16))
    with pytest.raises(ValueError, match="batch_size: got 0"):
        score_by_windows(lambda x: x, _image(20, 20, 3), window=(16, 16), batch_size=0)
