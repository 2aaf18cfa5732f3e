"""CBAM: its two gates by hand, derivatives and errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import CBAM, ChannelAttention, SpatialAttention


def test_channel_gate_adds_what_mean_and_maximum_give():
    x = jnp.asarray([[0.0, 2.0], [4.0, -2.0]]).reshape(1, 2, 1, 2)  # means 2 and 0, maxima 4 and 2
    params = {
        "reduce_conv": {"kernel": jnp.eye(2)[None, None]},
        "expand_conv": {"kernel": jnp.eye(2)[None, None]},
    }
    y = jax.jit(functools.partial(ChannelAttention(reduction=1).apply, train=False))({"params": params}, x)
    gate = 1 / (1 + np.exp(-np.asarray([2.0 + 4.0, 0.0 + 2.0])))
    np.testing.assert_allclose(y, np.asarray(x) * gate, rtol=1e-6)


def test_spatial_gate_reads_mean_first_and_maximum_second():
    x = jnp.asarray([[1.0, 3.0], [-1.0, 5.0]]).reshape(1, 1, 2, 2)  # means 2 and 2, maxima 3 and 5
    layer = SpatialAttention(kernel_size=1)
    kernel = jnp.asarray([1.0, -0.5]).reshape(1, 1, 2, 1)
    y = jax.jit(functools.partial(layer.apply, train=False))({"params": {"conv": {"kernel": kernel}}}, x)
    gate = 1 / (1 + np.exp(-np.asarray([2.0 - 1.5, 2.0 - 2.5])))
    np.testing.assert_allclose(y, np.asarray(x) * gate[:, None], rtol=1e-6)


def test_gradient_of_equal_channels_goes_to_the_first():
    """As of torch.max along an axis; torch.amax shares it."""
    layer = SpatialAttention(kernel_size=1)
    variables = {"params": {"conv": {"kernel": jnp.asarray([0.0, 1.0]).reshape(1, 1, 2, 1)}}}
    x = jnp.ones((1, 1, 1, 3))
    y = jax.jit(jax.grad(lambda x: layer.apply(variables, x, train=False).sum()))(x).ravel()
    gate = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(y, [gate + 3 * gate * (1 - gate), gate, gate], rtol=1e-6)


def test_wrong_arguments_raise():
    def build(layer, shape, dtype=jnp.float32):
        x = jax.ShapeDtypeStruct(shape, dtype)
        return jax.eval_shape(functools.partial(layer.init, train=False), jax.random.key(0), x)

    with pytest.raises(ValueError, match="kernel_size: expected an odd number, got 6"):
        build(CBAM(kernel_size=6), (1, 4, 4, 8))
    for layer in (ChannelAttention(), SpatialAttention()):
        with pytest.raises(ValueError, match=r"x: expected \[N, H, W, C\], got \[4, 4, 8\]"):
            build(layer, (4, 4, 8))
        with pytest.raises(ValueError, match="x: expected a floating dtype, got int32"):
            build(layer, (1, 4, 4, 8), jnp.int32)
