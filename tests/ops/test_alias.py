import jax
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxvision.ops import alias_table, sample_alias


@settings(deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e6, allow_subnormal=False)))
def test_the_columns_add_up_to_the_distribution(weights):
    if weights.sum() == 0:
        return
    table = alias_table(weights)
    threshold, alias = np.asarray(table.threshold, np.float64), np.asarray(table.alias)
    shares = threshold.copy()
    np.add.at(shares, alias, 1 - threshold)
    np.testing.assert_allclose(shares / len(weights), weights / weights.sum(), atol=1e-6)
    assert threshold.min() >= 0 and threshold.max() <= 1
    assert not shares[weights == 0].any(), "an outcome without weight is never drawn"


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31))
def test_draws_have_the_frequencies_of_the_weights(seed):
    weights = np.array([5.0, 1.0, 0.0, 2.5, 0.5])
    drawn = jax.jit(lambda key: sample_alias(key, alias_table(weights), (100, 200)))(jax.random.key(seed))
    assert drawn.shape == (100, 200) and drawn.dtype == np.int32
    counts = np.bincount(np.asarray(drawn).ravel(), minlength=5)
    assert counts[2] == 0
    expected = weights[weights > 0] / weights.sum() * counts.sum()
    assert scipy.stats.chisquare(counts[weights > 0], expected).pvalue > 1e-6


@pytest.mark.parametrize("unit", [2.3e-308, 1e308])
def test_weights_at_the_ends_of_a_floats_range(unit):
    table = alias_table(unit * np.array([1.0, 0.0, 1.0]))
    assert table.threshold.tolist()[1] == 0 and np.isfinite(np.asarray(table.threshold)).all()


def test_one_outcome_and_no_draws():
    table = alias_table(np.array([3.0]))
    assert sample_alias(jax.random.key(0), table, (4,)).tolist() == [0, 0, 0, 0]
    assert sample_alias(jax.random.key(0), table, (0,)).shape == (0,)


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [1.0, np.nan], [np.inf]])
def test_weights_of_no_distribution_are_refused(weights):
    with pytest.raises(ValueError, match="expected finite numbers of 0 or more, not all 0"):
        alias_table(np.array(weights))
    with pytest.raises(ValueError, match=r"weights: expected \[V\]"):
        alias_table(np.ones((2, 2)))
