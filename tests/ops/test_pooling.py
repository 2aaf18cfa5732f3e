"""Ties, nan, both formulations, transformations and errors of pooling; values are in test_against_torch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision import ops
from jaxvision.ops import formulations

FORMULATIONS = [formulations.native_max_pool, formulations.select_max_pool]


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("pool", FORMULATIONS)
def test_gradient_goes_to_the_first_maximum_of_a_window(pool):
    # Two windows of 2 x 3. First: the sevens at (0, 2) and (1, 0) are tied. Second: all are equal.
    x = jnp.array([[1.0, 2.0, 7.0, 5.0, 5.0, 5.0], [7.0, 0.0, 3.0, 5.0, 5.0, 5.0]])[None, :, :, None]
    options = {"window": (2, 3), "strides": (2, 3), "padding": ((0, 0), (0, 0))}
    gradient = jax.grad(lambda x: pool(x, **options).sum())(x)[0, :, :, 0]
    np.testing.assert_array_equal(gradient, [[0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("pool", FORMULATIONS)
def test_nan_and_infinities_come_through(pool):
    x = jnp.array([[jnp.nan, 1.0, 1.0, jnp.nan, -jnp.inf, -jnp.inf, jnp.inf, 0.0]])[None, :, :, None]
    y = pool(x, window=(1, 2), strides=(1, 2), padding=((0, 0), (0, 0)))
    np.testing.assert_array_equal(y.ravel(), [jnp.nan, jnp.nan, -jnp.inf, jnp.inf])


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        ((2, 2), (2, 2), ((0, 0), (0, 0))),
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((2, 5), (3, 1), ((0, 1), (4, 0))),
        ((1, 1), (2, 2), ((0, 0), (0, 0))),
    ],
)
def test_max_pool_formulations_are_equal(window, strides, padding):
    x = jnp.round(2 * normal(2, 7, 8, 3))  # with ties
    results = []
    for pool in FORMULATIONS:

        @jax.jit
        def run(x, pool=pool):
            y, pull = jax.vjp(lambda x: pool(x, window, strides, padding), x)
            return y, pull(jnp.arange(y.size, dtype=y.dtype).reshape(y.shape))[0]

        results.append(run(x))
    jax.tree.map(np.testing.assert_array_equal, *results)


CALLS = {
    "max": functools.partial(ops.max_pool, window=3, strides=2, padding=1),
    "average": functools.partial(ops.average_pool, window=3, strides=2, padding=1, count_include_pad=False),
    "adaptive": functools.partial(ops.adaptive_average_pool, output_size=(2, 3)),
    "global": ops.global_average_pool,
}


@pytest.mark.parametrize("name", CALLS)
def test_derivatives_of_both_modes_and_two_orders(name):
    x = jnp.asarray(np.random.default_rng(0).permutation(50).reshape(1, 5, 5, 2), jnp.float32) / 10  # no ties
    check_grads(jax.jit(CALLS[name]), (x,), order=2, modes=("fwd", "rev"), atol=0.05, rtol=0.05, eps=1e-2)


@pytest.mark.parametrize("name", CALLS)
def test_vmap_traces_and_empty_batch(name):
    pool, xs, traces = CALLS[name], normal(3, 2, 5, 6, 2), []

    @jax.jit
    def run(x):
        traces.append(x.shape)
        return pool(x)

    mapped = jax.jit(jax.vmap(pool))(xs)
    for index in range(3):
        np.testing.assert_allclose(mapped[index], run(xs[index]), atol=1e-6)
    assert len(traces) == 1
    assert run(xs[0][:0]).shape == (0, *mapped.shape[2:])


def test_average_of_bfloat16_is_summed_in_float32():
    x = jnp.full((1, 64, 64, 1), 0.1, jnp.bfloat16)  # 4096 terms: a bfloat16 sum would stop growing
    for y in (ops.global_average_pool(x), ops.average_pool(x, 64), ops.adaptive_average_pool(x, 1)):
        assert y.dtype == jnp.bfloat16
        np.testing.assert_array_equal(y.ravel(), x[0, 0, 0])


X = jnp.zeros((1, 4, 4, 6))


@pytest.mark.parametrize("pool", [ops.max_pool, ops.average_pool])
@pytest.mark.parametrize(
    ("x", "window", "options", "message"),
    [
        (X[0], 2, {}, r"x: expected \[N, H, W, C\], got \[4, 4, 6\]"),
        (X.astype(jnp.int32), 2, {}, "x: expected a floating dtype, got int32"),
        (X, 5, {}, r"window: \[5, 5\] is larger than the padded image \[4, 4\]"),
        (X, 2, {"padding": 2}, r"padding: expected less than the window \[2, 2\]"),
        (X, 0, {}, r"window: expected an integer or \(height, width\)"),
        (X, 2, {"strides": 0}, r"strides: expected an integer or \(height, width\)"),
    ],
)
def test_wrong_arguments(pool, x, window, options, message):
    with pytest.raises(ValueError, match=message):
        pool(x, window, **options)


def test_wrong_arguments_of_adaptive_and_global_pools():
    with pytest.raises(ValueError, match=r"output_size: expected an integer or \(height, width\)"):
        ops.adaptive_average_pool(X, 0)
    with pytest.raises(ValueError, match="x: expected at least one pixel"):
        ops.adaptive_average_pool(X[:, :0], 1)
    with pytest.raises(ValueError, match=r"x: expected \[N, H, W, C\], \[N, T, C\] or .*; add a batch axis"):
        ops.global_average_pool(X[0, 0])
