"""Dropout of elements, channels and samples. Each draws from the rng collection ``"dropout"``.

``layer.apply(variables, x, train=True, rngs={"dropout": key})``; with ``train=False`` no key is needed.
"""

import flax.linen as nn
import jax

from jaxvision.core import check_floating
from jaxvision.ops.dropout import channel_dropout, drop_path, dropout


class Dropout(nn.Module):
    """Zeroes each element with probability ``rate`` in training; see :func:`jaxvision.ops.dropout`.

    Attributes:
      rate: probability of zero, from 0 to 1.
    """

    rate: float

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps any shape to itself; the identity unless ``train``.

        Raises:
          ValueError: if ``x`` is not floating or ``rate`` is outside [0, 1].
        """
        if _is_identity(x, self.rate, train):
            return x
        return dropout(self.make_rng("dropout"), x, rate=self.rate)


class SpatialDropout(nn.Module):
    """Zeroes whole channels in training, as ``torch.nn.Dropout2d``.

    See :func:`jaxvision.ops.channel_dropout`.

    Attributes:
      rate: probability of zero, from 0 to 1.
    """

    rate: float

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[N, ..., C]`` to its own shape; the identity unless ``train``.

        Raises:
          ValueError: as :class:`Dropout`; or if ``x`` has fewer than three axes.
        """
        if _is_identity(x, self.rate, train):
            return x
        return channel_dropout(self.make_rng("dropout"), x, rate=self.rate)


class DropPath(nn.Module):
    """Zeroes the residual branch of whole samples in training: stochastic depth.

    ``x + DropPath(0.1)(branch, train=train)``; see :func:`jaxvision.ops.drop_path`.

    Attributes:
      rate: probability of zero, from 0 to 1.
    """

    rate: float

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[N, ...]`` to its own shape; the identity unless ``train``.

        Raises:
          ValueError: as :class:`Dropout`.
        """
        if _is_identity(x, self.rate, train):
            return x
        return drop_path(self.make_rng("dropout"), x, rate=self.rate)


def _is_identity(x: jax.Array, rate: float, train: bool) -> bool:
    """Checks the arguments, in evaluation too; tells whether nothing is drawn."""
    check_floating(x=x)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: expected the probability of zero, from 0 to 1, got {rate}")
    return not train or rate == 0
