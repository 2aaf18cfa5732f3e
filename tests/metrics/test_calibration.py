import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from sklearn import metrics as sklearn_metrics

from jaxvision.metrics import (
    CalibrationCounts,
    brier_score,
    calibration_counts,
    expected_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
    reliability,
)

count = jax.jit(calibration_counts, static_argnames="bins")
RNG = np.random.default_rng(3)
LOGITS = RNG.normal(0, 2, (400, 5)).astype(np.float32)
LABELS = np.where(RNG.random(400) < 0.5, LOGITS.argmax(-1), RNG.integers(0, 5, 400)).astype(np.int32)
PROBABILITIES = scipy.special.softmax(LOGITS.astype(np.float64), axis=-1)


def restated(bins: int) -> tuple[float, float, np.ndarray]:
    """ECE, MCE and the number of images a bin, by the words of the paper: a loop over intervals (a, b]."""
    confidence, right = PROBABILITIES.max(-1), PROBABILITIES.argmax(-1) == LABELS
    edges = np.linspace(0, 1, bins + 1)
    gaps, sizes = [], []
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        sizes.append(inside.sum())
        gaps.append(abs(right[inside].mean() - confidence[inside].mean()) if inside.any() else 0.0)
    return float(np.dot(sizes, gaps) / len(LABELS)), max(gaps), np.array(sizes)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_errors_equal_the_paper_restated(bins: int) -> None:
    counts = count(jnp.asarray(LOGITS), jnp.asarray(LABELS), bins=bins)
    ece, mce, sizes = restated(bins)
    np.testing.assert_array_equal(counts.total, sizes)
    assert counts.total.dtype == counts.correct.dtype == jnp.int32
    np.testing.assert_allclose(expected_calibration_error(counts), ece, rtol=1e-4)
    np.testing.assert_allclose(maximum_calibration_error(counts), mce, rtol=1e-4)


def test_brier_and_likelihood_equal_sklearn() -> None:
    counts = count(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    expected = sklearn_metrics.log_loss(LABELS, PROBABILITIES, labels=np.arange(5))
    np.testing.assert_allclose(negative_log_likelihood(counts), expected, rtol=1e-5)
    expected = sklearn_metrics.brier_score_loss(LABELS, PROBABILITIES, labels=np.arange(5))
    np.testing.assert_allclose(brier_score(counts), expected, rtol=1e-5)


def test_reliability_by_hand() -> None:
    probabilities = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.3, 0.7]])
    table = reliability(count(jnp.log(probabilities), jnp.array([0, 1, 0, 1]), bins=4))
    np.testing.assert_allclose(table.confidence, [np.nan, np.nan, 0.7, 0.85], rtol=1e-6)
    np.testing.assert_allclose(table.accuracy, [np.nan, np.nan, 1.0, 0.5])
    assert table.total.tolist() == [0, 0, 2, 2]


def test_a_confidence_on_an_edge_is_in_the_lower_bin() -> None:
    logits = jnp.array([[0.0, 0.0], [200.0, -200.0]])
    assert count(logits, jnp.array([0, 0]), bins=2).total.tolist() == [1, 1]
    assert count(logits, jnp.array([0, 0]), bins=4).total.tolist() == [0, 1, 0, 1]


def test_perfect_and_worst_scores() -> None:
    sure = jnp.array([[200.0, -200.0]] * 3)
    right, wrong = count(sure, jnp.zeros(3, int)), count(sure, jnp.ones(3, int))
    for score in (
        expected_calibration_error,
        maximum_calibration_error,
        brier_score,
        negative_log_likelihood,
    ):
        assert float(score(right)) == 0.0
    values = [float(score(wrong)) for score in (expected_calibration_error, brier_score)]
    assert values == [1.0, 2.0]
    assert float(negative_log_likelihood(wrong)) == 400.0


def test_counts_of_parts_add_up_on_the_host() -> None:
    logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    first = jnp.arange(400) < 150
    parts = [count(logits, labels, where=where) for where in (first, ~first)]
    sums = jax.tree.map(lambda a, b: np.asarray(a, np.float64) + np.asarray(b, np.float64), *parts)
    whole = count(logits, labels)
    for score in (
        expected_calibration_error,
        maximum_calibration_error,
        brier_score,
        negative_log_likelihood,
    ):
        assert score(sums).dtype == np.float64
        np.testing.assert_allclose(score(sums), score(whole), rtol=1e-5)
    sliced = count(logits[:150], labels[:150])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), parts[0], sliced)


def test_eight_shards_add_up_by_psum() -> None:
    logits, labels = jnp.asarray(LOGITS).reshape(8, 50, 5), jnp.asarray(LABELS).reshape(8, 50)

    def shard(logits: jax.Array, labels: jax.Array) -> CalibrationCounts:
        return jax.lax.psum(calibration_counts(logits, labels), "data")

    summed = jax.vmap(shard, axis_name="data")(logits, labels)
    whole = count(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[3], b, rtol=1e-5), summed, whole)


def test_what_is_not_counted_may_hold_anything() -> None:
    logits = jnp.asarray(LOGITS[:4]).at[2].set(jnp.nan)
    labels = jnp.asarray(LABELS[:4]).at[3].set(-1)
    masked = count(logits, labels, where=jnp.array([True, True, False, True]))
    sliced = count(logits[:2], labels[:2])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), masked, sliced)


def test_nan_is_not_hidden() -> None:
    counts = count(jnp.full((2, 3), jnp.nan), jnp.array([0, 1]))
    assert counts.correct.tolist() == [0] * 15
    for score in (
        expected_calibration_error,
        maximum_calibration_error,
        brier_score,
        negative_log_likelihood,
    ):
        assert np.isnan(score(counts))


def test_no_images_score_nan() -> None:
    counts = count(jnp.zeros((0, 3)), jnp.zeros(0, int))
    for score in (
        expected_calibration_error,
        maximum_calibration_error,
        brier_score,
        negative_log_likelihood,
    ):
        assert np.isnan(score(counts))


@pytest.mark.parametrize(
    ("logits", "labels", "bins", "message"),
    [
        (jnp.zeros((2, 3)), jnp.zeros(2, int), 0, "bins: expected at least 1, got 0"),
        (jnp.zeros((2, 3)), jnp.zeros((2, 3), int), 15, r"got logits \[2, 3\] and labels \[2, 3\]"),
        (jnp.zeros((2, 3), int), jnp.zeros(2, int), 15, "logits: expected a floating dtype"),
    ],
)
def test_bad_arguments_are_named(logits: jax.Array, labels: jax.Array, bins: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration_counts(logits, labels, bins=bins)
