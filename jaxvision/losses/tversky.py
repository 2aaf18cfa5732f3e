"""Tversky losses: Dice with a price of its own for what is wrongly found and for what is missed."""

import jax
import jax.numpy as jnp

from jaxvision.losses.soft_counts import SoftCounts, check_not_negative, class_counts, mask_counts


def binary_tversky_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Tversky loss of a foreground mask, one value an image; see :func:`tversky_loss`.

    Args:
      logits: floating [N, ...]; computed in float32, under a sigmoid.
      labels: [N, ...], bool, integer or floating, in [0, 1].
      alpha: price of what is wrongly found, >= 0.
      beta: price of what is missed, >= 0.
      smooth: s >= 0. With 0 an empty mask predicted empty costs 0.
      over_batch: sums over the images too (see :func:`jaxvision.losses.binary_dice_loss`).
      where: bool, the shape of ``labels`` or its leading axes; False is left out of every sum.

    Returns:
      float32 [N], or [] if ``over_batch``; **nan** where a counted label is outside [0, 1].

    Raises:
      ValueError: if shapes or dtypes do not fit, or an option is negative.

    References:
      Salehi, Erdogmus, Gholipour 2017, equations 3 and 4.

    >>> loss = binary_tversky_loss(jnp.full((1, 4), 50.0), jnp.array([[1, 1, 0, 0]]))
    >>> round(float(loss[0]), 4)  # 2 / (2 + 0.3 * 2) right
    0.2308
    """
    check_not_negative(alpha=alpha, beta=beta, smooth=smooth)
    counts = mask_counts(logits, labels, over_batch=over_batch, where=where)
    return counts.guarded(_tversky(counts, alpha, beta, smooth))


def tversky_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
    ignore_index: int | None = None,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Tversky loss of each class, one value an image and class.

    .. math::
        \ell_k = 1 - \frac{TP_k + s}{TP_k + \alpha\, FP_k + \beta\, FN_k + s}, \qquad
        TP_k = \sum_i p_{ik} [y_i = k],\; FP_k = \sum_i p_{ik} [y_i \ne k],\;
        FN_k = \sum_i (1 - p_{ik}) [y_i = k]

    With ``alpha = beta = 0.5`` it is Dice, with 1 and 1 Jaccard. Classes that an image lacks are left out by
    ``where=present_classes(labels, K)`` in the reduction, as for :func:`jaxvision.losses.dice_loss`.

    Args:
      logits: floating [N, ..., K]; computed in float32, under a softmax.
      labels: integer [N, ...], in [0, K) or ``ignore_index``.
      alpha: price of what is wrongly found, >= 0.
      beta: price of what is missed, >= 0; above ``alpha`` it buys recall.
      smooth: s >= 0.
      ignore_index: label whose elements are left out of every sum.
      over_batch: sums over the images too (see :func:`jaxvision.losses.binary_dice_loss`).
      where: bool, the shape of ``labels`` or its leading axes; False is left out of every sum.

    Returns:
      float32 [N, K], or [K] if ``over_batch``; **nan** where a counted label is outside [0, K). An image
      without any valid element costs 0.

    Raises:
      ValueError: if shapes or dtypes do not fit, or an option is negative.

    References:
      Salehi, Erdogmus, Gholipour 2017, "Tversky loss function for image segmentation using 3D fully
      convolutional deep networks", equations 3 and 4, one class at a time; 0.3 and 0.7 are its best values.

    >>> logits = jnp.array([[[50.0, 0.0], [0.0, 50.0], [0.0, 50.0]]])
    >>> loss = tversky_loss(logits, jnp.array([[0, 0, 1]]))
    >>> [round(float(value), 4) for value in loss[0]]  # 1 / (1 + 0.7) and 1 / (1 + 0.3) right
    [0.4118, 0.2308]
    """
    check_not_negative(alpha=alpha, beta=beta, smooth=smooth)
    counts = class_counts(logits, labels, ignore_index=ignore_index, over_batch=over_batch, where=where)
    return counts.guarded(_tversky(counts, alpha, beta, smooth))


def focal_tversky_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    smooth: float = 0.0,
    ignore_index: int | None = None,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""A root of the Tversky loss of each class: it stays steep where a class is almost right.

    .. math:: \ell_k = \operatorname{Tversky}_k^{1 / \gamma}

    Args:
      logits: as :func:`tversky_loss`.
      labels: as :func:`tversky_loss`.
      alpha: as :func:`tversky_loss`.
      beta: as :func:`tversky_loss`.
      gamma: in the paper 4 / 3, and from 1 to 3; below 1 the loss turns to the classes that are wrong.
      smooth: as :func:`tversky_loss`.
      ignore_index: as :func:`tversky_loss`.
      over_batch: as :func:`tversky_loss`.
      where: as :func:`tversky_loss`.

    Returns:
      float32 [N, K], or [K] if ``over_batch``. The slope is infinite where the Tversky loss is 0; there the
      gradient is 0.

    Raises:
      ValueError: if shapes or dtypes do not fit, an option is negative, or ``gamma`` is not positive.

    References:
      Abraham and Khan 2019, "A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion
      Segmentation", equations 2 and 3 (there alpha is the price of what is missed: the two are swapped). In
      segmentation_models.pytorch ``gamma`` is the exponent itself, the inverse of this one.

    >>> logits = jnp.array([[[50.0, 0.0], [0.0, 50.0], [0.0, 50.0]]])
    >>> print(focal_tversky_loss(logits, jnp.array([[0, 0, 1]])).round(4))
    [[0.514 0.333]]
    """
    if gamma <= 0:
        raise ValueError(f"gamma: expected a number > 0, got {gamma}")
    loss = tversky_loss(
        logits,
        labels,
        alpha=alpha,
        beta=beta,
        smooth=smooth,
        ignore_index=ignore_index,
        over_batch=over_batch,
        where=where,
    )
    right = loss <= 0
    return jnp.where(right, 0.0, jnp.where(right, 1.0, loss) ** (1.0 / gamma))


def _tversky(counts: SoftCounts, alpha: float, beta: float, smooth: float) -> jax.Array:
    wrong = alpha * (counts.predicted - counts.overlap) + beta * (counts.true - counts.overlap)
    size = counts.overlap + wrong + smooth
    empty = size == 0
    return jnp.where(empty, 0.0, 1.0 - (counts.overlap + smooth) / jnp.where(empty, 1.0, size))
