"""Squeeze-and-excitation: its widths, derivatives and errors."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import SqueezeExcitation


@pytest.mark.parametrize(
    ("fields", "width"),
    [
        ({}, 4),
        ({"reduction": 4}, 16),
        ({"squeeze_features": 5}, 5),
        ({"reduction": 100}, 1),
        ({"divisor": 8}, 8),
        ({"reduction": 5, "divisor": 8}, 16),  # 12, halfway between, rounds up
        ({"reduction": 6, "divisor": 8}, 8),
    ],
)
def test_width_between_the_convolutions(fields, width):
    x = jax.ShapeDtypeStruct((1, 2, 2, 64), jnp.float32)
    layer = SqueezeExcitation(**fields)
    params = jax.eval_shape(functools.partial(layer.init, train=False), jax.random.key(0), x)["params"]
    assert params["reduce_conv"]["kernel"].shape == (1, 1, 64, width)
    assert params["expand_conv"]["bias"].shape == (64,)


def test_sequences_and_video_are_images_of_another_shape():
    layer, x = SqueezeExcitation(squeeze_features=3), jax.random.normal(jax.random.key(1), (2, 3, 2, 2, 8))
    variables = jax.jit(functools.partial(layer.init, train=False))(jax.random.key(0), x)
    apply = functools.partial(layer.apply, variables, train=False)
    y = jax.jit(lambda x: [apply(x), apply(x.reshape(2, 6, 2, 8)), apply(x.reshape(2, 12, 8))])(x)
    for other in y[1:]:
        np.testing.assert_allclose(other.reshape(x.shape), y[0], rtol=1e-6)


def test_second_derivative_equals_the_difference_of_gradients():
    layer = SqueezeExcitation(squeeze_features=3, activation=nn.silu)
    x = jax.random.normal(jax.random.key(1), (2, 3, 2, 4))
    variables = jax.jit(functools.partial(layer.init, train=False))(jax.random.key(0), x)

    @jax.jit
    def run(x, direction):
        gradient = jax.grad(lambda x: (layer.apply(variables, x, train=False) ** 2).sum())
        near = (gradient(x + 0.01 * direction) - gradient(x - 0.01 * direction)) / 0.02
        return jax.jvp(gradient, (x,), (direction,))[1], near

    exact, near = run(x, jax.random.normal(jax.random.key(2), x.shape))
    np.testing.assert_allclose(exact, near, atol=2e-3 * float(np.abs(near).max()))


def test_gate_of_zero_weights_halves_and_saturated_gates_open_and_close():
    layer, x = SqueezeExcitation(squeeze_features=1), jnp.arange(8.0).reshape(1, 2, 2, 2)
    zero = {"kernel": jnp.zeros((1, 1, 2, 1)), "bias": jnp.zeros(1)}
    apply = jax.jit(functools.partial(layer.apply, train=True))
    for bias, expected in [([0.0, 0.0], [0.5, 0.5]), ([200.0, -200.0], [1.0, 0.0])]:
        expand = {"kernel": jnp.zeros((1, 1, 1, 2)), "bias": jnp.asarray(bias)}
        y = apply({"params": {"reduce_conv": zero, "expand_conv": expand}}, x)
        np.testing.assert_allclose(y, np.asarray(x) * expected, rtol=1e-6)


def test_wrong_input_raises():
    layer = SqueezeExcitation()
    for x, message in [
        (jnp.zeros(8), r"x: expected .*got \[8\]"),
        (jnp.zeros((1, 2, 2, 8), jnp.int32), "x: expected a floating dtype, got int32"),
    ]:
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(functools.partial(layer.init, train=False), jax.random.key(0), x)
