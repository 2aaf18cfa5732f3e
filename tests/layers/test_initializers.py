"""Initialisers: spread of the He forms, and that the bilinear kernel interpolates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import ops
from jaxvision.layers import bilinear_kernel, he_normal_fan_in, he_normal_fan_out


@pytest.mark.parametrize(("initializer", "fan"), [(he_normal_fan_in, 64), (he_normal_fan_out, 32)])
def test_he_normal_is_normal_with_variance_two_over_the_fan(initializer, fan):
    values = np.asarray(initializer(jax.random.key(0), (3, 3, 64, 32))).ravel()
    deviation = np.sqrt(2 / (9 * fan))
    np.testing.assert_allclose(values.std(), deviation, rtol=0.02)
    np.testing.assert_allclose(values.mean(), 0, atol=0.03 * deviation)
    # Not truncated: of 18,432 normal numbers some 50 lie beyond three deviations (truncated: none).
    assert 20 < (np.abs(values) > 3 * deviation).sum() < 100


@pytest.mark.parametrize(("factor", "size", "padding"), [(2, 4, 1), (8, 16, 4), (3, 5, 1)])
def test_bilinear_kernel_enlarges_each_channel_by_interpolation(factor, size, padding):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 6, 2)), jnp.float32)
    kernel = bilinear_kernel(jax.random.key(0), (size, size, 2, 2))
    y = ops.transposed_convolution(x, kernel, strides=factor, padding=padding)
    expected = jax.image.resize(x, (1, 5 * factor, 6 * factor, 2), "linear")
    inner = slice(factor, -factor)  # at the border zeros are mixed in
    assert y.shape == expected.shape
    np.testing.assert_allclose(y[:, inner, inner], expected[:, inner, inner], atol=1e-5)


def test_bilinear_kernel_with_a_group_a_channel_is_the_diagonal_of_the_full_one():
    full = bilinear_kernel(jax.random.key(0), (4, 4, 3, 3))
    grouped = bilinear_kernel(jax.random.key(1), (4, 4, 3, 1), jnp.bfloat16)
    assert grouped.dtype == jnp.bfloat16
    np.testing.assert_array_equal(grouped[..., 0], jnp.diagonal(full, axis1=2, axis2=3))


def test_bilinear_kernel_wants_a_channel_map():
    with pytest.raises(ValueError, match=r"\[4, 4, 3, 2\]; interpolation maps each channel to itself"):
        bilinear_kernel(jax.random.key(0), (4, 4, 3, 2))
