"""Activations with parameters: PReLU's slopes and what Maxout can fit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision import ops
from jaxvision.layers import ConvNormAct, Maxout, PReLU


@pytest.mark.parametrize(("per_channel", "slopes"), [(False, 1), (True, 5)])
def test_prelu_starts_at_a_quarter_and_learns_its_slopes(per_channel, slopes):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 5)), jnp.float32)
    layer = PReLU(per_channel)
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    np.testing.assert_array_equal(variables["params"]["slope"], np.full(slopes, 0.25))
    np.testing.assert_array_equal(y, jnp.where(x > 0, x, 0.25 * x))
    gradient = jax.jit(jax.grad(lambda v: layer.apply(v, x).sum()))(variables)["params"]["slope"]
    np.testing.assert_allclose(gradient, np.minimum(x, 0).sum((0, 1, 2) if per_channel else None), rtol=1e-5)
    assert jax.eval_shape(layer.apply, variables, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_prelu_is_an_activation_of_a_block():
    block = ConvNormAct(4, activation=PReLU(per_channel=True))
    variables = jax.eval_shape(lambda: block.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=True))
    shapes = [leaf.shape for path, leaf in jax.tree.leaves_with_path(variables) if "slope" in str(path)]
    assert shapes == [(4,)]


def test_maxout_is_the_largest_of_its_linear_functions():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), jnp.float32)
    y, variables = jax.jit(Maxout(3, pieces=4).init_with_output)(jax.random.key(0), x)
    linear = variables["params"]["linear"]
    assert linear["kernel"].shape == (5, 12)
    pieces = np.asarray(x) @ np.asarray(linear["kernel"]) + np.asarray(linear["bias"])
    np.testing.assert_allclose(y, pieces.reshape(6, 3, 4).max(-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ops.maxout(jnp.asarray(pieces), 4).shape, (6, 3))


@pytest.mark.parametrize(
    ("function", "pieces", "error"),
    [
        # |x| is the maximum of two lines. The best k lines miss x^2 on [-1, 1] by 1 / (2 k^2), three by 0.06:
        # four at least must be found. (Lines that are nowhere the largest learn nothing.)
        (jnp.abs, 2, 0.001),
        (jnp.square, 16, 0.05),
    ],
)
def test_maxout_fits_convex_functions(function, pieces, error):
    x = jnp.linspace(-1.0, 1.0, 201)[:, None]
    normal = jax.nn.initializers.normal
    model = Maxout(1, pieces, kernel_init=normal(2.0), bias_init=normal(0.1))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 600))
    variables = jax.jit(model.init)(jax.random.key(0), x)

    @jax.jit
    def train(variables):
        def loss(variables):
            return jnp.square(model.apply(variables, x) - function(x)).mean()

        def step(carry, _):
            variables, state = carry
            updates, state = optimizer.update(jax.grad(loss)(variables), state)
            return (optax.apply_updates(variables, updates), state), None

        (variables, _), _ = jax.lax.scan(step, (variables, optimizer.init(variables)), length=600)
        return variables

    before = jnp.abs(model.apply(variables, x) - function(x)).max()
    after = jnp.abs(model.apply(train(variables), x) - function(x)).max()
    assert float(before) > 0.2
    assert float(after) < error


def test_maxout_with_two_pieces_keeps_the_mean_square():
    x = jax.random.normal(jax.random.key(0), (512, 256))
    y, _ = jax.jit(Maxout(256).init_with_output)(jax.random.key(1), x)
    assert float(jnp.square(y).mean()) == pytest.approx(1.0, rel=0.05)


def test_dtypes_and_errors():
    x = jnp.zeros((0, 4))
    y, variables = jax.eval_shape(
        lambda: Maxout(3, dtype=jnp.bfloat16).init_with_output(jax.random.key(0), x)
    )
    assert y.shape == (0, 3)
    assert y.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    with pytest.raises(ValueError, match="pieces: expected at least 1, got 0"):
        Maxout(3, pieces=0).init(jax.random.key(0), x)
    for layer in (Maxout(3), PReLU()):
        with pytest.raises(ValueError, match="x: expected a floating dtype, got int32"):
            layer.init(jax.random.key(0), x.astype(jnp.int32))
