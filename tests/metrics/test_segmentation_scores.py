import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jaxvision.metrics import (
    class_pixel_accuracy,
    confusion_matrix,
    frequency_weighted_iou,
    iou,
    mean_iou,
    mean_pixel_accuracy,
    pixel_accuracy,
)

SCORES = (
    pixel_accuracy,
    class_pixel_accuracy,
    mean_pixel_accuracy,
    iou,
    mean_iou,
    frequency_weighted_iou,
)
# Class 2 is predicted but never true; class 3 is neither.
COUNTS = np.array([[6, 1, 1, 0], [2, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_by_hand() -> None:
    np.testing.assert_allclose(pixel_accuracy(COUNTS), 8 / 12)
    np.testing.assert_allclose(class_pixel_accuracy(COUNTS), [6 / 8, 2 / 4, np.nan, np.nan])
    np.testing.assert_allclose(mean_pixel_accuracy(COUNTS), (6 / 8 + 2 / 4) / 2)
    np.testing.assert_allclose(iou(COUNTS), [6 / 10, 2 / 5, 0.0, np.nan])
    np.testing.assert_allclose(mean_iou(COUNTS), (6 / 10 + 2 / 5 + 0.0) / 3)
    np.testing.assert_allclose(frequency_weighted_iou(COUNTS), (8 * 6 / 10 + 4 * 2 / 5) / 12)


def test_equals_sklearn_where_every_class_occurs() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 2000)
    predictions = np.where(rng.random(2000) < 0.6, labels, rng.integers(0, 6, 2000))
    counts = confusion_matrix(jnp.asarray(labels), jnp.asarray(predictions), 6)
    jaccard = sklearn_metrics.jaccard_score(labels, predictions, average=None)
    np.testing.assert_allclose(iou(counts), jaccard, rtol=1e-6)
    np.testing.assert_allclose(mean_iou(counts), jaccard.mean(), rtol=1e-6)
    weighted = sklearn_metrics.jaccard_score(labels, predictions, average="weighted")
    np.testing.assert_allclose(frequency_weighted_iou(counts), weighted, rtol=1e-6)
    np.testing.assert_allclose(pixel_accuracy(counts), (labels == predictions).mean(), rtol=1e-6)
    recall = sklearn_metrics.balanced_accuracy_score(labels, predictions)
    np.testing.assert_allclose(mean_pixel_accuracy(counts), recall, rtol=1e-6)


@pytest.mark.parametrize("score", SCORES)
def test_jax_under_jit_equals_numpy(score: object) -> None:
    got = jax.jit(score)(jnp.asarray(COUNTS))  # type: ignore[call-overload]
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, score(COUNTS), rtol=1e-6)  # type: ignore[operator]


@pytest.mark.parametrize("score", SCORES)
def test_totals_beyond_32_bits(score: object) -> None:
    small = np.array([[3, 1], [2, 5]], np.int64)
    huge = small * 2**40
    result = score(huge)  # type: ignore[operator]
    assert np.asarray(result).dtype == np.float64
    np.testing.assert_allclose(result, score(small), rtol=1e-15)  # type: ignore[operator]


def test_device_counts_near_the_limit_do_not_overflow() -> None:
    counts = jnp.full((2, 2), 2**30, jnp.int32)  # the sum, 2^32, does not fit int32
    np.testing.assert_allclose(pixel_accuracy(counts), 0.5)
    np.testing.assert_allclose(mean_iou(counts), 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("score", SCORES)
def test_nothing_counted_is_nan(score: object) -> None:
    for counts in (np.zeros((3, 3), int), jnp.zeros((3, 3), int)):
        assert np.isnan(score(counts)).all()  # type: ignore[operator]


@pytest.mark.parametrize("score", SCORES)
def test_wrong_shape_raises(score: object) -> None:
    for shape in ((3,), (2, 3), (1, 2, 2)):
        with pytest.raises(ValueError, match="square matrix"):
            score(np.zeros(shape, int))  # type: ignore[operator]
