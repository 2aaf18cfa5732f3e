r"""Boundary IoU: how well the outlines of the classes meet, after Cheng et al. 2021.

:func:`boundary_counts` of a batch, added over batches, devices and hosts, then :func:`boundary_iou` once.
With :math:`G_k, P_k` the pixels of class k in truth and prediction, and :math:`G_{k,d}` those of them within
d pixels of the outline,

.. math:: \operatorname{BoundaryIoU}_k = \frac{|G_{k,d} \cap P_{k,d}|}{|G_{k,d} \cup P_{k,d}|}

Large regions, whose IoU hardly feels their outline, are scored like small ones. The IoU in a band around the
true outlines alone (the "trimap" of Kohli et al. 2009) needs no function of its own::

    band = label_edges(labels, width=d, border=False)
    counts = confusion_matrix(labels, predictions, num_classes, ignore_index=255, where=band)
"""

import math

import jax
import jax.numpy as jnp

from jaxvision.core import check_integer, check_layout, check_same_shape
from jaxvision.metrics.confusion import confusion_matrix
from jaxvision.metrics.ratios import Array, mean_of_defined, widen_matrix
from jaxvision.metrics.segmentation import iou
from jaxvision.ops import label_edges


def boundary_counts(
    labels: jax.Array,
    predictions: jax.Array,
    num_classes: int,
    *,
    dilation_ratio: float = 0.02,
    ignore_index: int | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    """Confusion matrix of the pixels near outlines; all other pixels are a class of their own, the last.

    Args:
      labels: integer [..., H, W], the truth.
      predictions: integer [..., H, W], class indices.
      num_classes: K, static.
      dilation_ratio: d as a share of the image's diagonal; at least one pixel. 0.02 in the paper, which is 23
        pixels of 512 x 1024, and 0.005 for the large images of Cityscapes.
      ignore_index: label whose elements are not counted. It borders on the classes beside it.
      where: bool, the shape of ``labels`` or its leading axes; False is not counted.

    Returns:
      int32 [K + 1, K + 1], rows = truth, columns = prediction. An element whose label or prediction is
      outside [0, K) is not counted.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``dilation_ratio`` is not positive.

    References:
      Cheng et al. 2021, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", section 5
      and the authors' code: the outline is taken away by erosions with a square of 3 x 3, and where the image
      ends there is one.

    >>> counts = boundary_counts(jnp.array([[0, 0, 1, 1]]), jnp.array([[0, 0, 0, 1]]), 2)
    >>> print(boundary_iou(counts))
    [0.6666667 0.5      ]
    """
    check_integer(labels=labels, predictions=predictions)
    check_same_shape(labels=labels, predictions=predictions)
    check_layout("labels", labels, "... H W")
    if dilation_ratio <= 0:
        raise ValueError(f"dilation_ratio: expected a number > 0, got {dilation_ratio}")
    width = max(1, round(dilation_ratio * math.hypot(*labels.shape[-2:])))
    void = labels == ignore_index if ignore_index is not None else jnp.zeros(labels.shape, bool)
    outer_truth, outer_guess = (
        _outer(classes, num_classes, width=width) for classes in (labels, predictions)
    )
    return confusion_matrix(jnp.where(void, -1, outer_truth), outer_guess, num_classes + 1, where=where)


def boundary_iou(counts: Array) -> Array:
    """Boundary IoU of each class.

    Args:
      counts: of :func:`boundary_counts`, or sums of them: integer [K + 1, K + 1].

    Returns:
      floating [K]; nan for a class in neither truth nor prediction.

    Raises:
      ValueError: if ``counts`` is not square.
    """
    return iou(counts)[:-1]


def mean_boundary_iou(counts: Array) -> Array:
    """Mean of :func:`boundary_iou` over the classes in truth or prediction.

    Args:
      counts: of :func:`boundary_counts`, or sums of them: integer [K + 1, K + 1].

    Returns:
      floating []; nan if nothing was counted.

    Raises:
      ValueError: if ``counts`` is not square.
    """
    xp, counts = widen_matrix(counts)
    return mean_of_defined(xp, boundary_iou(counts))


def _outer(classes: jax.Array, num_classes: int, *, width: int) -> jax.Array:
    """The classes near their outlines, K inside of them, -1 for what is no class."""
    classes = classes.astype(jnp.int32)
    known = (classes >= 0) & (classes < num_classes)
    edges = label_edges(classes, width=width, border=True)
    return jnp.where(known, jnp.where(edges, classes, num_classes), -1)
