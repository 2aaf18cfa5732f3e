"""Weights of classes from how many pixels each has, on the host: numpy in, numpy out.

A weight makes a rare class count as much as a common one. All rules take counts over a whole training set
(:func:`jaxvision.data.count_classes`) and give float64 ``[K]`` for the ``class_weights`` of a loss. A class
that never occurs has the weight 0: no pixel of it is there to be weighed.
"""

import numpy as np


def median_frequency_weights(pixels: np.ndarray, image_pixels: np.ndarray) -> np.ndarray:
    r"""Median frequency balancing: the weight of a class is the median frequency over its own.

    .. math:: w_k = \operatorname{median}(f) / f_k, \qquad f_k = n_k / m_k

    Args:
      pixels: integer [K], :math:`n_k`, pixels of each class.
      image_pixels: integer [K], :math:`m_k`, pixels of all classes in the images that hold this one.

    Returns:
      float64 [K].

    Raises:
      ValueError: if counts are negative, no class occurs, or the shapes differ.

    References:
      Eigen and Fergus 2015, "Predicting Depth, Surface Normals and Semantic Labels", section 6.3.2;
      Badrinarayanan, Kendall, Cipolla 2017, "SegNet", section 3. Void pixels are no part of the total here.

    >>> median_frequency_weights(np.array([80, 10, 10]), np.array([100, 100, 50])).round(3).tolist()
    [0.25, 2.0, 1.0]
    """
    pixels, image_pixels = _checked(pixels), np.asarray(image_pixels, np.float64)
    if image_pixels.shape != pixels.shape or (image_pixels < pixels).any():
        raise ValueError(
            f"image_pixels: got {image_pixels.tolist()} for pixels {pixels.tolist()}, expected as many "
            "numbers, none below its own: all pixels of the images that hold the class"
        )
    present = pixels > 0
    frequencies = pixels[present] / image_pixels[present]
    return _placed(present, np.median(frequencies) / frequencies)


def inverse_frequency_weights(pixels: np.ndarray) -> np.ndarray:
    r"""The inverse of each class's share, so scaled that the mean weight of a pixel is 1.

    .. math:: w_k = \frac{\sum_j n_j}{K' n_k}, \qquad K' \text{ classes that occur}

    Args:
      pixels: integer [K], :math:`n_k`.

    Returns:
      float64 [K].

    Raises:
      ValueError: if counts are negative or no class occurs.

    References:
      King and Zeng 2001, "Logistic Regression in Rare Events Data", section 3.3; scikit-learn's "balanced".

    >>> inverse_frequency_weights(np.array([80, 10, 10])).round(3).tolist()
    [0.417, 3.333, 3.333]
    """
    pixels = _checked(pixels)
    present = pixels > 0
    return _placed(present, pixels.sum() / (present.sum() * pixels[present]))


def log_frequency_weights(pixels: np.ndarray, *, offset: float = 1.02) -> np.ndarray:
    r"""The inverse of the logarithm of each class's share: bounded, where the plain inverse is not.

    .. math:: w_k = 1 / \ln(c + n_k / \textstyle\sum_j n_j)

    Args:
      pixels: integer [K], :math:`n_k`.
      offset: c > 1; with 1.02 weights lie between 1.4 and 50.5.

    Returns:
      float64 [K]; a class that never occurs has the weight 0, where the formula gives its largest.

    Raises:
      ValueError: if counts are negative, no class occurs, or ``offset`` is not above 1.

    References:
      Paszke et al. 2016, "ENet", section 4 (training).

    >>> log_frequency_weights(np.array([80, 10, 10])).round(3).tolist()
    [1.67, 8.824, 8.824]
    """
    if offset <= 1:
        raise ValueError(f"offset: expected a number > 1, got {offset}")
    pixels = _checked(pixels)
    present = pixels > 0
    return _placed(present, 1.0 / np.log(offset + pixels[present] / pixels.sum()))


def effective_number_weights(counts: np.ndarray, *, beta: float = 0.9999) -> np.ndarray:
    r"""The inverse of the effective number of samples, so scaled that the weights of K classes add up to K.

    .. math:: w_k \propto \frac{1 - \beta}{1 - \beta^{n_k}}

    Args:
      counts: integer [K], :math:`n_k`, samples of each class. Pixels of one image are no independent samples,
        and :math:`\beta^n` of millions is 0 for all classes alike: count images that hold the class.
      beta: in [0, 1]; 0 for no weights, 1 for the plain inverse.

    Returns:
      float64 [K].

    Raises:
      ValueError: if counts are negative, no class occurs, or ``beta`` is outside [0, 1].

    References:
      Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", equation 2 and section 4
      (scale). The classes that never occur do not count in K.

    >>> effective_number_weights(np.array([1000, 10]), beta=0.99).round(3).tolist()
    [0.175, 1.825]
    """
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta: expected a number in [0, 1], got {beta}")
    counts = _checked(counts)
    present = counts > 0
    number = counts[present] if beta == 1.0 else (1.0 - beta ** counts[present]) / (1.0 - beta)
    weights = 1.0 / number
    return _placed(present, weights * present.sum() / weights.sum())


def _checked(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or not (counts >= 0).all() or not np.isfinite(counts).all():
        raise ValueError(f"counts: got {counts.tolist()}, expected [K] numbers >= 0, one a class")
    if not counts.any():
        raise ValueError("counts: no class occurs, so there is nothing to weigh; look at the labels")
    return counts


def _placed(present: np.ndarray, weights: np.ndarray) -> np.ndarray:
    placed = np.zeros(len(present))
    placed[present] = weights
    return placed
