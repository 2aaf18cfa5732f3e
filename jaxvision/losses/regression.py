"""Losses of real values, element by element."""

import jax
import jax.numpy as jnp
import optax

from jaxvision.core import check_floating, check_same_shape, expand_where


def l1_loss(predictions: jax.Array, targets: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    r"""Absolute error, one value an element.

    .. math:: \ell = |x - y|

    Args:
      predictions: floating [...]; computed in float32.
      targets: floating [...].
      where: bool, the shape of ``targets`` or its leading axes; False costs 0 and gets no gradient.

    Returns:
      float32 [...]. The gradient at x = y is 0, as torch's.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Equal to ``torch.nn.functional.l1_loss(..., reduction="none")``.

    >>> import jax.numpy as jnp
    >>> l1_loss(jnp.array([1.0, -2.0]), jnp.array([0.0, 0.0])).tolist()
    [1.0, 2.0]
    """
    errors = _errors(predictions, targets, where)
    return errors * jnp.sign(errors)  # jnp.abs has the slope 1 at 0


def l2_loss(predictions: jax.Array, targets: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    r"""Squared error, one value an element.

    .. math:: \ell = (x - y)^2

    Args:
      predictions: floating [...]; computed in float32.
      targets: floating [...].
      where: bool, the shape of ``targets`` or its leading axes; False costs 0 and gets no gradient.

    Returns:
      float32 [...].

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Equal to ``torch.nn.functional.mse_loss(..., reduction="none")``; ``optax.l2_loss`` is half of it.

    >>> import jax.numpy as jnp
    >>> l2_loss(jnp.array([1.0, -2.0]), jnp.array([0.0, 0.0])).tolist()
    [1.0, 4.0]
    """
    return jnp.square(_errors(predictions, targets, where))


def huber_loss(
    predictions: jax.Array, targets: jax.Array, *, delta: float = 1.0, where: jax.Array | None = None
) -> jax.Array:
    r"""Squared error near zero and absolute error far from it, one value an element.

    .. math::
        \ell = \tfrac12 d^2\ \text{if}\ |d| \le \delta\ \text{else}\ \delta (|d| - \tfrac12 \delta),
        \qquad d = x - y

    Args:
      predictions: floating [...]; computed in float32.
      targets: floating [...].
      delta: where the two meet, > 0, in the unit of the targets.
      where: bool, the shape of ``targets`` or its leading axes; False costs 0 and gets no gradient.

    Returns:
      float32 [...].

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``delta`` is not positive.

    References:
      Huber 1964, "Robust Estimation of a Location Parameter". Equal to
      ``torch.nn.functional.huber_loss(..., reduction="none")``; ``smooth_l1_loss(beta=delta)`` is this
      divided by ``delta``.

    >>> import jax.numpy as jnp
    >>> huber_loss(jnp.array([0.5, -3.0]), jnp.array([0.0, 0.0])).tolist()
    [0.125, 2.5]
    """
    if delta <= 0:
        raise ValueError(f"delta: expected a number > 0, got {delta}")
    return optax.losses.huber_loss(_errors(predictions, targets, where), delta=delta)


def _errors(predictions: jax.Array, targets: jax.Array, where: jax.Array | None) -> jax.Array:
    check_floating(predictions=predictions, targets=targets)
    check_same_shape(predictions=predictions, targets=targets)
    errors = predictions.astype(jnp.float32) - targets.astype(jnp.float32)
    # Masked before the loss, not after: the gradient of a nan times 0 would be nan.
    return jnp.where(expand_where(where, targets.shape), errors, 0.0)
