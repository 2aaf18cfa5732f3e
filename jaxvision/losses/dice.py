"""Soft Dice: overlap of predicted probabilities with a mask, indifferent to how small the mask is."""

import jax
import jax.numpy as jnp

from jaxvision.core import check_integer
from jaxvision.losses.soft_counts import (
    SoftCounts,
    check_not_negative,
    class_counts,
    class_hits,
    counted_elements,
    mask_counts,
    summed_axes,
)


def binary_dice_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    smooth: float = 1.0,
    squared: bool = False,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Soft Dice loss of a foreground mask, one value an image.

    .. math::
        \ell = 1 - \frac{2 \sum_i p_i g_i + s}{\sum_i p_i + \sum_i g_i + s}, \qquad p = \sigma(x)

    Args:
      logits: floating [N, ...]; computed in float32.
      labels: [N, ...], g: bool, integer or floating, in [0, 1].
      smooth: s >= 0. With 0 an empty mask predicted empty costs 0.
      squared: squares p and g in the denominator, as Milletari et al. do.
      over_batch: sums over the images too, for batches with many empty masks. The sums are those of
        the arrays given: the global batch under a sharded ``jit``, the device's own under ``pmap``.
      where: bool, the shape of ``labels`` or its leading axes; False is left out of every sum.

    Returns:
      float32 [N], or [] if ``over_batch``; **nan** where a counted label is outside [0, 1]. An image without
      any valid element costs 0.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``smooth`` is negative.

    References:
      Milletari, Navab, Ahmadi 2016, "V-Net", section 3: no smoothing, squared denominator. The plain
      denominator, with s = 1, is the usual one since Drozdzal et al. 2016, and the default here.

    >>> import jax.numpy as jnp
    >>> print(binary_dice_loss(jnp.full((1, 4), 50.0), jnp.array([[1, 1, 0, 0]]), smooth=0.0).round(4))
    [0.3333]
    """
    check_not_negative(smooth=smooth)
    counts = mask_counts(logits, labels, over_batch=over_batch, where=where, squared=squared)
    return counts.guarded(dice_of(counts, smooth))


def dice_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    ignore_index: int | None = None,
    smooth: float = 1.0,
    squared: bool = False,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Soft Dice loss of each class, one value an image and class.

    .. math::
        \ell_k = 1 - \frac{2 \sum_i p_{ik} [y_i = k] + s}{\sum_i p_{ik} + \sum_i [y_i = k] + s},
        \qquad p = \operatorname{softmax}(x)

    A class that is absent from an image still costs whatever probability it is given there. To leave such
    pairs out, reduce with ``where=present_classes(labels, K)``; to leave the background out, slice it off
    (``dice_loss(...)[:, 1:]``).

    Args:
      logits: floating [N, ..., K]; computed in float32.
      labels: integer [N, ...], in [0, K) or ``ignore_index``.
      ignore_index: label whose elements are left out of every sum.
      smooth: s >= 0.
      squared: squares p in the denominator, as Milletari et al. do.
      over_batch: sums over the images too (see :func:`binary_dice_loss`).
      where: bool, the shape of ``labels`` or its leading axes; False is left out of every sum.

    Returns:
      float32 [N, K], or [K] if ``over_batch``; **nan** for an image (or batch) with a counted label
      outside [0, K). An image without any valid element costs 0.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``smooth`` is negative.

    References:
      Milletari, Navab, Ahmadi 2016, "V-Net", section 3, one class at a time;
      :func:`generalised_dice_loss` weighs the classes against each other.

    >>> import jax.numpy as jnp
    >>> logits = jnp.array([[[50.0, 0.0], [0.0, 50.0], [0.0, 50.0]]])
    >>> print(dice_loss(logits, jnp.array([[0, 0, 1]]), smooth=0.0).round(4))
    [[0.3333 0.3333]]
    """
    check_not_negative(smooth=smooth)
    counts = class_counts(
        logits, labels, ignore_index=ignore_index, over_batch=over_batch, where=where, squared=squared
    )
    return counts.guarded(dice_of(counts, smooth))


def present_classes(
    labels: jax.Array,
    num_classes: int,
    *,
    ignore_index: int | None = None,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    """Which classes each image contains: the ``where`` that drops absent classes from a Dice mean.

    Args:
      labels: integer [N, ...].
      num_classes: K.
      ignore_index: label that counts for no class.
      over_batch: looks at all images together.
      where: bool, the shape of ``labels`` or its leading axes; False is not looked at.

    Returns:
      bool [N, K], or [K] if ``over_batch``.

    Raises:
      ValueError: if ``labels`` is not integer or ``where`` does not fit.

    >>> import jax.numpy as jnp
    >>> present_classes(jnp.array([[0, 2], [1, 255]]), 3, ignore_index=255).tolist()
    [[True, False, True], [False, True, False]]
    """
    check_integer(labels=labels)
    mask = counted_elements(labels, ignore_index=ignore_index, where=where)
    return jnp.any(
        class_hits(labels, num_classes, mask), axis=summed_axes(labels.ndim, over_batch=over_batch)
    )


def dice_of(counts: SoftCounts, smooth: float) -> jax.Array:
    """The Dice loss of soft counts; 0 where nothing was counted and nothing smooths."""
    size = counts.predicted + counts.true + smooth
    empty = size == 0
    return jnp.where(empty, 0.0, 1.0 - (2.0 * counts.overlap + smooth) / jnp.where(empty, 1.0, size))
