"""Embedding layers: tables, padding, tied weights, columns. The look-up itself is tested as an op."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.layers import Embed, EntityEmbedding, entity_widths


def test_table_is_standard_normal_with_a_zero_row_for_padding():
    embed = Embed(1000, 16, padding_index=3)
    variables = jax.jit(embed.init)(jax.random.key(0), jnp.array([0]))
    table = np.asarray(variables["params"]["embedding"])
    assert table.shape == (1000, 16)
    np.testing.assert_array_equal(table[3], np.zeros(16))
    np.testing.assert_allclose([table.mean(), table.std()], [0, 1], atol=0.03)
    rows = embed.apply(variables, jnp.array([[3, 7]]))
    np.testing.assert_array_equal(rows, table[None, [3, 7]])


def test_padding_stays_zero_in_training_and_absent_rows_stay():
    embed, optimizer = Embed(6, 4, padding_index=0), optax.sgd(0.1)
    variables = jax.jit(embed.init)(jax.random.key(0), jnp.array([0]))

    @jax.jit
    def step(variables, ids):
        gradient = jax.grad(lambda v: ((embed.apply(v, ids) - 1) ** 2).sum())(variables)
        updates, _ = optimizer.update(gradient, optimizer.init(variables))
        return optax.apply_updates(variables, updates)

    after = step(variables, jnp.array([0, 2, 2, 5]))["params"]["embedding"]
    before = variables["params"]["embedding"]
    np.testing.assert_array_equal(
        np.asarray(after != before).any(1), [False, False, True, False, False, True]
    )


def test_options_reach_the_look_up_and_dtype_casts():
    embed = Embed(4, 8, max_norm=0.5, dtype=jnp.bfloat16)
    rows, variables = jax.jit(embed.init_with_output)(jax.random.key(0), jnp.array([0, 3, 4]))
    assert rows.dtype == jnp.bfloat16
    assert variables["params"]["embedding"].dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(rows[:2].astype(jnp.float32), axis=1), 0.5, rtol=0.01)
    assert np.isnan(rows[2].astype(jnp.float32)).all()
    shape = jax.eval_shape(functools.partial(embed.apply, variables), jnp.zeros((0, 5), jnp.int32)).shape
    assert shape == (0, 5, 8)


def test_attend_scores_against_every_row_of_the_same_table():
    embed = Embed(5, 3)
    variables = jax.jit(embed.init)(jax.random.key(0), jnp.array([0]))
    table = variables["params"]["embedding"]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3)), jnp.float32)
    logits = embed.apply(variables, x, method="attend")
    np.testing.assert_allclose(logits, np.einsum("ntc,vc->ntv", x, table), rtol=1e-5, atol=1e-6)
    made = jax.eval_shape(lambda: embed.init(jax.random.key(0), x, method="attend"))
    assert made["params"]["embedding"].shape == (5, 3)
    with pytest.raises(ValueError, match=r"x: expected \[..., 3\], got \[2, 4, 2\]"):
        embed.apply(variables, x[..., :2], method="attend")


def test_logits_of_tied_weights_are_float32_also_in_bfloat16():
    embed, x = Embed(5, 4, dtype=jnp.bfloat16), jnp.ones((2, 4), jnp.bfloat16)
    variables = jax.jit(lambda key: embed.init(key, x, method="attend"))(jax.random.key(0))
    assert embed.apply(variables, x, method="attend").dtype == jnp.float32


def test_widths_of_the_rule():
    assert entity_widths((1, 2, 3, 99, 100, 10**6)) == (1, 1, 2, 50, 50, 50)


def test_columns_are_linear_layers_on_one_hot_vectors():
    model = EntityEmbedding((3, 7, 200))
    columns = jnp.array([[0, 6, 199], [2, 0, 5]])
    y, variables = jax.jit(model.init_with_output)(jax.random.key(0), columns)
    assert y.shape == (2, 2 + 4 + 50)
    tables = [variables["params"][f"column{index}"]["embedding"] for index in range(3)]
    expected = [jax.nn.one_hot(columns[:, i], table.shape[0]) @ table for i, table in enumerate(tables)]
    np.testing.assert_allclose(y, jnp.concatenate(expected, -1), rtol=1e-6, atol=1e-8)
    assert 0.045 < float(jnp.abs(tables[2]).max()) <= 0.05
    series = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, 9, 3), jnp.int32))[0]
    )
    assert series.shape == (2, 9, 56)


def test_columns_with_widths_of_ones_own_learn_a_table():
    # A function of two categorical columns that is a sum of one value each: two embeddings of width 1 fit it.
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(2, 6))
    columns = jnp.asarray(rng.integers(0, 6, (256, 2)), jnp.int32)
    targets = jnp.asarray(effects[0][columns[:, 0]] + effects[1][columns[:, 1]], jnp.float32)
    model, optimizer = EntityEmbedding((6, 6), features=(1, 1)), optax.adam(0.1)
    variables = jax.jit(model.init)(jax.random.key(0), columns)

    @jax.jit
    def train(variables):
        def loss(variables):
            return ((model.apply(variables, columns).sum(-1) - targets) ** 2).mean()

        def step(carry, _):
            variables, state = carry
            value, gradient = jax.value_and_grad(loss)(variables)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(variables, updates), state), value

        return jax.lax.scan(step, (variables, optimizer.init(variables)), length=200)[1]

    losses = train(variables)
    assert float(losses[0]) > 0.5
    assert float(losses[-1]) < 1e-4


def test_errors():
    columns = jnp.zeros((2, 2), jnp.int32)
    with pytest.raises(
        ValueError, match=r"columns: expected \[..., 3\], got \[2, 2\]; one column a vocabulary"
    ):
        EntityEmbedding((3, 4, 5)).init(jax.random.key(0), columns)
    with pytest.raises(ValueError, match=r"features: expected 2 widths, one a vocabulary, got \[4\]"):
        EntityEmbedding((3, 4), features=(4,)).init(jax.random.key(0), columns)
    with pytest.raises(ValueError, match="columns: expected an integer dtype"):
        EntityEmbedding((3, 4)).init(jax.random.key(0), jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="padding_index: expected a row of the table, 0 to 3, got 4"):
        Embed(4, 2, padding_index=4).init(jax.random.key(0), columns)
