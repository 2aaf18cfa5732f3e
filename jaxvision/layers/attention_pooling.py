"""A sequence as the mean of its steps, weighted by how much a learned vector attends to each."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_layout
from jaxvision.ops.sequence_pooling import sequence_weights


class AttentionPooling(nn.Module):
    r"""Attention of one learned vector over the steps of a sequence.

    .. math::
        u_t = \tanh(W h_t + b), \quad a_t = \operatorname{softmax}_t(u_t^\top c), \quad s = \sum_t a_t h_t

    Submodules: ``hidden`` (Dense, W and b) and ``context`` (Dense without bias, c).

    Attributes:
      features: width of ``u``; None for that of the input, as in the paper.
      dtype: dtype of the computation; scores and weights are float32.

    References:
      Yang et al. 2016, *Hierarchical Attention Networks for Document Classification*, equations 5 to 7.
    """

    features: int | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, where: jax.Array) -> jax.Array:
        """Maps ``[N, T, C]`` to ``[N, C]``.

        Args:
          x: the steps, floating.
          where: bool ``[N, T]``, true where there is a step; zeros come of a sequence without one.

        Raises:
          ValueError: if shapes or dtypes do not fit.
        """
        check_layout("x", x, "N T C", remedy="add a batch axis or flatten the last ones")
        width = x.shape[-1] if self.features is None else self.features
        hidden = nn.tanh(nn.Dense(width, dtype=self.dtype, name="hidden")(x))  # [N, T, D]
        scores = nn.Dense(1, use_bias=False, dtype=self.dtype, name="context")(hidden)[..., 0]  # [N, T]
        weights = sequence_weights(scores.astype(jnp.float32), where=where)
        x = jnp.where(where[..., None], x, 0)
        return jnp.einsum("nt,ntc->nc", weights.astype(x.dtype), x)
