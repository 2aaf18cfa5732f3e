"""Divergences between distributions."""

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating, check_same_shape, expand_where


def kl_divergence_loss(
    log_predictions: jax.Array, targets: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    r"""Kullback-Leibler divergence of predictions from targets, one value a distribution.

    .. math:: \ell = \sum_k t_k (\log t_k - \log p_k), \qquad 0 \log 0 = 0

    Args:
      log_predictions: floating [..., K], log p (``jax.nn.log_softmax`` of logits); computed in float32.
      targets: floating [..., K], t: probabilities, >= 0.
      where: bool [...] without the class axis, or its leading axes; False costs 0 and gets no gradient.

    Returns:
      float32 [...].

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Kullback and Leibler 1951. The sum over K of ``torch.nn.functional.kl_div(..., reduction="none")``,
      so its mean is torch's "batchmean" (torch's "mean" divides by K as well).

    >>> import jax.numpy as jnp
    >>> print(kl_divergence_loss(jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[1.0, 0.0]])).round(4))
    [0.6931]
    """
    check_floating(log_predictions=log_predictions, targets=targets)
    check_same_shape(log_predictions=log_predictions, targets=targets)
    if targets.ndim == 0:
        raise ValueError("targets: expected [..., K], got a scalar; the last axis holds the distribution")
    mask = expand_where(where, targets.shape[:-1])
    log_predictions = jnp.where(mask[..., None], log_predictions.astype(jnp.float32), 0.0)
    targets = jnp.where(mask[..., None], targets.astype(jnp.float32), 0.0)
    # A class without target mass costs nothing, whatever its log probability (0 * -inf would be nan; so
    # would the gradient of optax.losses.kl_divergence in targets of 0).
    present = targets > 0
    log_targets = jnp.log(jnp.where(present, targets, 1.0))
    return jnp.sum(targets * (log_targets - jnp.where(present, log_predictions, 0.0)), axis=-1)
