"""Classification scores: top-k accuracy from logits; precision, recall and F1 from a confusion matrix.

Count first, add the counts of all batches and devices, then score once: a mean of the batches' scores is
another number. The scores take counts of either kind: a JAX array (float32 result, goes through ``jit``) or a
NumPy array (float64 result), which is the way for int64 totals.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating, check_integer
from jaxvision.metrics.confusion import expand_counted
from jaxvision.metrics.ratios import Array, divide, mean_of_defined, widen, widen_matrix


class TopkCounts(NamedTuple):
    """How often the true class is among the k best.

    Attributes:
      correct: integer [], the hits.
      total: integer [], the images.
    """

    correct: Array
    total: Array


class ClassScores(NamedTuple):
    """Scores of each class; what :func:`precision_recall_f1` returns.

    Attributes:
      precision: floating [K], share of the images predicted as this class that are of it.
      recall: floating [K], share of the images of this class that are predicted as it.
      f1: floating [K], harmonic mean of the two.
      support: floating [K], number of images of this class.
    """

    precision: Array
    recall: Array
    f1: Array
    support: Array


class AverageScores(NamedTuple):
    """Scores averaged over classes.

    Attributes:
      precision: floating [].
      recall: floating []; averaged by support it is the accuracy, else the balanced accuracy.
      f1: floating [].
    """

    precision: Array
    recall: Array
    f1: Array


def topk_counts(
    logits: jax.Array, labels: jax.Array, *, k: int, where: jax.Array | None = None
) -> TopkCounts:
    """Counts the images whose class is among the k highest logits.

    Of equal logits the lower class index comes first, as in ``jnp.argmax`` and ``lax.top_k``: a network that
    gives all classes one score has the accuracy of guessing class 0. A row that holds nan is a miss.

    Args:
      logits: floating [..., K].
      labels: integer [...]. One outside [0, K) is not counted at all, as in :func:`confusion_matrix`.
      k: at least 1; from K on every image is a hit (as scikit-learn has it; torch's ``topk`` raises), so that
        one script can report the top 5 of any data set.
      where: bool, the shape of ``labels`` or its leading axes; False is not counted.

    Returns:
      int32 counts; add them over batches, devices and hosts.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``k`` is below 1.

    >>> counts = topk_counts(jnp.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]), jnp.array([1, 0]), k=2)
    >>> int(counts.correct), int(counts.total)
    (1, 2)
    """
    check_floating(logits=logits)
    check_integer(labels=labels)
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    counted = expand_counted(logits, labels, where)
    classes = jnp.where(counted, labels, 0).astype(jnp.int32)
    own = jnp.take_along_axis(logits, classes[..., None], axis=-1)  # [..., 1]
    index = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    before = (logits > own) | ((logits == own) & (index < classes[..., None]))
    rank = jnp.sum(before, axis=-1, dtype=jnp.int32)  # [...]
    hit = counted & (rank < k) & ~jnp.isnan(logits).any(axis=-1)
    return TopkCounts(jnp.sum(hit, dtype=jnp.int32), jnp.sum(counted, dtype=jnp.int32))


def topk_accuracy(counts: TopkCounts) -> Array:
    """Share of hits.

    Args:
      counts: of :func:`topk_counts`, or sums of them.

    Returns:
      floating []; nan if nothing was counted.

    >>> import numpy as np
    >>> float(topk_accuracy(TopkCounts(np.int64(3), np.int64(4))))
    0.75
    """
    xp, correct = widen(counts.correct)
    return divide(xp, correct, widen(counts.total)[1])


def precision_recall_f1(counts: Array, *, zero_division: float = 0.0) -> ClassScores:
    r"""Precision, recall and F1 of each class.

    .. math:: P_i = \frac{n_{ii}}{\sum_j n_{ji}}, \quad R_i = \frac{n_{ii}}{\sum_j n_{ij}}, \quad
        F_i = \frac{2 n_{ii}}{\sum_j n_{ij} + \sum_j n_{ji}}

    Args:
      counts: integer [K, K], rows = truth, columns = prediction (:func:`confusion_matrix`).
      zero_division: the precision of a class that is true somewhere but never predicted, and the recall of
        one that is predicted but never true. nan leaves them out of averages.

    Returns:
      Scores [K] each. A class in neither truth nor prediction has **nan**, and is left out of averages.

    Raises:
      ValueError: if ``counts`` is not square.

    References:
      ``sklearn.metrics.precision_recall_fscore_support``, which by default looks at the classes that occur;
      its default for ``zero_division`` is 0 with a warning.

    >>> import numpy as np
    >>> scores = precision_recall_f1(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    >>> scores.precision.tolist(), scores.recall.tolist()
    ([1.0, 0.8, nan], [0.75, 1.0, nan])
    """
    xp, counts = widen_matrix(counts)
    hits, true, predicted = xp.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)

    def ratio(denominator: Array) -> Array:
        score = xp.where(denominator == 0, zero_division, divide(xp, hits, denominator))
        return xp.where(true + predicted == 0, xp.nan, score)

    return ClassScores(ratio(predicted), ratio(true), divide(xp, 2 * hits, true + predicted), true)


def macro_average(scores: ClassScores) -> AverageScores:
    """Mean over the classes, each with the same weight; those with nan are left out.

    Args:
      scores: of :func:`precision_recall_f1`.

    Returns:
      floating []; nan if no class has a score.

    >>> import numpy as np
    >>> scores = precision_recall_f1(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    >>> float(macro_average(scores).recall)
    0.875
    """
    xp, _ = widen(scores.support)
    return AverageScores(*(mean_of_defined(xp, values) for values in scores[:3]))


def weighted_average(scores: ClassScores) -> AverageScores:
    """Mean over the classes, each with its number of true images as weight; those with nan are left out.

    Args:
      scores: of :func:`precision_recall_f1`.

    Returns:
      floating []; nan if no class with a score is true anywhere.

    >>> import numpy as np
    >>> scores = precision_recall_f1(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    >>> float(weighted_average(scores).precision)
    0.9
    """
    xp, support = widen(scores.support)

    def average(values: Array) -> Array:
        weights = xp.where(xp.isnan(values), 0.0, support)
        return divide(xp, (weights * xp.where(xp.isnan(values), 0.0, values)).sum(), weights.sum())

    return AverageScores(*(average(values) for values in scores[:3]))
