"""Learned positions: what is added, which inputs fit the table, dtypes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import LearnedPositions


@pytest.mark.parametrize("shape", [(2, 7, 4), (2, 3, 5, 4), (0, 3, 5, 4)])
def test_adds_one_vector_a_position_to_every_sample(shape):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    y, variables = jax.jit(LearnedPositions().init_with_output)(jax.random.key(0), x)
    table = variables["params"]["table"]
    assert table.shape == shape[1:]
    np.testing.assert_array_equal(y, x + jnp.broadcast_to(table, shape))


def test_table_is_normal_of_a_small_deviation():
    variables = jax.jit(LearnedPositions().init)(jax.random.key(0), jnp.zeros((1, 16, 16, 32)))
    assert float(variables["params"]["table"].std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("size", [(9,), None])
def test_shorter_sequences_have_the_first_rows(size):
    layer = LearnedPositions(size)
    variables = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 9, 4)))
    y = layer.apply(variables, jnp.zeros((2, 5, 4)))
    np.testing.assert_array_equal(y[1], variables["params"]["table"][:5])
    with pytest.raises(
        ValueError, match=r"x: expected \[N, 9, C\], got \[1, 10, 4\]; make the table of this"
    ):
        layer.apply(variables, jnp.zeros((1, 10, 4)))


@pytest.mark.parametrize("size", [(3, 5), None])
def test_grids_have_the_tables_size(size):
    layer = LearnedPositions(size)
    variables = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 3, 5, 4)))
    for shape in ((1, 2, 5, 4), (1, 5, 3, 4), (1, 15, 4)):
        with pytest.raises(ValueError, match=r"x: expected \[N, 3, 5, C\].*or resize it in the variables"):
            layer.apply(variables, jnp.zeros(shape))


def test_dtypes_and_errors():
    layer, x = LearnedPositions(dtype=jnp.bfloat16), jnp.zeros((1, 3, 4))
    y, variables = jax.eval_shape(functools.partial(layer.init_with_output, jax.random.key(0)), x)
    assert y.dtype == jnp.bfloat16
    assert variables["params"]["table"].dtype == jnp.float32
    with pytest.raises(ValueError, match="x: expected a floating dtype, got int32"):
        layer.init(jax.random.key(0), x.astype(jnp.int32))
    with pytest.raises(ValueError, match=r"x: expected \[N, ..., C\], got \[1, 4\]"):
        layer.init(jax.random.key(0), x[:, 0])
