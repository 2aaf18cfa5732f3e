"""Standardised convolution: moments of its kernel, variance of its output, forms. Values against PyTorch are
tested with the other convolution variants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import StandardizedConv

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 16, 8)), jnp.float32)


def test_the_scaled_form_keeps_the_variance_of_a_signal_through_a_relu():
    layer = StandardizedConv(128, 3, activation_gain=1.7139588594436646, use_bias=False)
    x = jax.nn.relu(IMAGES)
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    assert set(variables["params"]) == {"kernel", "gain"}
    assert float(y.var()) == pytest.approx(1.0, abs=0.1)


def test_the_output_does_not_change_with_the_scale_and_the_mean_of_the_kernel():
    layer = StandardizedConv(6, 3, scaled=False, epsilon=0.0)
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), IMAGES)
    params = variables["params"]
    assert set(params) == {"kernel", "bias"}
    moved = {"params": {**params, "kernel": 3 * params["kernel"] - 2}}
    np.testing.assert_allclose(jax.jit(layer.apply)(moved, IMAGES), y, atol=1e-3)
    constant = jax.jit(layer.apply)(variables, jnp.ones((1, 5, 5, 8)))
    np.testing.assert_allclose(constant, np.zeros((1, 3, 3, 6)), atol=1e-4)


def test_the_gradient_is_orthogonal_to_the_kernel_and_to_constants():
    layer = StandardizedConv(6, 3, epsilon=0.0)
    variables = jax.jit(layer.init)(jax.random.key(0), IMAGES)
    gradient = jax.jit(jax.grad(lambda v: (layer.apply(v, IMAGES) ** 3).mean()))(variables)["params"][
        "kernel"
    ]
    kernel, size = variables["params"]["kernel"], float(jnp.abs(gradient).sum())
    np.testing.assert_allclose((gradient * kernel).sum((0, 1, 2)), np.zeros(6), atol=1e-5 * size)
    np.testing.assert_allclose(gradient.sum((0, 1, 2)), np.zeros(6), atol=1e-5 * size)


def test_errors():
    with pytest.raises(ValueError, match=r"x: expected \[N, H, W, C\], got \[16, 16, 8\]"):
        StandardizedConv(6, 3).init(jax.random.key(0), IMAGES[0])
    for groups in (0, 4):
        with pytest.raises(ValueError, match="groups: expected a divisor of 8 input and 6 output channels"):
            StandardizedConv(6, 3, groups=groups).init(jax.random.key(0), IMAGES)
