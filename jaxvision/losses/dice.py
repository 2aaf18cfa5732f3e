"""Soft Dice: overlap of predicted probabilities with a mask, indifferent to how small the mask is."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, check_integer, check_same_shape
from jaxvision.losses.reduction import expand_where


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
      float32 [N], or [] if ``over_batch``. An image without any valid element costs 0.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``smooth`` is negative.

    References:
      Milletari, Navab, Ahmadi 2016, "V-Net", section 3: no smoothing, squared denominator. The plain
      denominator, with s = 1, is the usual one since Drozdzal et al. 2016, and the default here.

    >>> import jax.numpy as jnp
    >>> print(binary_dice_loss(jnp.full((1, 4), 50.0), jnp.array([[1, 1, 0, 0]]), smooth=0.0).round(4))
    [0.3333]
    """
    check_floating(logits=logits)
    check_same_shape(logits=logits, labels=labels)
    _check_images("binary_dice_loss", labels.ndim, smooth)
    mask = expand_where(where, labels.shape)
    probabilities = jax.nn.sigmoid(jnp.where(mask, logits.astype(jnp.float32), 0.0)) * mask
    targets = jnp.where(mask, labels.astype(jnp.float32), 0.0)
    axes = tuple(range(0 if over_batch else 1, labels.ndim))
    return _dice(probabilities, targets, axes, smooth, squared)


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
      Milletari, Navab, Ahmadi 2016, "V-Net", section 3, one class at a time (Sudre et al. 2017,
      "Generalised Dice overlap", section 2, weigh the classes besides; here that is the reduction's part).

    >>> import jax.numpy as jnp
    >>> logits = jnp.array([[[50.0, 0.0], [0.0, 50.0], [0.0, 50.0]]])
    >>> print(dice_loss(logits, jnp.array([[0, 0, 1]]), smooth=0.0).round(4))
    [[0.3333 0.3333]]
    """
    check_floating(logits=logits)
    check_integer(labels=labels)
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"expected logits [N, ..., K] and labels [N, ...] of equal leading axes, got logits "
            f"{list(logits.shape)} and labels {list(labels.shape)}; classes are the last axis (channels last)"
        )
    _check_images("dice_loss", labels.ndim, smooth)
    mask = expand_where(where, labels.shape)
    if ignore_index is not None:
        mask = mask & (labels != ignore_index)
    axes = tuple(range(0 if over_batch else 1, labels.ndim))
    hit = _hits(labels, logits.shape[-1], mask)  # [N, ..., K]
    scores = jnp.where(mask[..., None], logits.astype(jnp.float32), 0.0)
    probabilities = jax.nn.softmax(scores, axis=-1) * mask[..., None]
    loss = _dice(probabilities, hit.astype(jnp.float32), axes, smooth, squared)
    stray = jnp.any(mask & ((labels < 0) | (labels >= logits.shape[-1])), axis=axes)
    return jnp.where(stray[..., None], jnp.nan, loss)


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
    mask = expand_where(where, labels.shape)
    if ignore_index is not None:
        mask = mask & (labels != ignore_index)
    return jnp.any(_hits(labels, num_classes, mask), axis=tuple(range(0 if over_batch else 1, labels.ndim)))


def _hits(labels: jax.Array, num_classes: int, mask: jax.Array) -> jax.Array:
    classes = lax.broadcasted_iota(jnp.int32, (*labels.shape, num_classes), labels.ndim)
    return (classes == labels.astype(jnp.int32)[..., None]) & mask[..., None]


def _dice(
    probabilities: jax.Array, targets: jax.Array, axes: tuple[int, ...], smooth: float, squared: bool
) -> jax.Array:
    overlap = jnp.sum(probabilities * targets, axis=axes)
    power = 2 if squared else 1
    size = jnp.sum(probabilities**power, axis=axes) + jnp.sum(targets**power, axis=axes)
    empty = size + smooth == 0
    return jnp.where(empty, 0.0, 1.0 - (2.0 * overlap + smooth) / jnp.where(empty, 1.0, size + smooth))


def _check_images(name: str, rank: int, smooth: float) -> None:
    if rank < 2:
        raise ValueError(
            f"{name}: expected labels [N, ...] of rank 2 or more, got rank {rank}; add a batch axis"
        )
    if smooth < 0:
        raise ValueError(f"smooth: expected a number >= 0, got {smooth}")
