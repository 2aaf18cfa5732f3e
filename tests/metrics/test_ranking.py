"""Ranking scores against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from jaxvision.metrics import average_precision, ranking_counts, roc_auc

count = jax.jit(ranking_counts)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 40, 1000]))
def test_scores_are_those_of_scikit_learn(seed, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-levels, levels, 30).astype(np.float32) / 7  # few levels: many ties
    labels, where = rng.integers(0, 2, (2, 30))
    labels[:2], where[:2] = (0, 1), 1
    kept = where.astype(bool)
    counts = jax.device_get(count(jnp.asarray(scores), jnp.asarray(labels), where=jnp.asarray(kept)))
    assert float(roc_auc(counts)) == pytest.approx(roc_auc_score(labels[kept], scores[kept]), abs=1e-6)
    wanted = average_precision_score(labels[kept], scores[kept])
    assert float(average_precision(counts)) == pytest.approx(wanted, abs=1e-6)
    assert (counts.positives, counts.negatives) == (labels[kept].sum(), (1 - labels[kept]).sum())


def test_masked_scores_do_not_count_whatever_they_are():
    where = jnp.array([True, True, False, False])
    scores, labels = jnp.array([1.0, 2.0, jnp.nan, jnp.inf]), jnp.array([1, 0, 1, 0])
    counts = count(scores, labels, where=where)
    assert float(roc_auc(counts)) == 0.0 and float(average_precision(counts)) == 0.5


def test_a_score_without_positives_or_negatives_is_nan():
    ones = count(jnp.array([1.0, 2.0]), jnp.array([1, 1]))
    assert np.isnan(roc_auc(ones)) and float(average_precision(ones)) == 1.0
    zeros = count(jnp.array([1.0, 2.0]), jnp.array([0, 0]))
    assert np.isnan(roc_auc(zeros)) and np.isnan(average_precision(zeros))
    empty = count(jnp.zeros(0), jnp.zeros(0, jnp.int32))
    assert np.isnan(roc_auc(empty))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"expected equal shapes, got scores \[2\], labels \[3\]"):
        ranking_counts(jnp.zeros(2), jnp.zeros(3, jnp.int32))
    with pytest.raises(ValueError, match=r"scores: expected \[M\]"):
        ranking_counts(jnp.zeros((2, 2)), jnp.zeros((2, 2), jnp.int32))
    with pytest.raises(ValueError, match="scores: expected a floating dtype"):
        ranking_counts(jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32))
