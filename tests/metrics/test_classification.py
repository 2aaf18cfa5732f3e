import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from jaxvision.metrics import (
    TopkCounts,
    confusion_matrix,
    macro_average,
    precision_recall_f1,
    topk_accuracy,
    topk_counts,
    weighted_average,
)

count = jax.jit(topk_counts, static_argnames="k")
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (50, 7)).astype(np.float32)
LABELS = RNG.integers(0, 7, 50).astype(np.int32)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_topk_equals_sklearn(k: int) -> None:
    expected = sklearn_metrics.top_k_accuracy_score(LABELS, LOGITS, k=k, labels=np.arange(7))
    counts = count(jnp.asarray(LOGITS), jnp.asarray(LABELS), k=k)
    assert counts.correct.dtype == counts.total.dtype == jnp.int32
    np.testing.assert_allclose(topk_accuracy(counts), expected, rtol=1e-6)


def test_top_five_of_three_classes_is_always_right() -> None:
    for k in (3, 5):
        counts = count(jnp.asarray(LOGITS[:, :3]), jnp.asarray(LABELS % 3), k=k)
        assert (int(counts.correct), int(counts.total)) == (50, 50)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.sampled_from([-1.0, 0.0, 2.0]), min_size=4, max_size=4), min_size=6, max_size=6
    ),
    labels=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    k=st.integers(1, 4),
)
def test_ties_are_broken_as_in_a_stable_sort(rows: list, labels: list, k: int) -> None:
    best = np.argsort(-np.array(rows), axis=-1, kind="stable")[:, :k]
    expected = sum(label in row for label, row in zip(labels, best, strict=True))
    assert int(count(jnp.array(rows), jnp.array(labels), k=k).correct) == expected


def test_a_network_without_an_opinion_is_not_right_about_everything() -> None:
    counts = count(jnp.zeros((4, 4)), jnp.arange(4), k=1)
    assert int(counts.correct) == 1
    for garbage in (jnp.nan, -jnp.nan):
        assert int(count(jnp.full((4, 4), garbage), jnp.arange(4), k=2).correct) == 0
    one_nan = jnp.zeros((1, 4)).at[0, 3].set(jnp.nan)
    assert int(count(one_nan, jnp.array([0]), k=1).correct) == 0
    assert int(count(jnp.array([[-jnp.inf, 0.0, jnp.inf]]), jnp.array([2]), k=1).correct) == 1


def test_where_and_stray_labels_are_not_counted() -> None:
    logits = jnp.array([[9.0, 0.0]] * 5).at[4].set(jnp.nan)
    counts = count(logits, jnp.array([0, 1, -1, 2, 0]), k=1, where=jnp.array([True] * 4 + [False]))
    assert (int(counts.correct), int(counts.total)) == (1, 2)


def test_counts_of_parts_add_up() -> None:
    logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    whole = count(logits, labels, k=2)
    first = jnp.arange(50) < 20
    parts = [count(logits, labels, k=2, where=where) for where in (first, ~first)]
    assert jax.tree.map(lambda a, b: int(a + b), *parts) == jax.tree.map(int, whole)
    sliced = count(logits[:20], labels[:20], k=2)
    assert jax.tree.map(int, parts[0]) == jax.tree.map(int, sliced)


def test_half_precision_and_no_images() -> None:
    assert int(count(jnp.array([[1.0, 2.0]], jnp.bfloat16), jnp.array([1], jnp.uint8), k=1).correct) == 1
    empty = count(jnp.zeros((0, 3)), jnp.zeros(0, int), k=1)
    assert int(empty.total) == 0
    assert np.isnan(topk_accuracy(empty))


@pytest.mark.parametrize(
    ("logits", "labels", "k", "message"),
    [
        (jnp.zeros((2, 3)), jnp.zeros(2, int), 0, "k: expected at least 1, got 0"),
        (jnp.zeros((2, 3)), jnp.zeros(3, int), 1, r"got logits \[2, 3\] and labels \[3\]"),
        (jnp.zeros((2, 3), int), jnp.zeros(2, int), 1, "logits: expected a floating dtype"),
        (jnp.zeros((2, 3)), jnp.zeros(2), 1, "labels: expected an integer dtype"),
    ],
)
def test_bad_arguments_are_named(logits: jax.Array, labels: jax.Array, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        topk_counts(logits, labels, k=k)


def test_a_bad_mask_is_named() -> None:
    with pytest.raises(ValueError, match="where: expected a boolean mask"):
        topk_counts(jnp.zeros((2, 3)), jnp.zeros(2, int), k=1, where=jnp.ones(2))


cells = st.lists(st.integers(0, 4), min_size=16, max_size=16)


@settings(max_examples=60, deadline=None)
@given(cells=cells, zero_division=st.sampled_from([0.0, 1.0, np.nan]), on_device=st.booleans())
def test_scores_equal_sklearn(cells: list[int], zero_division: float, on_device: bool) -> None:
    matrix = np.array(cells).reshape(4, 4)
    if not matrix.sum():
        return
    labels, predictions = (np.repeat(index.ravel(), matrix.ravel()) for index in np.indices((4, 4)))
    present = np.union1d(labels, predictions)
    options = {"zero_division": zero_division}
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        labels, predictions, labels=present, **options
    )
    counts = jnp.asarray(matrix) if on_device else matrix
    scores = precision_recall_f1(counts, **options)
    assert scores.precision.dtype == (np.float32 if on_device else np.float64)
    for ours, theirs in zip(scores, (precision, recall, f1, support), strict=True):
        np.testing.assert_allclose(np.asarray(ours)[present], theirs, rtol=1e-6)
    absent = np.setdiff1d(np.arange(4), present)
    assert np.isnan(np.asarray(scores.f1)[absent]).all()
    for average, ours in (("macro", macro_average(scores)), ("weighted", weighted_average(scores))):
        theirs = sklearn_metrics.precision_recall_fscore_support(
            labels, predictions, average=average, **options
        )
        np.testing.assert_allclose(ours, np.array(theirs[:3], float), rtol=1e-6)


def test_averages_are_accuracies() -> None:
    predictions = LOGITS.argmax(-1)
    scores = precision_recall_f1(confusion_matrix(jnp.asarray(LABELS), jnp.asarray(predictions), 7))
    np.testing.assert_allclose(
        macro_average(scores).recall, sklearn_metrics.balanced_accuracy_score(LABELS, predictions), rtol=1e-6
    )
    np.testing.assert_allclose(weighted_average(scores).recall, (predictions == LABELS).mean(), rtol=1e-6)


def test_nothing_counted_scores_nan() -> None:
    scores = precision_recall_f1(np.zeros((3, 3), int))
    assert np.isnan(np.array(macro_average(scores) + weighted_average(scores))).all()
    assert scores.support.tolist() == [0, 0, 0]
    assert np.isnan(topk_accuracy(TopkCounts(np.int64(0), np.int64(0))))


def test_wide_totals_are_not_cut_to_32_bits() -> None:
    counts = TopkCounts(np.int64(3 * 2**40), np.int64(2**42))
    assert float(topk_accuracy(counts)) == 0.75


def test_a_matrix_that_is_not_square_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"counts: expected a square matrix \[K, K\] of counts, got \[2, 3\]"
    ):
        precision_recall_f1(np.zeros((2, 3), int))
