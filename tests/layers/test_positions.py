"""Learned positions: what is added, which inputs fit the table, dtypes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import LearnedPositions

OPTIONS = [{}, {"antialias": True}, {"align_corners": True}]


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
        with pytest.raises(ValueError, match=r"x: expected \[N, 3, 5, C\].*or let a grid interpolate"):
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


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("grid", [(4, 6), (2, 3), (7, 5), (1, 9)])
def test_class_tokens_are_kept_apart_and_the_grid_is_resized(options, grid):
    layer, plain = (LearnedPositions((4, 6), n, interpolate=True, **options) for n in (2, 0))
    variables = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 26, 5)))
    assert {name: table.shape for name, table in variables["params"].items()} == {
        "table": (4, 6, 5),
        "class_table": (2, 5),
    }
    x = jnp.ones((3, 2 + grid[0] * grid[1], 5))
    y = jax.jit(functools.partial(layer.apply, grid=grid))(variables, x) - x
    np.testing.assert_allclose(y[1, :2], variables["params"]["class_table"], atol=1e-6)
    table = {"params": {"table": variables["params"]["table"]}}
    whole = plain.apply(table, jnp.zeros((3, *grid, 5)))
    np.testing.assert_allclose(y[:, 2:], whole.reshape(3, -1, 5), atol=1e-6)
    if grid == (4, 6):
        np.testing.assert_array_equal(whole[0], table["params"]["table"])
        np.testing.assert_array_equal(layer.apply(variables, x), y + x)  # the table's own, by default


@pytest.mark.parity
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("grid", [(2, 3), (7, 5), (1, 9), (8, 12)])
def test_interpolation_equals_torch(options, grid):
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    w = np.random.default_rng(1).normal(size=(*grid, 5)).astype(np.float32)

    def total(table):
        layer = LearnedPositions(interpolate=True, **options)
        y = layer.apply({"params": {"table": table}}, jnp.zeros((1, *grid, 5)))[0]
        return (y * w).sum(), y

    (_, y), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(jnp.asarray(table))
    leaf = torch.from_numpy(table).requires_grad_()
    resized = torch.nn.functional.interpolate(leaf.permute(2, 0, 1)[None], grid, mode="bicubic", **options)
    theirs = resized[0].permute(1, 2, 0)
    (expected,) = torch.autograd.grad((theirs * torch.from_numpy(w)).sum(), leaf)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_wrong_grids():
    key, tokens = jax.random.key(0), LearnedPositions(class_tokens=1)
    with pytest.raises(ValueError, match=r"grid: expected \(H, W\) beside 1 class tokens, got None; give it"):
        tokens.init(key, jnp.zeros((1, 7, 4)))
    with pytest.raises(ValueError, match=r"x: expected \[N, 1 \+ 2 \* 3, C\], got \[1, 6, 4\]"):
        tokens.init(key, jnp.zeros((1, 6, 4)), grid=(2, 3))
    variables = jax.jit(functools.partial(tokens.init, grid=(2, 3)))(key, jnp.zeros((1, 7, 4)))
    with pytest.raises(ValueError, match=r"x: expected \[N, 2, 3, C\], got \[1, 5, 4\].*or let a grid inter"):
        tokens.apply(variables, jnp.zeros((1, 5, 4)), grid=(2, 2))
    with pytest.raises(ValueError, match=r"grid: \(2, 3\) is for class_tokens > 0"):
        LearnedPositions().init(key, jnp.zeros((1, 2, 3, 4)), grid=(2, 3))
    with pytest.raises(ValueError, match=r"x: expected \[N, 6, C\], got \[1, 7, 4\]"):
        LearnedPositions((6,), interpolate=True).init(key, jnp.zeros((1, 7, 4)))  # grids only
