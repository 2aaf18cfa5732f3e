"""Fully connected layers as convolutions: equal at the training size, a sliding window on larger maps."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import Conv
from jaxvision.ops import conv_kernel_to_dense, dense_kernel_to_conv

MAPS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 9, 3)), jnp.float32)


def test_equal_at_the_training_size_and_a_sliding_window_on_larger_maps():
    dense, conv = nn.Dense(5, bias_init=nn.initializers.normal(1.0)), Conv(5, (3, 4))
    variables = jax.jit(dense.init)(jax.random.key(0), jnp.zeros((1, 3 * 4 * 3)))
    params = variables["params"]
    assert params["kernel"].shape == (36, 5)
    as_conv = {"params": {**params, "kernel": dense_kernel_to_conv(params["kernel"], (3, 4))}}
    y = jax.jit(conv.apply)(as_conv, MAPS)
    assert y.shape == (2, 5, 6, 5)
    windows = jnp.stack([MAPS[:, i : i + 3, j : j + 4].reshape(2, -1) for i in range(5) for j in range(6)], 1)
    np.testing.assert_allclose(y.reshape(2, 30, 5), dense.apply(variables, windows), atol=1e-5)
    once = jax.jit(conv.apply)(as_conv, MAPS[:, :3, :4])
    assert once.shape == (2, 1, 1, 5)
    np.testing.assert_allclose(
        once[:, 0, 0], dense.apply(variables, MAPS[:, :3, :4].reshape(2, -1)), atol=1e-5
    )


def test_there_and_back():
    kernel = jnp.arange(24.0).reshape(12, 2)
    for size in (2, (1, 3), (4, 1)):
        np.testing.assert_array_equal(conv_kernel_to_dense(dense_kernel_to_conv(kernel, size)), kernel)


def test_errors():
    with pytest.raises(
        ValueError, match=r"kernel: expected 5 \* 5 \* C rows .* got \[36, 5\]; give the size"
    ):
        dense_kernel_to_conv(jnp.zeros((36, 5)), 5)
    with pytest.raises(ValueError, match=r"kernel: expected \[h, w, C, K\], got \[36, 5\]"):
        conv_kernel_to_dense(jnp.zeros((36, 5)))
