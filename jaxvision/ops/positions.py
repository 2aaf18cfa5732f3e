"""Sinusoidal position codes of sequences and images."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


def sinusoidal_positions(
    length: int, features: int, *, base: float = 10000.0, dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Sines and cosines of wavelengths from 2 pi to ``base`` times 2 pi, one row a position.

    .. math::
      P_{t, 2i} = \\sin(t / base^{2i / C}), \\quad P_{t, 2i + 1} = \\cos(t / base^{2i / C})

    Args:
      length: number of positions, from 0 on.
      features: ``C``, even.
      base: ratio of the longest wavelength, which is not quite reached, to the shortest.
      dtype: of the result.

    Returns:
      ``[length, features]``; sines and cosines alternate.

    Raises:
      ValueError: if ``features`` is odd or not positive, or ``length`` is negative.

    References:
      Vaswani et al. 2017, *Attention Is All You Need*, section 3.5.

    >>> sinusoidal_positions(2, 4).round(4)
    Array([[0.    , 1.    , 0.    , 1.    ],
           [0.8415, 0.5403, 0.01  , 1.    ]], dtype=float32)
    """
    _check_sizes(length, features, 2)
    angles = _angles(length, features // 2, base)
    return jnp.asarray(np.stack([np.sin(angles), np.cos(angles)], -1).reshape(length, features), dtype)


def sinusoidal_grid_positions(
    height: int, width: int, features: int, *, base: float = 10000.0, dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Sinusoidal codes of an image's patches: columns in the first half of the channels, rows in the second.

    .. math::
      P_{i,j} = [\\sin(j w), \\cos(j w), \\sin(i w), \\cos(i w)], \\quad w_k = base^{-4 k / C}

    Args:
      height: rows of the grid.
      width: columns of the grid.
      features: ``C``, a multiple of 4; each of the four parts has ``C / 4`` channels.
      base: as :func:`sinusoidal_positions`.
      dtype: of the result.

    Returns:
      ``[height, width, features]``.

    Raises:
      ValueError: if ``features`` is not a positive multiple of 4, or a size is negative.

    References:
      He et al. 2022, *Masked Autoencoders Are Scalable Vision Learners*, appendix A.1; order and
      frequencies are those of its code. The simple ViT of Beyer et al. 2022 has the same order, but divides
      the exponents by ``C / 4 - 1``, which reaches ``base``.

    >>> sinusoidal_grid_positions(2, 2, 4)[1, 0].round(4)
    Array([0.    , 1.    , 0.8415, 0.5403], dtype=float32)
    """
    _check_sizes(min(height, width), features, 4)
    parts = []
    for angles in (_angles(width, features // 4, base)[None], _angles(height, features // 4, base)[:, None]):
        parts += [np.broadcast_to(wave(angles), (height, width, features // 4)) for wave in (np.sin, np.cos)]
    return jnp.asarray(np.concatenate(parts, -1), dtype)


def _angles(length: int, count: int, base: float) -> np.ndarray:
    """Positions times frequencies, ``[length, count]``; float64, for large positions cost digits."""
    return np.arange(length)[:, None] * base ** (-np.arange(count) / count)


def _check_sizes(length: int, features: int, parts: int) -> None:
    if features < 1 or features % parts:
        raise ValueError(f"features: expected a positive multiple of {parts}, got {features}")
    if length < 0:
        raise ValueError(f"expected a size of at least 0, got {length}")
