"""Ties, nan, formulations, transformations and errors of pooling; values are in test_*_against_torch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision import ops
from jaxvision.ops import formulations, pooling

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
    "max with holes": functools.partial(ops.max_pool, window=2, dilation=2, strides=1),
    "average over the end": functools.partial(ops.average_pool, window=2, ceil_mode=True),
    "power": functools.partial(ops.lp_pool, window=2),
    "channels": functools.partial(ops.channel_max_pool, size=2),
    "adaptive": functools.partial(ops.adaptive_average_pool, output_size=(2, 3)),
    "adaptive max": functools.partial(ops.adaptive_max_pool, output_size=(2, 3)),
    "global": ops.global_average_pool,
    "global max": ops.global_max_pool,
    "pyramid": functools.partial(ops.spatial_pyramid_pool, levels=(1, 2)),
}


# A pyramid is adaptive pools side by side.
@pytest.mark.parametrize("name", [name for name in CALLS if name != "pyramid"])
def test_derivatives_of_both_modes_and_two_orders(name):
    x = jnp.asarray(np.random.default_rng(0).permutation(50).reshape(1, 5, 5, 2), jnp.float32) / 10  # no ties
    # All are linear where they are smooth, but for the power mean; the square has a second derivative.
    pool = CALLS[name] if name == "power" else lambda x: CALLS[name](x) ** 2
    order = 2 if name in ("max", "average", "power", "global max") else 1
    check_grads(jax.jit(pool), (x,), order=order, modes=("fwd", "rev"), atol=0.05, rtol=0.05, eps=1e-2)


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


def test_a_pool_says_what_it_slides_over():
    with pytest.raises(ValueError, match=r"x: expected \[N, T, C\], got .*; the window \(2,\) slides over"):
        ops.max_pool(X, (2,))
    with pytest.raises(ValueError, match=r"window: expected an integer or one integer for each of 1, 2 or 3"):
        ops.average_pool(X, (2, 2, 2, 2))
    with pytest.raises(ValueError, match=r"window: \[5, 5\] is larger than the padded image \[4, 4\]"):
        ops.max_pool(X, 3, dilation=2)  # the window with its holes
    with pytest.raises(ValueError, match="dilation: expected an integer"):
        ops.max_pool(X, 2, dilation=0)


def test_ceil_mode_counts_windows_that_start_inside_or_before_the_image():
    def sizes(size, **options):
        x = jax.ShapeDtypeStruct((1, size, 1), jnp.float32)
        return [
            jax.eval_shape(lambda x, pool=pool: pool(x, **options), x).shape[1]
            for pool in (ops.max_pool, ops.average_pool)
        ]

    assert sizes(7, window=(2,), ceil_mode=False) == [3, 3]
    assert sizes(7, window=(2,), ceil_mode=True) == [4, 4]
    assert sizes(8, window=(2,), ceil_mode=True) == [4, 4]
    # Windows start at -1, 2, 5 and 8: the last one would start beyond the seven pixels and is left out.
    assert sizes(7, window=(2,), strides=3, padding=1, ceil_mode=True) == [3, 3]
    assert sizes(7, window=(3,), strides=5, ceil_mode=True) == [2, 2]
    # A window that is larger than the image by less than a step hangs over its end.
    assert sizes(2, window=(3,), strides=2, ceil_mode=True) == [1, 1]
    with pytest.raises(ValueError, match=r"window: \[3\] is larger than the padded image \[1\]"):
        sizes(1, window=(3,), strides=2, ceil_mode=True)


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("ceil_mode", [True, False])
def test_average_of_ones_counts_what_lies_under_the_window(count_include_pad, ceil_mode):
    # A border on one side only: PyTorch has none. Counted by hand from the window's definition.
    x = jnp.ones((1, 4, 1))
    options = {"strides": 3, "padding": ((1, 0),), "ceil_mode": ceil_mode}
    y = ops.average_pool(x, (3,), count_include_pad=count_include_pad, **options).ravel()
    first = 2 / 3 if count_include_pad else 1.0  # one of the three elements is border
    np.testing.assert_allclose(y, [first, 1.0] if ceil_mode else [first], rtol=1e-6)


def test_both_formulations_of_sums_are_equal():
    x = normal(2, 7, 8, 3)
    for options in (
        {"window": 3, "strides": 2, "padding": 1},
        {"window": (2, 4)},
        {"window": 3, "strides": 1},
    ):
        slide = pooling.read_sliding(x, options["window"], options.get("strides"), options.get("padding", 0))
        sums = [form(x, slide) for form in (pooling._native_sums, pooling._slice_sums)]
        np.testing.assert_allclose(*sums, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_power_mean_of_zeros_is_zero_with_a_zero_gradient(dtype):
    y, gradient = jax.value_and_grad(lambda x: ops.lp_pool(x, 2).sum())(jnp.zeros((1, 2, 2, 1), dtype))
    assert y == 0
    np.testing.assert_array_equal(gradient, jnp.zeros_like(gradient))


def test_odd_powers_keep_their_sign():
    x = jnp.array([-1.0, 2.0, 3.0, -4.0, -2.0, 1.0]).reshape(1, 6, 1)
    np.testing.assert_allclose(ops.lp_pool(x, (2,), p=1).ravel(), [1, -1, -1])
    roots = [7 ** (1 / 3), -(37 ** (1 / 3)), -(7 ** (1 / 3))]  # of 8 - 1, 27 - 64, 1 - 8
    np.testing.assert_allclose(ops.lp_pool(x, (2,), p=3).ravel(), roots, rtol=1e-6)
    halves = sum(n**0.5 for n in (1, 2, 3, 4, 2, 1)) ** 2
    np.testing.assert_allclose(ops.lp_pool(jnp.abs(x), (6,), p=0.5).ravel(), [halves], rtol=1e-6)
    assert jnp.isnan(ops.lp_pool(x, (2,), p=2.5)).all()


def test_wrong_arguments_of_power_and_channel_pools():
    for p in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"p: expected a positive, finite number"):
            ops.lp_pool(X, 2, p=p)
    with pytest.raises(ValueError, match="size: expected a divisor of the 6 channels, got 4"):
        ops.channel_max_pool(X, 4)
    with pytest.raises(ValueError, match="size: expected an integer"):
        ops.channel_max_pool(X, 0)
