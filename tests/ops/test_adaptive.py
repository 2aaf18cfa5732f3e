"""Ties, order and errors of adaptive, global and pyramid pooling; values are in test_*_against_torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import ops

X = jnp.zeros((1, 4, 4, 6))


def test_gradient_of_a_tie_goes_to_the_first_of_a_region():
    # Regions of 5 pixels in 2 groups are [0, 3) and [2, 5): the middle row and column belong to both.
    x = jnp.ones((1, 5, 5, 1))
    gradient = jax.jit(jax.grad(lambda x: ops.adaptive_max_pool(x, 2).sum()))(x)[0, :, :, 0]
    expected = np.zeros((5, 5))
    expected[np.ix_([0, 2], [0, 2])] = 1
    np.testing.assert_array_equal(gradient, expected)
    x = jnp.array([[1.0, 3.0, 3.0], [3.0, 2.0, 3.0]])[None, :, :, None]
    gradient = jax.jit(jax.grad(lambda x: ops.global_max_pool(x).sum()))(x)[0, :, :, 0]
    np.testing.assert_array_equal(gradient, [[0, 1, 0], [0, 0, 0]])


MAXIMA = {
    "global": ops.global_max_pool,
    "adaptive": lambda x: ops.adaptive_max_pool(x, 2),
    "pairs of channels": lambda x: ops.channel_max_pool(x, 2),
    "channels": lambda x: ops.channel_max_pool(x, 8),
    "maxout": lambda x: ops.maxout(x, 4),
}


@pytest.mark.parametrize("name", MAXIMA)
def test_gradient_after_a_product_and_a_sum_is_whole(name):
    """XLA may round ``x scale + bias`` in two ways in one program; with jnp.max these gradients are nan."""
    shapes = ((2, 4, 6, 8), (8,), (8,))
    rng = np.random.default_rng(0)
    x, scale, bias = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)

    def total(x, scale, bias):
        y = MAXIMA[name](x * jnp.broadcast_to(scale, x.shape) + jnp.broadcast_to(bias, x.shape))
        return y.sum(), y

    gradients, y = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(x, scale, bias)
    assert all(np.isfinite(each).all() for each in gradients)
    assert float(gradients[2].sum()) == y.size


def test_nan_and_infinities_come_through():
    x = jnp.array([[jnp.nan, 1.0], [-jnp.inf, -jnp.inf], [jnp.inf, 0.0], [-jnp.inf, -1.0]])[:, :, None]
    for y in jax.jit(lambda x: (ops.global_max_pool(x), ops.adaptive_max_pool(x, (1,))))(x):
        np.testing.assert_array_equal(y.ravel(), [jnp.nan, -jnp.inf, jnp.inf, -1])


def test_global_pools_are_adaptive_pools_of_one_region():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 5, 2)), jnp.float32)

    @jax.jit
    def run(x):
        average, maximum = (p(x, (1, 1, 1)) for p in (ops.adaptive_average_pool, ops.adaptive_max_pool))
        return average, ops.global_average_pool(x), maximum, ops.global_max_pool(x)

    average, global_average, maximum, global_maximum = run(x)
    np.testing.assert_allclose(global_average, average[:, 0, 0, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(global_maximum, maximum[:, 0, 0, 0])


def test_pyramid_has_one_length_for_all_sizes_and_is_ordered_by_level_row_column_channel():
    for size in ((1, 1), (13, 13), (7, 30)):
        x = jax.ShapeDtypeStruct((2, *size, 256), jnp.float32)
        assert jax.eval_shape(lambda x: ops.spatial_pyramid_pool(x, levels=(6, 3, 2, 1)), x).shape == (
            2,
            12800,
        )
    x = jnp.arange(8.0).reshape(1, 2, 2, 2)
    expected = [3, 4, 0, 1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(ops.spatial_pyramid_pool(x, levels=(1, 2), mode="average")[0], expected)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"output_size: expected an integer or \(height, width\)"):
        ops.adaptive_average_pool(X, 0)
    with pytest.raises(ValueError, match="x: expected at least one pixel"):
        ops.adaptive_average_pool(X[:, :0], 1)
    with pytest.raises(ValueError, match="x: expected at least one pixel"):
        ops.global_max_pool(X[:, :0])
    with pytest.raises(ValueError, match=r"x: expected \[N, T, C\], got .*the output size \(2,\) is one of"):
        ops.adaptive_max_pool(X, (2,))
    with pytest.raises(ValueError, match=r"x: expected \[N, H, W, C\], \[N, T, C\] or .*; add a batch axis"):
        ops.global_average_pool(X[0, 0])
    with pytest.raises(ValueError, match="x: expected a floating dtype"):
        ops.global_max_pool(X.astype(jnp.int32))
    with pytest.raises(ValueError, match=r"mode: expected one of \['average', 'max'\], got 'sum'"):
        ops.spatial_pyramid_pool(X, mode="sum")
    with pytest.raises(ValueError, match="levels: expected at least one grid size"):
        ops.spatial_pyramid_pool(X, levels=())
    with pytest.raises(ValueError, match=r"x: expected \[N, H, W, C\]"):
        ops.spatial_pyramid_pool(X[0])
