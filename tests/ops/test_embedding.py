"""Indices outside the table, padding, norms, gradients and errors; values of PyTorch are in another file."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxvision import ops

TABLE = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)


def test_one_hot():
    labels = jnp.array([[0, 2], [-1, 255]])
    expected = [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]]
    np.testing.assert_array_equal(ops.one_hot(labels, 3), expected)
    assert ops.one_hot(labels, 3).dtype == jnp.float32
    assert ops.one_hot(labels, 3, dtype=jnp.bool_).dtype == jnp.bool_
    assert ops.one_hot(labels[:0], 3).shape == (0, 2, 3)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.int8, jnp.uint8])
def test_indices_outside_are_rows_of_nan_and_never_others(dtype):
    table = jnp.ones((100, 2))
    ids = jnp.array([0, 99, 100, 127], dtype)
    rows = jax.jit(ops.embedding_lookup)(table, ids)
    np.testing.assert_array_equal(jnp.isnan(rows).all(1), [False, False, True, True])
    if dtype != jnp.uint8:
        assert jnp.isnan(ops.embedding_lookup(table, jnp.array([-1, -100, -128], dtype))).all()


def test_a_table_longer_than_the_index_type_reaches():
    table = jnp.arange(300.0)[:, None]
    np.testing.assert_array_equal(ops.embedding_lookup(table, jnp.array([255], jnp.uint8)), [[255.0]])
    assert jnp.isnan(ops.embedding_lookup(table, jnp.array([-1], jnp.int8))).all()
    assert jnp.isnan(ops.embedding_lookup(table, jnp.array([2**32 - 1], jnp.uint32))).all()


def test_checked_mode_names_the_index():
    checked = jax.jit(checkify.checkify(ops.embedding_lookup, errors=checkify.user_checks))
    error, rows = checked(TABLE, jnp.array([4, 0]))
    error.throw()
    np.testing.assert_array_equal(rows, TABLE[jnp.array([4, 0])])
    for ids, found in (([1, 5], "from 0 to 5"), ([-3, 1], "from -3 to 1")):
        error, _ = checked(TABLE, jnp.array(ids))
        with pytest.raises(checkify.JaxRuntimeError, match=f"expected indices from 0 to 4, got {found}"):
            error.throw()
    error, rows = checked(TABLE, jnp.zeros((0, 2), jnp.int32))
    error.throw()
    assert rows.shape == (0, 2, 3)


def test_gradient_is_of_the_gathered_rows_and_skips_what_is_outside():
    ids = jnp.array([1, 3, 1, 9, -2])
    gradient = jax.jit(jax.grad(lambda table: jnp.nansum(2 * ops.embedding_lookup(table, ids))))(TABLE)
    np.testing.assert_array_equal(gradient, np.array([0, 4, 0, 2, 0])[:, None] * np.ones(3))


def test_norm_is_bounded_and_padding_is_looked_up():
    table = 3 * TABLE
    lookup = jax.jit(functools.partial(ops.embedding_lookup, padding_index=1, max_norm=0.5))
    rows = lookup(table, jnp.arange(5))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 0.5, rtol=1e-5)
    directions = table / jnp.linalg.norm(table, axis=1, keepdims=True)
    np.testing.assert_allclose(2 * rows, directions, rtol=1e-5)
    # Short rows stay as they are; the bound is exact however far the others are from it.
    table = jnp.array([[0.1] * 4, [1e6] * 4])
    rows = jax.jit(functools.partial(ops.embedding_lookup, max_norm=1.0))(table, jnp.arange(2))
    np.testing.assert_array_equal(rows[0], table[0])
    np.testing.assert_allclose(rows[1], [0.5] * 4, rtol=1e-6)


def test_both_modes_agree_and_dtype_is_the_tables():
    lookup = functools.partial(ops.embedding_lookup, ids=jnp.array([0, 2, 2]), padding_index=0, max_norm=1.0)
    _, forward = jax.jit(lambda table: jax.jvp(lookup, (table,), (jnp.ones_like(table),)))(TABLE)
    np.testing.assert_array_equal(forward, [[0, 0, 0], [1, 1, 1], [1, 1, 1]])
    assert jax.eval_shape(lookup, TABLE.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    with jax.enable_x64(True):
        table = jnp.asarray(np.eye(3))
        lookup = functools.partial(ops.embedding_lookup, ids=jnp.array([2]), max_norm=0.5)
        assert jax.eval_shape(lookup, table).dtype == jnp.float64


def test_vmap_and_one_trace():
    traces = []

    @jax.jit
    def run(ids):
        traces.append(ids.shape)
        return ops.embedding_lookup(TABLE, ids)

    ids = jnp.array([[0, 1], [4, 2], [7, 0]])
    mapped = jax.vmap(lambda ids: ops.embedding_lookup(TABLE, ids))(ids)
    for index in range(3):
        np.testing.assert_array_equal(mapped[index], run(ids[index]))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((TABLE[0], jnp.array([0])), {}, r"table: expected \[V, C\], got \[3\]"),
        ((TABLE, jnp.array([0.0])), {}, "ids: expected an integer dtype"),
        ((TABLE.astype(jnp.int32), jnp.array([0])), {}, "table: expected a floating dtype"),
        (
            (TABLE, jnp.array([0])),
            {"padding_index": 5},
            "padding_index: expected a row of the table, 0 to 4, got 5",
        ),
        ((TABLE, jnp.array([0])), {"padding_index": -1}, "padding_index: expected a row of the table"),
        ((TABLE, jnp.array([0])), {"max_norm": 0.0}, "max_norm: expected a positive number or None, got 0.0"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ops.embedding_lookup(*arguments, **options)


def test_wrong_arguments_of_one_hot():
    with pytest.raises(ValueError, match="labels: expected an integer dtype"):
        ops.one_hot(jnp.ones(2), 3)
    with pytest.raises(ValueError, match="num_classes: expected at least 1, got 0"):
        ops.one_hot(jnp.array([0]), 0)
