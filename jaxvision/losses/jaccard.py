"""Soft Jaccard: intersection over union of predicted probabilities with a mask."""

import jax
import jax.numpy as jnp

from jaxvision.losses.soft_counts import SoftCounts, check_not_negative, class_counts, mask_counts


def binary_jaccard_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    smooth: float = 0.0,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Soft Jaccard (IoU) loss of a foreground mask, one value an image.

    .. math::
        \ell = 1 - \frac{\sum_i p_i g_i + s}{\sum_i (p_i + g_i - p_i g_i) + s}, \qquad p = \sigma(x)

    Args:
      logits: floating [N, ...]; computed in float32.
      labels: [N, ...], g: bool, integer or floating, in [0, 1].
      smooth: s >= 0. With 0 an empty mask predicted empty costs 0.
      over_batch: sums over the images too (see :func:`jaxvision.losses.binary_dice_loss`).
      where: bool, the shape of ``labels`` or its leading axes; False is left out of every sum.

    Returns:
      float32 [N], or [] if ``over_batch``; **nan** where a counted label is outside [0, 1]. An image without
      any valid element costs 0.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``smooth`` is negative.

    References:
      Rahman and Wang 2016, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image
      Segmentation", section 3.

    >>> print(binary_jaccard_loss(jnp.full((1, 4), 50.0), jnp.array([[1, 1, 0, 0]])))
    [0.5]
    """
    check_not_negative(smooth=smooth)
    counts = mask_counts(logits, labels, over_batch=over_batch, where=where)
    return counts.guarded(_jaccard(counts, smooth))


def jaccard_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    ignore_index: int | None = None,
    smooth: float = 0.0,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Soft Jaccard (IoU) loss of each class, one value an image and class.

    .. math::
        \ell_k = 1 - \frac{\sum_i p_{ik} [y_i = k] + s}{\sum_i (p_{ik} + [y_i = k] - p_{ik} [y_i = k]) + s},
        \qquad p = \operatorname{softmax}(x)

    Classes that an image lacks are left out by ``where=present_classes(labels, K)`` in the reduction, as for
    :func:`jaxvision.losses.dice_loss`.

    Args:
      logits: floating [N, ..., K]; computed in float32.
      labels: integer [N, ...], in [0, K) or ``ignore_index``.
      ignore_index: label whose elements are left out of every sum.
      smooth: s >= 0.
      over_batch: sums over the images too (see :func:`jaxvision.losses.binary_dice_loss`).
      where: bool, the shape of ``labels`` or its leading axes; False is left out of every sum.

    Returns:
      float32 [N, K], or [K] if ``over_batch``; **nan** where a counted label is outside [0, K). An image
      without any valid element costs 0.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``smooth`` is negative.

    References:
      Rahman and Wang 2016, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image
      Segmentation", section 3, one class at a time.

    >>> logits = jnp.array([[[50.0, 0.0], [0.0, 50.0], [0.0, 50.0]]])
    >>> print(jaccard_loss(logits, jnp.array([[0, 0, 1]])))
    [[0.5 0.5]]
    """
    check_not_negative(smooth=smooth)
    counts = class_counts(logits, labels, ignore_index=ignore_index, over_batch=over_batch, where=where)
    return counts.guarded(_jaccard(counts, smooth))


def _jaccard(counts: SoftCounts, smooth: float) -> jax.Array:
    union = counts.predicted + counts.true - counts.overlap + smooth
    empty = union == 0
    return jnp.where(empty, 0.0, 1.0 - (counts.overlap + smooth) / jnp.where(empty, 1.0, union))
