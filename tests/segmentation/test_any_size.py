import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from jaxvision.segmentation import bucket_of, score_any_size, score_same_size
from jaxvision.segmentation.any_size import SIDES

KERNEL = np.random.default_rng(1).standard_normal((3, 3, 3, 4)).astype(np.float32)
RADIUS = 2


def _network():
    """Two 3x3 convolutions, compiled, and the shapes that they were traced for."""
    traced = []

    @jax.jit
    def score(images):
        traced.append(images.shape)
        axes = ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(images, jnp.asarray(KERNEL), (1, 1), "SAME", dimension_numbers=axes)
        return lax.conv_general_dilated(
            jnp.tanh(x), jnp.asarray(KERNEL[:, :, [0, 1, 2, 0]]), (1, 1), "SAME", dimension_numbers=axes
        )

    return score, traced


def _image(height, width):
    rng = np.random.default_rng(height * 1000 + width)
    return rng.standard_normal((height, width, 3)).astype(np.float32)


def test_fifty_sizes_take_no_more_compilations_than_there_are_buckets():
    score, traced = _network()
    sides = (16, 24, 40)
    sizes = np.random.default_rng(0).integers(1, 90, (50, 2))
    for size in sizes:
        (logits,) = score_any_size(score, [_image(*size)], sides=sides)
        assert logits.shape == (*size, 4)
    assert len(np.unique(sizes, axis=0)) > 45
    assert len(traced) <= len(sides) ** 2
    assert {shape[1] for shape in traced} | {shape[2] for shape in traced} <= set(sides)


def test_only_the_padded_borders_see_the_padding():
    score, _ = _network()
    image = _image(30, 37)
    (logits,) = score_any_size(score, [image], sides=(32, 64))
    wanted = np.asarray(score(image[None]))[0]
    inside = (slice(None, 30 - RADIUS), slice(None, 37 - RADIUS))  # the top and left are the network's own
    np.testing.assert_allclose(logits[inside], wanted[inside], rtol=0, atol=1e-5 * np.abs(wanted).max())
    (exact,) = score_any_size(score, [image], sides=(30, 37))  # 30 x 37 is a size of the table
    np.testing.assert_allclose(exact, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_an_image_beyond_the_table_is_done_in_windows():
    score, traced = _network()
    image = _image(20, 100)
    (logits,) = score_any_size(score, [image], sides=(16, 32))
    assert traced == [(1, 32, 32, 3)]
    wanted = np.asarray(score(image[None]))[0]
    inside = logits[: 20 - RADIUS]
    # A Gaussian of the windows' ends, which see the network's own padding, is small but not nothing.
    assert np.abs(inside - wanted[: 20 - RADIUS]).mean() < 0.05 * np.abs(wanted).mean()


def test_images_of_one_bucket_go_in_batches_and_keep_their_order():
    score, traced = _network()
    images = [_image(*size) for size in ((10, 10), (30, 10), (12, 16), (9, 4), (16, 16), (32, 16), (1, 1))]
    batched = score_any_size(score, images, sides=(16, 32), batch_size=3)
    assert traced == [(3, 16, 16, 3), (3, 32, 16, 3)]
    for image, logits in zip(images, batched, strict=True):
        (alone,) = score_any_size(score, [image], sides=(16, 32))
        np.testing.assert_allclose(logits, alone, rtol=0, atol=1e-5)
    exact = score_same_size(score, images[:2], batch_size=2)
    assert [logits.shape for logits in exact] == [(10, 10, 4), (30, 10, 4)]


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_bucket_holds_the_image_and_is_not_much_larger(height, width):
    for side, pixels in zip(bucket_of((height, width)), (height, width), strict=True):
        assert side in SIDES
        assert side >= min(pixels, 1024)
        assert side < pixels + (32 if pixels > 512 else 64)


def test_mistakes_are_named():
    score, _ = _network()
    for sides in ((), (32, 16), (16, 16), (0, 8)):
        with pytest.raises(ValueError, match=r"sides: got .*expected positive pixels in rising order"):
            score_any_size(score, [_image(8, 8)], sides=sides)
    with pytest.raises(ValueError, match=r"image: got \[0, 4, 3\]"):
        score_any_size(score, [np.zeros((0, 4, 3), np.float32)])
    with pytest.raises(ValueError, match="batch_size: got 0"):
        score_same_size(score, [_image(8, 8)], batch_size=0)
    assert score_any_size(score, []) == []


def test_the_shapes_are_bounded_and_little_area_is_added():
    assert len(SIDES) ** 2 == 576
    added = [np.prod(bucket_of((pixels, pixels))) / pixels**2 - 1 for pixels in range(513, 1025)]
    assert max(added) < 1 / 8
