"""One number that makes the probabilities of a trained network believable."""

import numpy as np

_STEEPEST = 1e3  # bounds of 1 / T, far beyond any network that is of use
_STEPS = 60  # halvings of the interval of log(1 / T), to about 1e-17


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    r"""Finds the temperature whose division of the logits gives the labels the greatest likelihood.

    .. math:: T = \arg\min_T -\frac 1 n \sum_i \log \operatorname{softmax}(x_i / T)_{y_i}

    The minimum is unique, for the objective is convex in 1 / T, and is found by halving an interval on its
    derivative, on the host. No prediction changes, only how sure it is. Fit it on data that the network was
    not trained on.

    Args:
      logits: floating [N, K].
      labels: integer [N], in [0, K).

    Returns:
      T > 0; 1 means that nothing was to mend, more that the network is too sure. Bounded by 1/1000 and 1000,
      one of which is reached where all images are predicted right, or a constant would do better.

    Raises:
      ValueError: if shapes do not fit, there is no image, or a logit is not finite.

    References:
      Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2 (temperature scaling).

    >>> sure = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    >>> round(fit_temperature(sure, np.array([0, 0, 1, 1])), 3)  # 3 of 4 right: log(3) = 4 / T
    3.641
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise ValueError(
            f"expected logits [N, K] and labels [N] of one image or more, got {list(logits.shape)} and "
            f"{list(labels.shape)}"
        )
    if not np.isfinite(logits).all():
        raise ValueError("logits: expected finite numbers; a network that gives nan has no temperature")
    true = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    centred = logits - logits.max(axis=1, keepdims=True)

    def slope(inverse: float) -> float:
        """Derivative of the objective by 1 / T: what the network expects of its logits less what is true."""
        weights = np.exp(inverse * centred)
        expected = (weights * logits).sum(axis=1) / weights.sum(axis=1)
        return float((expected - true).mean())

    low, high = -np.log(_STEEPEST), np.log(_STEEPEST)
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if slope(np.exp(middle)) > 0 else (middle, high)
    return float(np.exp(-0.5 * (low + high)))
