"""Derivatives at kinks, dtypes, transformations and errors of activations; values are in another file."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision import ops

SMOOTH = [
    "sigmoid",
    "log_sigmoid",
    "tanh",
    "soft_sign",
    "celu",
    "gelu",
    "silu",
    "softplus",
    "mish",
    "softmax",
]
KINKED = ["relu", "relu6", "leaky_relu", "elu", "selu", "hard_sigmoid", "hard_tanh", "hard_swish"]
EVERY = [*SMOOTH, *KINKED, "log_softmax"]

# What the docstrings promise: the point, the derivative there, and those on its two sides.
SUBGRADIENTS = [
    (ops.relu, 0.0, 0.0, (0.0, 1.0)),
    (ops.relu6, 0.0, 0.0, (0.0, 1.0)),
    (ops.relu6, 6.0, 0.0, (1.0, 0.0)),
    (functools.partial(ops.leaky_relu, negative_slope=0.2), 0.0, 0.2, (0.2, 1.0)),
    (lambda x: ops.prelu(x, jnp.float32(0.3)), 0.0, 0.3, (0.3, 1.0)),
    (functools.partial(ops.elu, alpha=0.5), 0.0, 0.5, (0.5, 1.0)),
    (ops.selu, 0.0, 1.7580993, (1.7580993, 1.050701)),
    (ops.hard_sigmoid, -3.0, 0.0, (0.0, 1 / 6)),
    (ops.hard_sigmoid, 3.0, 0.0, (1 / 6, 0.0)),
    (ops.hard_tanh, -1.0, 0.0, (0.0, 1.0)),
    (ops.hard_tanh, 1.0, 0.0, (1.0, 0.0)),
    (ops.hard_swish, -3.0, 0.0, (0.0, -0.5)),
    (ops.hard_swish, 3.0, 1.0, (1.5, 1.0)),
]


@pytest.mark.parametrize(("activation", "point", "there", "sides"), SUBGRADIENTS)
def test_derivative_at_a_kink_is_the_documented_one(activation, point, there, sides):
    x = jnp.array([point - 1e-4, point, point + 1e-4])
    slopes = jax.jit(jax.vmap(jax.grad(activation)))(x)
    np.testing.assert_allclose(slopes, [sides[0], there, sides[1]], atol=2e-3)
    np.testing.assert_allclose(slopes[1], there, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_finite_everywhere_in_every_dtype(dtype):
    @jax.jit
    def run(x):
        pairs = {name: jax.vjp(getattr(ops, name), x) for name in EVERY}
        return {name: (y, pull(jnp.ones_like(y))[0]) for name, (y, pull) in pairs.items()}

    x = jnp.array([-1e4, -200.0, -20.0, 0.0, 20.0, 200.0, 1e4], dtype)
    for name, (y, slope) in run(x).items():
        assert y.dtype == slope.dtype == dtype, name
        assert y.shape == x.shape
        assert np.isfinite(np.asarray(y, np.float32)).all(), name
        assert np.isfinite(np.asarray(slope, np.float32)).all(), name


def test_derivatives_of_both_modes():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)
    every = jax.jit(lambda x: jnp.stack([getattr(ops, name)(x) for name in SMOOTH]))
    check_grads(every, (x,), order=1, modes=("fwd", "rev"), atol=0.02, rtol=0.02, eps=1e-2)


def test_nan_comes_through():
    run = jax.jit(lambda x: {name: getattr(ops, name)(x)[0] for name in EVERY})
    assert all(np.isnan(y) for y in run(jnp.array([jnp.nan, 1.0])).values())


def test_float64_stays_float64():
    with jax.enable_x64(True):
        x = jnp.linspace(-3.0, 3.0, 7, dtype=jnp.float64)
        for name in EVERY:
            assert jax.eval_shape(getattr(ops, name), x).dtype == jnp.float64
        np.testing.assert_allclose(ops.softplus(x), np.logaddexp(np.asarray(x), 0), rtol=1e-14)
        np.testing.assert_allclose(ops.softmax(x).sum(), 1, rtol=1e-15)


def test_gelu_is_exact_unless_asked():
    x = jnp.array([0.5, 1.5])
    assert float(jnp.abs(ops.gelu(x) - ops.gelu(x, approximate=True)).max()) > 1e-5
    np.testing.assert_allclose(ops.gelu(jnp.float32(1.0)), 0.841344746, rtol=1e-6)  # Phi(1), from a table


def test_softmax_of_bfloat16_sums_in_float32():
    x = jnp.zeros(4096, jnp.bfloat16)  # a bfloat16 sum of ones would stop growing at 256
    np.testing.assert_array_equal(ops.softmax(x).astype(jnp.float32), np.full(4096, 1 / 4096))
    np.testing.assert_allclose(ops.log_softmax(x).astype(jnp.float32), -np.log(4096), rtol=0.004)


def test_softmax_of_masked_classes_is_zero_there():
    np.testing.assert_array_equal(ops.softmax(jnp.array([0.0, -jnp.inf, 0.0])), [0.5, 0.0, 0.5])


def test_prelu_slopes_are_of_channels_and_of_everything():
    x = -jnp.ones((2, 3, 3, 4))
    slopes = jnp.arange(4.0)
    np.testing.assert_array_equal(ops.prelu(x, slopes)[0, 0, 0], -slopes)
    np.testing.assert_array_equal(ops.prelu(x, jnp.float32(0.5)), 0.5 * x)
    assert ops.prelu(x.astype(jnp.bfloat16), slopes).dtype == jnp.bfloat16
    np.testing.assert_array_equal(ops.prelu(jnp.float32(-2.0), jnp.float32(0.5)), -1.0)
    assert ops.prelu(x[:0], slopes).shape == (0, 3, 3, 4)


def test_maxout_takes_neighbouring_channels_and_the_first_of_equal_ones():
    x = jnp.array([[1.0, 5.0, 2.0, 4.0, 4.0, 4.0]])
    np.testing.assert_array_equal(ops.maxout(x, 3), [[5.0, 4.0]])
    gradient = jax.grad(lambda x: ops.maxout(x, 3).sum())(x)
    np.testing.assert_array_equal(gradient, [[0, 1, 0, 1, 0, 0]])
    assert jnp.isnan(ops.maxout(jnp.array([1.0, jnp.nan]), 2)).all()
    assert ops.maxout(jnp.zeros((0, 6)), 2).shape == (0, 3)
    np.testing.assert_array_equal(jax.vmap(lambda row: ops.maxout(row, 2))(x), ops.maxout(x, 2))


def test_wrong_arguments():
    x = jnp.zeros((2, 6))
    with pytest.raises(ValueError, match=r"pieces: expected a divisor of the 6 channels of x, got 4"):
        ops.maxout(x, 4)
    with pytest.raises(ValueError, match=r"slope: expected \[\] for one slope or \[6\] for one a channel"):
        ops.prelu(x, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"x: expected an even size of axis -1, got \[2, 5\]"):
        ops.glu(x[:, :5])
    for name in ("softmax", "log_softmax"):
        with pytest.raises(ValueError, match="x: expected a floating dtype, got int32"):
            getattr(ops, name)(jnp.arange(3))
