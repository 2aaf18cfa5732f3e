"""Both formulations, ties, borders, dropped indices and derivatives; values are in test_*_against_torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision import ops

Y, INDICES = jnp.zeros((1, 2, 2, 3)), jnp.zeros((1, 2, 2, 3), jnp.int32)


def integers(*shape: int) -> jax.Array:
    """Few different values, so that maxima are tied."""
    return jnp.asarray(np.random.default_rng(0).integers(-1, 2, shape), jnp.float32)


@pytest.mark.parametrize(
    ("shape", "window", "options"),
    [
        ((2, 6, 8, 3), 2, {}),
        ((2, 7, 8, 3), (2, 3), {}),
        ((1, 7, 8, 2), (2, 3), {"ceil_mode": True}),
        ((2, 7, 3), (3,), {}),
        ((1, 4, 5, 2, 2), (2, 2, 2), {}),
    ],
)
def test_unpooling_with_a_window_equals_the_scatter(shape, window, options):
    x = integers(*shape)
    y, indices = jax.jit(lambda x: ops.max_pool_with_indices(x, window, **options))(x)

    @jax.jit
    def run(y, indices, cotangent):
        results = []
        for promise in (None, window):
            out, pull = jax.vjp(lambda y: ops.max_unpool(y, indices, shape[1:-1], window=promise), y)  # noqa: B023
            results.append((out, pull(cotangent)[0]))
        return results

    general, promised = run(y, indices, jnp.arange(x.size, dtype=x.dtype).reshape(shape))
    jax.tree.map(np.testing.assert_array_equal, general, promised)
    assert general[0].shape == shape
    # Each maximum is back at its place: pooled again, the positive ones are what they were.
    again = jax.jit(lambda x: ops.max_pool(x, window, **options))(general[0])
    np.testing.assert_array_equal(again, jnp.maximum(y, 0))


def test_pooling_equals_max_pool_and_its_gradient():
    x = integers(2, 7, 6, 3)
    options = {"window": 3, "strides": 2, "padding": 1}

    @jax.jit
    def run(x):
        results = []
        for pool in (ops.max_pool, lambda x, **o: ops.max_pool_with_indices(x, **o)[0]):
            y, pull = jax.vjp(lambda x: pool(x, **options), x)  # noqa: B023
            results.append((y, pull(jnp.arange(y.size, dtype=y.dtype).reshape(y.shape))[0]))
        return results

    jax.tree.map(np.testing.assert_array_equal, *run(x))


def test_indices_are_never_on_the_border():
    # Where all is minus infinity the first real pixel is taken, and a nan wins over everything.
    x = jnp.full((1, 3, 3, 1), -jnp.inf)
    pool = jax.jit(lambda x: ops.max_pool_with_indices(x, 2, strides=2, padding=1))
    y, indices = pool(x)
    np.testing.assert_array_equal(indices[0, :, :, 0], [[0, 1], [3, 4]])
    np.testing.assert_array_equal(y, -jnp.inf)
    y, indices = pool(x.at[0, 1, 1].set(jnp.nan))
    np.testing.assert_array_equal(y[0, :, :, 0], [[-jnp.inf, -jnp.inf], [-jnp.inf, jnp.nan]])
    assert indices[0, 1, 1, 0] == 4


@pytest.mark.parametrize("window", [None, 2])
def test_an_index_outside_the_image_drops_its_value_and_has_no_gradient(window):
    y = jnp.arange(1.0, 5.0).reshape(1, 2, 2, 1)
    indices = jnp.array([-1, 2, 99, 15]).reshape(1, 2, 2, 1)

    @jax.jit
    def run(y, indices):
        out, pull = jax.vjp(lambda y: ops.max_unpool(y, indices, 4, window=window), y)
        return out, pull(jnp.ones_like(out))[0]

    out, gradient = run(y, indices)
    expected = np.zeros((4, 4))
    expected[0, 2], expected[3, 3] = 2, 4
    np.testing.assert_array_equal(out[0, :, :, 0], expected)
    np.testing.assert_array_equal(gradient.ravel(), [0, 1, 0, 1])


def test_an_index_outside_its_promised_window_drops_its_value():
    y, indices = jnp.ones((1, 2, 2, 1)), jnp.array([0, 1, 8, 10]).reshape(1, 2, 2, 1)
    out = jax.jit(lambda y, indices: ops.max_unpool(y, indices, 4, window=2))(y, indices)
    np.testing.assert_array_equal(np.flatnonzero(out), [0, 8, 10])


def test_values_of_one_index_share_its_gradient():
    y, indices = jnp.full((1, 1, 3, 1), 5.0), jnp.array([2, 2, 0]).reshape(1, 1, 3, 1)
    unpool = jax.jit(lambda y: ops.max_unpool(y, indices, 2))
    out, pull = jax.vjp(unpool, y)
    np.testing.assert_array_equal(out.ravel(), [5, 0, 5, 0])
    np.testing.assert_array_equal(pull(jnp.arange(4.0).reshape(1, 2, 2, 1))[0].ravel(), [2, 2, 0])
    tangent = jax.jvp(unpool, (y,), (jnp.ones_like(y),))[1]
    np.testing.assert_array_equal(tangent.ravel(), [1, 0, 2, 0])


@pytest.mark.parametrize("window", [None, 2])
def test_derivatives_of_both_modes(window):
    x = jnp.asarray(np.random.default_rng(0).permutation(48).reshape(1, 6, 4, 2), jnp.float32) / 10  # no ties

    def there_and_back(x):
        y, indices = ops.max_pool_with_indices(x, 2)
        return ops.max_unpool(y**2, indices, (6, 4), window=window)

    order = 2 if window is None else 1
    check_grads(
        jax.jit(there_and_back), (x,), order=order, modes=("fwd", "rev"), atol=0.05, rtol=0.05, eps=1e-2
    )


@pytest.mark.parametrize("window", [None, 2])
def test_vmap_and_traces(window):
    xs, traces = integers(3, 2, 4, 6, 2), []

    @jax.jit
    def run(x):
        traces.append(x.shape)
        y, indices = ops.max_pool_with_indices(x, 2)
        return ops.max_unpool(y, indices, (4, 6), window=window)

    mapped = jax.jit(jax.vmap(run))(xs)
    traces.clear()
    for index in range(3):
        np.testing.assert_array_equal(mapped[index], run(xs[index]))
    assert len(traces) <= 1


@pytest.mark.parametrize(
    ("y", "indices", "size", "window", "message"),
    [
        (Y[0], INDICES[0], 4, None, r"y: expected \[N, H, W, C\], got \[2, 2, 3\]"),
        (Y, INDICES, (4,), None, r"y: expected \[N, T, C\], got \[1, 2, 2, 3\]"),
        (INDICES, INDICES, 4, None, "y: expected a floating dtype, got int32"),
        (Y, Y, 4, None, "indices: expected an integer dtype"),
        (Y, INDICES[:, :1], 4, None, "expected equal shapes"),
        (Y, INDICES, 0, None, "output_size: expected an integer"),
        (
            Y,
            INDICES,
            6,
            2,
            r"output_size: expected a size that windows \[2, 2\] pool to \[2, 2\], such as \[4, 4\]",
        ),
        (Y, INDICES, (4, 2), 2, "output_size: expected a size that windows"),
    ],
)
def test_wrong_arguments(y, indices, size, window, message):
    with pytest.raises(ValueError, match=message):
        ops.max_unpool(y, indices, size, window=window)


def test_too_many_pixels_for_an_index():
    x = jax.ShapeDtypeStruct((1, 2**16, 2**15, 1), jnp.float32)
    with pytest.raises(ValueError, match="too many pixels for int32 indices"):
        jax.eval_shape(lambda x: ops.max_pool_with_indices(x, 2), x)
