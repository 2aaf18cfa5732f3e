"""Edit distance against the textbook's table; counts that add."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.metrics import edit_distance, label_error_rate, sequence_accuracy, transcript_counts

WIDTH = 6
distance = jax.jit(edit_distance)


def levenshtein(a, b):
    """By its recursion."""

    @functools.cache
    def between(i, j):
        if i == 0 or j == 0:
            return i + j
        return min(
            between(i - 1, j) + 1, between(i, j - 1) + 1, between(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        )

    return between(len(a), len(b))


def padded(words, fill):
    rows = np.full((len(words), WIDTH), fill, np.int32)
    for row, word in zip(rows, words, strict=True):
        row[: len(word)] = word
    return jnp.asarray(rows), jnp.array([len(word) for word in words], jnp.int32)


words = st.lists(st.integers(0, 2), max_size=WIDTH)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=5, max_size=5))
def test_the_distance_is_that_of_the_recursion(pairs):
    first, second = ([tuple(pair[side]) for pair in pairs] for side in (0, 1))
    found = distance(*padded(first, 7), *padded(second, 9))
    assert found.tolist() == [levenshtein(a, b) for a, b in zip(first, second, strict=True)]


def test_counts_of_parts_add_up_to_those_of_the_whole():
    read, lengths = padded([(1, 2), (3,), (), (4, 4)], -1)
    truth, true_lengths = padded([(1, 2), (3, 3), (1,), (5, 4)], -1)
    whole = transcript_counts(read, lengths, truth, true_lengths)
    assert [int(field) for field in whole] == [3, 7, 1, 4]
    parts = [
        transcript_counts(read, lengths, truth, true_lengths, where=jnp.array(mask))
        for mask in ([True, False, True, False], [False, True, False, True])
    ]
    assert [int(sum(fields)) for fields in zip(*parts, strict=True)] == [3, 7, 1, 4]
    assert float(label_error_rate(whole)) == pytest.approx(3 / 7)
    assert float(sequence_accuracy(whole)) == 0.25


def test_no_sequence_has_no_score():
    empty = transcript_counts(*padded([], 0), *padded([], 0))
    assert np.isnan(label_error_rate(empty)) and np.isnan(sequence_accuracy(empty))


def test_wrong_shapes():
    read, lengths = padded([(1,)], 0)
    with pytest.raises(ValueError, match="lengths"):
        edit_distance(read, lengths[None], read, lengths)
    with pytest.raises(ValueError, match="true_labels"):
        edit_distance(read, lengths, read[:, 0], lengths)
