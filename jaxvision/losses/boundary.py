"""Boundary loss: probability times its distance from where it belongs."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, check_same_shape, expand_where
from jaxvision.losses.soft_counts import masked_softmax


def boundary_loss(logits: jax.Array, distances: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    r"""Boundary loss, one value an element and class.

    .. math:: \ell_{ik} = \phi_k(i)\, p_{ik}, \qquad p = \operatorname{softmax}(x)

    Negative where a class is given inside its region, positive and growing outside. It says nothing of how
    large a class is that is absent, so it goes with a region loss; the paper adds it with a small weight that
    rises by 0.01 an epoch. To leave the background out, slice it off (``boundary_loss(...)[..., 1:]``).

    Args:
      logits: floating [..., K]; computed in float32.
      distances: floating [..., K], :math:`\phi`, constants through which no gradient flows: of
        :func:`jaxvision.ops.signed_class_distances` inside the compiled step, or of the host. In pixels;
        divide by the diagonal for a loss that does not depend on the size of the images.
      where: bool [...] without the class axis, or its leading axes; False costs 0 and gets no gradient.

    Returns:
      float32 [..., K]; its mean is the authors' loss.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Kervadec et al. 2019, "Boundary loss for highly unbalanced segmentation", equation 5.

    >>> print(boundary_loss(jnp.zeros((3, 2)), jnp.array([[-1.0, 2.0], [0.0, 1.0], [1.0, 0.0]])))
    [[-0.5  1. ]
     [ 0.   0.5]
     [ 0.5  0. ]]
    """
    check_floating(logits=logits, distances=distances)
    check_same_shape(logits=logits, distances=distances)
    if logits.ndim == 0:
        raise ValueError("logits: expected [..., K], got a scalar; the last axis holds the classes")
    mask = expand_where(where, logits.shape[:-1])
    distances = jnp.where(mask[..., None], lax.stop_gradient(distances.astype(jnp.float32)), 0.0)
    return distances * masked_softmax(logits, mask)
