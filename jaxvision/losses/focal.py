"""Focal loss: cross entropy that turns away from what is already right."""

import jax
import jax.numpy as jnp
import optax

from jaxvision.core import check_floating, check_same_shape, expand_where
from jaxvision.losses.cross_entropy import cross_entropy_loss, cross_entropy_weights


def binary_focal_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Focal loss of independent binary labels, one value an element.

    .. math::
        \ell = -\alpha_t (1 - p_t)^\gamma \log p_t, \qquad
        p_t = \sigma(x)\ \text{if}\ y = 1\ \text{else}\ 1 - \sigma(x)

    Args:
      logits: floating [...]; computed in float32.
      labels: [...], y: bool, integer or floating, 0 or 1 (soft labels are not defined here).
      alpha: weight of the positive labels, 1 - alpha of the negative; None for no weights.
      gamma: focus, >= 0; 0 gives cross entropy.
      where: bool, the shape of ``labels`` or its leading axes; False costs 0 and gets no gradient.

    Returns:
      float32 [...]; **nan** where a counted label is neither 0 nor 1.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``gamma`` is negative.

    References:
      Lin et al. 2017, "Focal Loss for Dense Object Detection", equations 4 and 5. Equal to
      ``torchvision.ops.sigmoid_focal_loss``; by Optax, which keeps log(1 - p_t) in logarithms, so that
      the gradient stays finite at logits of +-200 also for gamma < 1.

    >>> import jax.numpy as jnp
    >>> print(binary_focal_loss(jnp.array([0.0, 0.0, 4.0]), jnp.array([1, 0, 1])).round(4))
    [0.0433 0.13   0.    ]
    """
    check_floating(logits=logits)
    check_same_shape(logits=logits, labels=labels)
    _check_gamma(gamma)
    mask = expand_where(where, labels.shape)
    targets = jnp.where(mask, labels.astype(jnp.float32), 0.0)
    binary = (targets == 0) | (targets == 1)
    loss = optax.sigmoid_focal_loss(
        jnp.where(mask, logits.astype(jnp.float32), 0.0),
        jnp.where(binary, targets, 0.0),
        alpha=alpha,
        gamma=gamma,
    )
    return jnp.where(mask, jnp.where(binary, loss, jnp.nan), 0.0)


def focal_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    gamma: float = 2.0,
    ignore_index: int | None = None,
    class_weights: jax.Array | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Focal loss of class indices under a softmax, one value an element.

    .. math:: \ell = -w_y (1 - p_y)^\gamma \log p_y, \qquad p = \operatorname{softmax}(x)

    The weighted mean divides by :func:`cross_entropy_weights`, as for :func:`cross_entropy_loss`. (RetinaNet
    divides by the number of matched anchors instead.)

    Args:
      logits: floating [..., K]; computed in float32.
      labels: integer [...], in [0, K) or ``ignore_index``.
      gamma: focus, >= 0; 0 gives cross entropy.
      ignore_index: label whose elements cost 0 and get no gradient.
      class_weights: floating [K], w (the paper's alpha).
      where: bool, the shape of ``labels`` or its leading axes; False costs 0 and gets no gradient.

    Returns:
      float32 [...]; **nan** at a label outside [0, K) that is not ignored.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``gamma`` is negative.

    References:
      Lin et al. 2017, "Focal Loss for Dense Object Detection", section 3 (the multi-class extension).

    >>> import jax.numpy as jnp
    >>> print(focal_loss(jnp.array([[0.0, 0.0], [8.0, 0.0]]), jnp.array([1, 0])).round(4))
    [0.1733 0.    ]
    """
    _check_gamma(gamma)
    entropy = cross_entropy_loss(logits, labels, ignore_index=ignore_index, where=where)  # -log p_y
    miss = -jnp.expm1(-entropy)  # 1 - p_y
    # (1 - p)^gamma has an infinite slope at p = 1 for gamma < 1; its product with log p does not.
    certain = miss <= 0
    focus = jnp.where(certain, 0.0 if gamma > 0 else 1.0, jnp.where(certain, 1.0, miss) ** gamma)
    loss = focus * entropy
    if class_weights is None:
        return loss
    weights = cross_entropy_weights(
        labels, ignore_index=ignore_index, class_weights=class_weights, where=where
    )
    return weights * loss


def _check_gamma(gamma: float) -> None:
    if gamma < 0:
        raise ValueError(f"gamma: expected a number >= 0, got {gamma}")
