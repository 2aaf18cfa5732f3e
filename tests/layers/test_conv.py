"""Convolution layers and ConvNormAct: parameters, dtypes, and that they call the ops as they say."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import ops
from jaxvision.layers import BatchNorm, Conv, ConvNormAct, ConvTranspose

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 6, 4)), jnp.float32)
BIAS = nn.initializers.normal(1.0)


def test_conv_is_the_op_and_a_bias():
    layer = Conv(6, (3, 2), (2, 1), 1, (1, 2), 2, bias_init=BIAS)
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), IMAGES)
    params = variables["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (3, 2, 2, 6), "bias": (6,)}
    expected = ops.convolution(IMAGES, params["kernel"], strides=(2, 1), padding=1, dilation=(1, 2), groups=2)
    np.testing.assert_allclose(y, expected + params["bias"][None, None, None], atol=1e-5)


def test_conv_transpose_is_the_op_and_a_bias():
    layer = ConvTranspose(6, 3, 2, ((1, 0), (0, 1)), (1, 0), 1, 2, bias_init=BIAS)
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), IMAGES)
    params = variables["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (3, 3, 4, 3), "bias": (6,)}
    options = {"strides": 2, "padding": ((1, 0), (0, 1)), "output_padding": (1, 0), "groups": 2}
    expected = ops.transposed_convolution(IMAGES, params["kernel"], **options)
    np.testing.assert_allclose(y, expected + params["bias"][None, None, None], atol=1e-5)


@pytest.mark.parametrize("layer", [Conv(3, 1), ConvTranspose(3, 2, 2)])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_dtype_is_of_the_computation_and_parameters_stay_float32(layer, dtype):
    layer = layer.copy(dtype=dtype, use_bias=False)
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), IMAGES.astype(jnp.bfloat16))
    assert list(variables["params"]) == ["kernel"]
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert y.dtype == (dtype or jnp.float32)


@pytest.mark.parametrize("layer", [Conv, ConvTranspose])
def test_errors(layer):
    with pytest.raises(
        ValueError, match="groups: expected a divisor of 4 input and 6 output channels, got 4"
    ):
        layer(6, 1, groups=4).init(jax.random.key(0), IMAGES)
    with pytest.raises(ValueError, match=r"x: expected \[N, H, W, C\], got \[7, 6, 4\]"):
        layer(6, 1).init(jax.random.key(0), IMAGES[0])


def test_conv_norm_act_is_its_three_parts():
    block = ConvNormAct(5, 3, dilation=2)
    init = jax.jit(functools.partial(block.init_with_output, train=False))
    y, variables = init(jax.random.key(0), IMAGES)
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "conv": {"kernel": (3, 3, 4, 5)},
        "norm": {"scale": (5,), "bias": (5,)},
    }
    plain = ops.convolution(IMAGES, variables["params"]["conv"]["kernel"], padding=2, dilation=2)
    np.testing.assert_allclose(y, jax.nn.relu(plain / np.sqrt(1 + 1e-5)), atol=1e-5)
    _, state = block.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(state["batch_stats"]["norm"]["mean"], 0.1 * plain.mean((0, 1, 2)), atol=1e-6)


def test_conv_norm_act_options():
    shapes = jax.eval_shape(
        functools.partial(ConvNormAct(5, (2, 3), padding=0, norm=None, activation=None).init, train=True),
        jax.random.key(0),
        IMAGES,
    )
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == {
        "params": {"conv": {"kernel": (2, 3, 4, 5), "bias": (5,)}}
    }
    synced = ConvNormAct(5, norm=functools.partial(BatchNorm, axis_name="data"))
    variables = jax.jit(functools.partial(synced.init, train=True))(jax.random.key(0), IMAGES)
    with pytest.raises(NameError, match="data"):
        synced.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    with pytest.raises(ValueError, match=r"no equal padding keeps the size under an even kernel \[2, 2\]"):
        ConvNormAct(5, 2).init(jax.random.key(0), IMAGES, train=False)
