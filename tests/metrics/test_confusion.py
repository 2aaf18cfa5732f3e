import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from jaxvision.metrics import confusion, confusion_matrix
from jaxvision.metrics.confusion import product_counts, scatter_counts

count = jax.jit(confusion_matrix, static_argnums=2, static_argnames="ignore_index")


def test_by_hand() -> None:
    labels, predictions = jnp.array([[0, 0, 1], [2, 2, 2]]), jnp.array([[0, 1, 1], [2, 2, 0]])
    counts = count(labels, predictions, 3)
    assert counts.dtype == jnp.int32
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]  # rows are the truth


@pytest.mark.parametrize("num_classes", [2, 11, 150])
def test_equals_sklearn(num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    labels = rng.integers(0, num_classes, 3000).astype(np.int32)
    predictions = np.where(rng.random(3000) < 0.5, labels, rng.integers(0, num_classes, 3000)).astype(
        np.int32
    )
    labels[rng.random(3000) < 0.1] = 255
    kept = labels != 255
    expected = sklearn_metrics.confusion_matrix(
        labels[kept], predictions[kept], labels=np.arange(num_classes)
    )
    got = count(jnp.asarray(labels), jnp.asarray(predictions), num_classes, ignore_index=255)
    np.testing.assert_array_equal(got, expected)


# Fixed shapes, so that hypothesis explores values and nothing is compiled again.
pixels = st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=12, max_size=12)


@settings(max_examples=30, deadline=None)
@given(
    labels=pixels, predictions=st.lists(st.integers(0, 3), min_size=12, max_size=12), cut=st.integers(0, 12)
)
def test_counts_of_parts_add_up(labels: list[int], predictions: list[int], cut: int) -> None:
    truth, guess = jnp.array(labels), jnp.array(predictions)
    first = jnp.arange(12) < cut
    parts = [count(truth, guess, 4, ignore_index=255, where=where) for where in (first, ~first)]
    whole = count(truth, guess, 4, ignore_index=255)
    np.testing.assert_array_equal(parts[0] + parts[1], whole)
    assert int(whole.sum()) == sum(label != 255 for label in labels)


def test_where_of_images_equals_slicing() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = (jnp.asarray(rng.integers(0, 4, (3, 5, 6))) for _ in range(2))
    masked = count(labels, predictions, 4, where=jnp.array([True, False, True]))
    kept = np.array([0, 2])
    np.testing.assert_array_equal(masked, count(labels[kept], predictions[kept], 4))


def test_what_is_out_of_range_is_not_counted() -> None:
    labels, predictions = jnp.array([-1, 3, 0, 0, 1]), jnp.array([0, 0, -1, 3, 1])
    assert count(labels, predictions, 3).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_small_integer_labels_do_not_wrap() -> None:
    labels = jnp.array([149, 3], jnp.uint8)
    counts = count(labels, jnp.array([149, 149], jnp.uint8), 150)
    assert (int(counts[149, 149]), int(counts[3, 149]), int(counts.sum())) == (1, 1, 2)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1, 8193, 20_000]),
    num_classes=st.sampled_from([1, 19]),
)
def test_every_formulation_is_the_same(seed: int, size: int, num_classes: int) -> None:
    """Each platform takes one of these."""
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(0, num_classes, (2, size)).astype(np.int32)
    skipped = rng.random(size) < 0.2
    expected = np.zeros((num_classes, num_classes), int)
    np.add.at(expected, (truth[~skipped], guess[~skipped]), 1)
    truth[skipped] = guess[skipped] = num_classes
    for formulation in (scatter_counts, product_counts):
        found = formulation(jnp.asarray(truth), jnp.asarray(guess), num_classes=num_classes)
        assert found.dtype == jnp.int32
        np.testing.assert_array_equal(found, expected)


def test_a_product_counts_more_than_a_float_can() -> None:
    """Every pixel in one cell: sums of ones beyond 2^24 stop growing in float32."""
    size = 2**24 + 3
    ones = jnp.zeros(size, jnp.int32)
    assert jax.jit(product_counts, static_argnames="num_classes")(ones, ones, num_classes=1).item() == size


def test_products_are_taken_in_turns() -> None:
    """Of 2,000,000 elements and 150 classes the one-hot matrices alone would be 600 MB each."""
    elements = jax.ShapeDtypeStruct((2_000_000,), jnp.int32)
    compiled = jax.jit(product_counts, static_argnames="num_classes").lower(
        elements, elements, num_classes=150
    )
    used = compiled.compile().memory_analysis().temp_size_in_bytes
    assert used < 300e6  # a CPU widens a turn's matrices of 2 x 32 MiB to float32


def test_turns_add_up(monkeypatch) -> None:
    monkeypatch.setattr(confusion, "_BLOCK", 16)
    monkeypatch.setattr(confusion, "_HELD", 150)  # three blocks of 16 elements and 3 classes at once
    truth, guess = np.random.default_rng(0).integers(0, 4, (2, 165)).astype(np.int32)
    guess[truth == 3] = 3
    truth[guess == 3] = 3
    found = jax.jit(lambda y, p: product_counts(y, p, num_classes=3))(truth, guess)
    kept = truth < 3
    expected = sklearn_metrics.confusion_matrix(truth[kept], guess[kept], labels=range(3))
    np.testing.assert_array_equal(found, expected)


def test_one_matrix_an_image() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = (jnp.asarray(rng.integers(0, 4, (3, 5, 6))) for _ in range(2))
    where = jnp.array([True, False, True])
    each = jax.vmap(lambda y, p, w: confusion_matrix(y, p, 4, where=w))(labels, predictions, where)
    np.testing.assert_array_equal(each.sum(0), count(labels, predictions, 4, where=where))
    np.testing.assert_array_equal(each[2], count(labels[2], predictions[2], 4))
    assert not each[1].any()


def test_nothing_to_count() -> None:
    assert count(jnp.zeros((0, 4), int), jnp.zeros((0, 4), int), 2).tolist() == [[0, 0], [0, 0]]
    assert count(jnp.zeros(4, int), jnp.zeros(4, int), 2, where=jnp.zeros(4, bool)).tolist() == [
        [0, 0],
        [0, 0],
    ]


@pytest.mark.parametrize(
    ("labels", "predictions", "where", "message"),
    [
        (jnp.zeros((2, 3), int), jnp.zeros(6, int), None, "equal shapes"),
        (jnp.zeros(3, int), jnp.zeros(3), None, "predictions: expected an integer"),
        (jnp.zeros(3, int), jnp.zeros(3, int), jnp.ones(2, bool), "where"),
        (jnp.zeros(3, int), jnp.zeros(3, int), jnp.ones(3), "where"),
    ],
)
def test_wrong_arguments_raise(
    labels: jax.Array, predictions: jax.Array, where: jax.Array | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, predictions, 3, where=where)
