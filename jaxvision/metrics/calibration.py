r"""Whether probabilities are to be believed: calibration errors, reliability, Brier score, likelihood.

:func:`calibration_counts` reads the logits of a batch; its counts are added over batches and devices, and the
other functions score the sum. With :math:`B_m` the images whose highest probability is in bin m,
:math:`\operatorname{acc}` the share of them that is right and :math:`\operatorname{conf}` their mean highest
probability (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2):

* :func:`reliability`: :math:`\operatorname{acc}(B_m)` beside :math:`\operatorname{conf}(B_m)`
* :func:`expected_calibration_error`:
  :math:`\sum_m |B_m|/n\,|\operatorname{acc}(B_m) - \operatorname{conf}(B_m)|` (equation 3)
* :func:`maximum_calibration_error`:
  :math:`\max_m |\operatorname{acc}(B_m) - \operatorname{conf}(B_m)|` (equation 5)
* :func:`brier_score`: :math:`\frac 1 n \sum_i \sum_k (p_{ik} - [k = y_i])^2` (Brier 1950)
* :func:`negative_log_likelihood`: :math:`-\frac 1 n \sum_i \log p_{i y_i}`
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating, check_integer
from jaxvision.metrics.confusion import expand_counted
from jaxvision.metrics.ratios import Array, divide, widen


class CalibrationCounts(NamedTuple):
    """Sums over images; add them field by field.

    Attributes:
      total: integer [B], images in each bin of confidence.
      correct: integer [B], those of them that are predicted right.
      confidence: floating [B], sum of their highest probabilities.
      brier: floating [], sum of squared errors of all probabilities.
      nll: floating [], sum of the negative logarithms of the true classes' probabilities.
    """

    total: Array
    correct: Array
    confidence: Array
    brier: Array
    nll: Array


class Reliability(NamedTuple):
    """The table behind a reliability diagram, one row a bin.

    Attributes:
      confidence: floating [B], mean highest probability; nan for a bin without images.
      accuracy: floating [B], share that is predicted right; nan for a bin without images.
      total: floating [B], number of images.
    """

    confidence: Array
    accuracy: Array
    total: Array


def calibration_counts(
    logits: jax.Array, labels: jax.Array, *, bins: int = 15, where: jax.Array | None = None
) -> CalibrationCounts:
    """Counts how sure, and how often right, the softmax of the logits is.

    Bin m of B holds the confidences in (m / B, (m + 1) / B]. An image whose logits hold nan is in the first
    bin, is wrong, and makes its sums nan.

    Args:
      logits: floating [..., K]; computed in float32. For probabilities give their logarithms.
      labels: integer [...]. One outside [0, K) is not counted.
      bins: B; 15 in the paper.
      where: bool, the shape of ``labels`` or its leading axes; False is not counted.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``bins`` is below 1.

    >>> counts = calibration_counts(jnp.log(jnp.array([[0.9, 0.1], [0.4, 0.6]])), jnp.array([0, 0]), bins=2)
    >>> counts.total.tolist(), counts.correct.tolist(), round(float(expected_calibration_error(counts)), 4)
    ([0, 2], [0, 1], 0.25)
    """
    check_floating(logits=logits)
    check_integer(labels=labels)
    if bins < 1:
        raise ValueError(f"bins: expected at least 1, got {bins}")
    counted = expand_counted(logits, labels, where)
    # What is not counted may hold anything, nan included: it is taken out before it is summed.
    scores = jnp.where(counted[..., None], logits.astype(jnp.float32), 0.0)
    classes = jnp.where(counted, labels, 0).astype(jnp.int32)
    log_p = jax.nn.log_softmax(scores, axis=-1)  # [..., K]
    probabilities = jnp.exp(log_p)
    hit = jax.nn.one_hot(classes, logits.shape[-1])  # [..., K]
    confidence = probabilities.max(axis=-1)  # [...]
    correct = (jnp.argmax(scores, axis=-1) == classes) & ~jnp.isnan(confidence)
    place = jnp.where(jnp.isnan(confidence), 0.0, jnp.ceil(confidence * bins) - 1)
    place = jnp.clip(place, 0, bins - 1).astype(jnp.int32)

    def binned(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(jnp.where(counted, values, 0).ravel(), place.ravel(), bins)  # [B]

    true_log_p = jnp.take_along_axis(log_p, classes[..., None], axis=-1)[..., 0]
    return CalibrationCounts(
        total=binned(counted.astype(jnp.int32)),
        correct=binned(correct.astype(jnp.int32)),
        confidence=binned(confidence),
        brier=jnp.sum(jnp.square(probabilities - hit).sum(axis=-1), where=counted),
        nll=jnp.sum(-true_log_p, where=counted),
    )


def reliability(counts: CalibrationCounts) -> Reliability:
    """Accuracy beside mean confidence, each bin.

    Args:
      counts: of :func:`calibration_counts`, or sums of them.
    """
    xp, total = widen(counts.total)
    _, correct = widen(counts.correct)
    _, confidence = widen(counts.confidence)
    return Reliability(divide(xp, confidence, total), divide(xp, correct, total), total)


def expected_calibration_error(counts: CalibrationCounts) -> Array:
    """Mean distance of accuracy and confidence over the bins, weighed by their images (ECE).

    Args:
      counts: of :func:`calibration_counts`, or sums of them.

    Returns:
      floating [], in 0..1; nan if nothing was counted.
    """
    xp, total = widen(counts.total)
    _, correct = widen(counts.correct)
    _, confidence = widen(counts.confidence)
    return divide(xp, xp.abs(correct - confidence).sum(), total.sum())


def maximum_calibration_error(counts: CalibrationCounts) -> Array:
    """Greatest distance of accuracy and confidence over the bins that hold an image (MCE).

    Args:
      counts: of :func:`calibration_counts`, or sums of them.

    Returns:
      floating [], in 0..1; nan if nothing was counted.
    """
    xp, total = widen(counts.total)
    table = reliability(counts)
    distance = xp.where(total == 0, 0.0, xp.abs(table.accuracy - table.confidence))
    return xp.where(total.sum() == 0, xp.nan, distance.max())


def brier_score(counts: CalibrationCounts) -> Array:
    """Mean squared error of the probabilities, summed over the classes: 0 is best, 2 is worst.

    Args:
      counts: of :func:`calibration_counts`, or sums of them.

    Returns:
      floating []; nan if nothing was counted. For two classes it is twice the score of one probability alone
      (scikit-learn halves it there by default).
    """
    xp, total = widen(counts.total)
    return divide(xp, widen(counts.brier)[1], total.sum())


def negative_log_likelihood(counts: CalibrationCounts) -> Array:
    """Mean negative logarithm of the true class's probability: the cross entropy, in nats.

    Args:
      counts: of :func:`calibration_counts`, or sums of them.

    Returns:
      floating []; nan if nothing was counted.
    """
    xp, total = widen(counts.total)
    return divide(xp, widen(counts.nll)[1], total.sum())
