"""How well scores put what is true before what is not: area under the ROC curve, and average precision."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating, check_layout, check_same_shape
from jaxvision.metrics.ratios import Array, divide, widen


class RankingCounts(NamedTuple):
    """Sums over the positives; what :func:`ranking_counts` returns.

    A score that compares all pairs is no sum over batches: counts of several batches add up to the mean of the
    batches' scores, weighted by their positives. For the score of a whole set give the set in one call.

    Attributes:
      above: floating [], the share of negatives that score below each positive, a tie counting half.
      precision: floating [], the precision at the score of each positive.
      positives: integer [].
      negatives: integer [].
    """

    above: Array
    precision: Array
    positives: Array
    negatives: Array


def ranking_counts(
    scores: jax.Array, labels: jax.Array, *, where: jax.Array | None = None
) -> RankingCounts:
    r"""Compares the score of every positive with those of all others.

    .. math:: a_i = \frac{|\{j^-: s_j < s_i\}| + \tfrac 1 2 |\{j^-: s_j = s_i\}|}{n^-}, \qquad
        p_i = \frac{|\{j^+: s_j \ge s_i\}|}{|\{j: s_j \ge s_i\}|}

    Args:
      scores: floating [M], higher for what is more likely true; no nan.
      labels: [M], bool or integer: 1 for true, 0 for not.
      where: bool [M]; False is not counted.

    Raises:
      ValueError: if a shape or dtype does not fit.

    References:
      The sums behind ``roc_auc_score`` and ``average_precision_score`` of scikit-learn.

    >>> counts = ranking_counts(jnp.array([0.9, 0.4, 0.6]), jnp.array([1, 1, 0]))
    >>> float(counts.above), round(float(counts.precision), 4), int(counts.positives)
    (1.0, 1.6667, 2)
    """
    check_floating(scores=scores)
    check_layout("scores", scores, "M")
    check_same_shape(scores=scores, labels=labels)
    counted = jnp.ones(scores.shape, bool) if where is None else where
    scores = scores.astype(jnp.float32)
    positive, negative = counted & (labels == 1), counted & (labels == 0)
    num_positive, num_negative = (jnp.sum(mask, dtype=jnp.int32) for mask in (positive, negative))
    # Whatever is not counted goes to the end of the sorted scores, where no finite score finds it.
    positives = jnp.sort(jnp.where(positive, scores, jnp.inf))
    negatives = jnp.sort(jnp.where(negative, scores, jnp.inf))
    below = jnp.searchsorted(negatives, scores, side="left").astype(jnp.float32)
    not_above = jnp.searchsorted(negatives, scores, side="right").astype(jnp.float32)
    at_least = num_positive - jnp.searchsorted(positives, scores, side="left")
    false_alarms = num_negative - jnp.searchsorted(negatives, scores, side="left")
    share = 0.5 * (below + not_above) / jnp.maximum(num_negative, 1)
    precision = at_least / jnp.maximum(at_least + false_alarms, 1)
    return RankingCounts(
        jnp.sum(share, where=positive), jnp.sum(precision, where=positive), num_positive, num_negative
    )


def roc_auc(counts: RankingCounts) -> Array:
    """Area under the ROC curve: how often a positive scores above a negative.

    Args:
      counts: of :func:`ranking_counts`.

    Returns:
      floating []; nan where there is no positive or no negative.

    >>> float(roc_auc(ranking_counts(jnp.array([0.9, 0.4, 0.6]), jnp.array([1, 1, 0]))))
    0.5
    """
    xp, above = widen(counts.above)
    positives, negatives = widen(counts.positives)[1], widen(counts.negatives)[1]
    return xp.where(negatives == 0, xp.nan, divide(xp, above, positives))


def average_precision(counts: RankingCounts) -> Array:
    """Mean over the positives of the precision at their scores; without interpolation.

    Args:
      counts: of :func:`ranking_counts`.

    Returns:
      floating []; nan where there is no positive.

    >>> counts = ranking_counts(jnp.array([0.9, 0.4, 0.6]), jnp.array([1, 1, 0]))
    >>> round(float(average_precision(counts)), 4)
    0.8333
    """
    xp, precision = widen(counts.precision)
    return divide(xp, precision, widen(counts.positives)[1])
