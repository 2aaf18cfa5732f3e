r"""Segmentation scores from a confusion matrix, after Long et al. 2015.

With :math:`n_{ij}` pixels of class i predicted as j and :math:`t_i = \sum_j n_{ij}` pixels of class i
("Fully Convolutional Networks for Semantic Segmentation", section 4, "Metrics"):

* :func:`pixel_accuracy`: :math:`\sum_i n_{ii} / \sum_i t_i`
* :func:`mean_pixel_accuracy`: :math:`(1/K) \sum_i n_{ii} / t_i`
* :func:`mean_iou`: :math:`(1/K) \sum_i n_{ii} / u_i`, with the union
  :math:`u_i = t_i + \sum_j n_{ji} - n_{ii}`
* :func:`frequency_weighted_iou`: :math:`(\sum_k t_k)^{-1} \sum_i t_i n_{ii} / u_i`

The paper's sums run over classes that all occur. Where one does not (as in the evaluation code of
Pascal VOC and of Cityscapes):

* a class in neither truth nor prediction has no score: **nan**, and is left out of the mean;
* a class predicted but never true has an IoU of **0**, which counts in the mean IoU: the pixels are wrong.
  Its accuracy, a division by :math:`t_i = 0`, is nan and left out.

Score the counts of the whole data set once: a mean of the batches' scores is another number.

Every function takes counts of either kind: a JAX array (float32 result, goes through ``jit``) or a NumPy
array (float64 result), which is the way for int64 totals, that JAX would cut to 32 bits.
"""

from jaxvision.metrics.ratios import Array, divide, mean_of_defined, widen_matrix


def pixel_accuracy(counts: Array) -> Array:
    """Share of all counted pixels that are right (PA).

    Args:
      counts: integer [K, K], rows = truth, columns = prediction.

    Returns:
      floating []; nan if nothing was counted.

    Raises:
      ValueError: if ``counts`` is not square.

    >>> import numpy as np
    >>> float(pixel_accuracy(np.array([[3, 1], [0, 4]])))
    0.875
    """
    xp, counts = widen_matrix(counts)
    return divide(xp, xp.trace(counts), counts.sum())


def class_pixel_accuracy(counts: Array) -> Array:
    """Share of each class's pixels that are right: its recall (CPA).

    Args:
      counts: integer [K, K], rows = truth, columns = prediction.

    Returns:
      floating [K]; nan for a class that is never true.

    Raises:
      ValueError: if ``counts`` is not square.

    >>> import numpy as np
    >>> class_pixel_accuracy(np.array([[3, 1], [0, 4]])).tolist()
    [0.75, 1.0]
    """
    xp, counts = widen_matrix(counts)
    return divide(xp, xp.diagonal(counts), counts.sum(axis=1))


def mean_pixel_accuracy(counts: Array) -> Array:
    """Mean of :func:`class_pixel_accuracy` over the classes that occur in the truth (MPA).

    Args:
      counts: integer [K, K], rows = truth, columns = prediction.

    Returns:
      floating []; nan if nothing was counted.

    Raises:
      ValueError: if ``counts`` is not square.

    >>> import numpy as np
    >>> float(mean_pixel_accuracy(np.array([[3, 1], [0, 4]])))
    0.875
    """
    xp, counts = widen_matrix(counts)
    return mean_of_defined(xp, class_pixel_accuracy(counts))


def iou(counts: Array) -> Array:
    """Intersection over union of truth and prediction, each class (the Jaccard index).

    Args:
      counts: integer [K, K], rows = truth, columns = prediction.

    Returns:
      floating [K]; nan for a class in neither truth nor prediction, 0 for one predicted but never true.

    Raises:
      ValueError: if ``counts`` is not square.

    >>> import numpy as np
    >>> iou(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])).tolist()
    [0.75, 0.8, nan]
    """
    xp, counts = widen_matrix(counts)
    overlap = xp.diagonal(counts)
    return divide(xp, overlap, counts.sum(axis=1) + counts.sum(axis=0) - overlap)


def mean_iou(counts: Array) -> Array:
    """Mean of :func:`iou` over the classes in truth or prediction (mIoU).

    Args:
      counts: integer [K, K], rows = truth, columns = prediction.

    Returns:
      floating []; nan if nothing was counted.

    Raises:
      ValueError: if ``counts`` is not square.

    >>> import numpy as np
    >>> round(float(mean_iou(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))), 4)
    0.775
    """
    xp, counts = widen_matrix(counts)
    return mean_of_defined(xp, iou(counts))


def frequency_weighted_iou(counts: Array) -> Array:
    """Mean of :func:`iou` weighed by how many pixels of each class are true (FWIoU).

    Args:
      counts: integer [K, K], rows = truth, columns = prediction.

    Returns:
      floating []; nan if nothing was counted.

    Raises:
      ValueError: if ``counts`` is not square.

    >>> import numpy as np
    >>> round(float(frequency_weighted_iou(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))), 4)
    0.775
    """
    xp, counts = widen_matrix(counts)
    scores = iou(counts)
    frequencies = counts.sum(axis=1)  # 0 wherever the score is nan
    total = xp.where(xp.isnan(scores), 0.0, frequencies * scores).sum()
    return divide(xp, total, frequencies.sum())
