"""Kinds of the Dice loss: classes weighed by their size, and a loss that flattens towards its ends."""

import jax
import jax.numpy as jnp

from jaxvision.losses.dice import dice_of
from jaxvision.losses.soft_counts import check_not_negative, class_counts


def generalised_dice_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    ignore_index: int | None = None,
    power: float = 2.0,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Generalised Dice loss: all classes in one ratio, small ones raised to the weight of large ones.

    .. math::
        \ell = 1 - 2\, \frac{\sum_k w_k \sum_i p_{ik} [y_i = k]}
        {\sum_k w_k \sum_i (p_{ik} + [y_i = k])}, \qquad w_k = \Big(\sum_i [y_i = k]\Big)^{-\gamma}

    Args:
      logits: floating [N, ..., K]; computed in float32.
      labels: integer [N, ...], in [0, K) or ``ignore_index``.
      ignore_index: label whose elements are left out of every sum.
      power: :math:`\gamma \ge 0`; 2 in the paper, 1 for weights by the plain inverse, 0 for none.
      over_batch: sums over the images too (see :func:`jaxvision.losses.binary_dice_loss`).
      where: bool, the shape of ``labels`` or its leading axes; False is left out of every sum.

    Returns:
      float32 [N], or [] if ``over_batch``; **nan** where a counted label is outside [0, K). An image without
      any valid element costs 0.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``power`` is negative.

    References:
      Sudre et al. 2017, "Generalised Dice Overlap as a Deep Learning Loss Function for Highly Unbalanced
      Segmentations", section 2.1 (:math:`GDL_v`). The weight of a class that an image lacks would be
      infinite; as in the authors' NiftyNet it takes the largest of the weights that are not.

    >>> logits = jnp.array([[[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]])
    >>> print(generalised_dice_loss(logits, jnp.array([[0, 0, 0, 1]])).round(3))
    [0.]
    >>> print(generalised_dice_loss(logits, jnp.array([[0, 0, 1, 1]])).round(3))  # 1 of 2 of class 1 found
    [0.25]
    """
    check_not_negative(power=power)
    counts = class_counts(logits, labels, ignore_index=ignore_index, over_batch=over_batch, where=where)
    present = counts.true > 0  # [N, K]
    smallest = jnp.min(jnp.where(present, counts.true, jnp.inf), axis=-1, keepdims=True)  # [N, 1]
    # Weights relative to the largest: the ratio is the same, and 1 / 10^12 does not come up.
    relative = jnp.where(present, smallest / jnp.where(present, counts.true, 1.0), 1.0) ** power
    overlap = jnp.sum(relative * counts.overlap, axis=-1)
    size = jnp.sum(relative * (counts.predicted + counts.true), axis=-1)
    empty = size == 0
    return counts.guarded(jnp.where(empty, 0.0, 1.0 - 2.0 * overlap / jnp.where(empty, 1.0, size)))


def log_cosh_dice_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    ignore_index: int | None = None,
    smooth: float = 1.0,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Logarithm of the hyperbolic cosine of the Dice loss of each class: its slope fades as it gets small.

    .. math:: \ell_k = \log \cosh \operatorname{Dice}_k

    Args:
      logits: floating [N, ..., K]; computed in float32.
      labels: integer [N, ...], in [0, K) or ``ignore_index``.
      ignore_index: as :func:`jaxvision.losses.dice_loss`.
      smooth: as :func:`jaxvision.losses.dice_loss`.
      over_batch: as :func:`jaxvision.losses.dice_loss`.
      where: as :func:`jaxvision.losses.dice_loss`.

    Returns:
      float32 [N, K], or [K] if ``over_batch``; **nan** where a counted label is outside [0, K).

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``smooth`` is negative.

    References:
      Jadon 2020, "A survey of loss functions for semantic segmentation", section 3.11, of each class here.

    >>> loss = log_cosh_dice_loss(jnp.array([[[0.0, 0.0]]]), jnp.array([[0]]), smooth=0.0)
    >>> [round(float(value), 4) for value in loss[0]]  # log cosh of 1/3 and of 1
    [0.0546, 0.4338]
    """
    check_not_negative(smooth=smooth)
    counts = class_counts(logits, labels, ignore_index=ignore_index, over_batch=over_batch, where=where)
    return counts.guarded(jnp.log(jnp.cosh(dice_of(counts, smooth))))
