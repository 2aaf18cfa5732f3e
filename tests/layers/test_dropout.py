"""Dropout layers: modes, keys and errors. Shares and masks are tested as ops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError

from jaxvision import ops
from jaxvision.layers import Dropout, DropPath, SpatialDropout

X = jnp.asarray(np.random.default_rng(0).normal(size=(16, 3, 3, 8)), jnp.float32)
LAYERS = {Dropout: ops.dropout, SpatialDropout: ops.channel_dropout, DropPath: ops.drop_path}


@pytest.mark.parametrize("layer", LAYERS)
def test_evaluation_is_the_identity_and_needs_no_key(layer):
    assert layer(0.5).apply({}, X, train=False) is X
    assert layer(0.0).apply({}, X, train=True) is X
    assert layer(0.5).init(jax.random.key(0), X, train=False) == {}
    with pytest.raises(InvalidRngError):
        layer(0.5).apply({}, X, train=True)


@pytest.mark.parametrize("layer", LAYERS)
def test_training_drops_by_the_op_with_the_collections_key(layer):
    @jax.jit
    def run(key):
        return layer(0.5).apply({}, X, train=True, rngs={"dropout": key})

    first, again, other = run(jax.random.key(0)), run(jax.random.key(0)), run(jax.random.key(1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    kept = np.asarray(first) != 0
    np.testing.assert_allclose(np.asarray(first)[kept], 2 * np.asarray(X)[kept], rtol=1e-6)
    # What is constant within one draw of the op is constant within one of the layer.
    for axes in ((1, 2), (1, 2, 3)):
        mask = np.asarray(LAYERS[layer](jax.random.key(0), jnp.ones(X.shape), rate=0.5)) != 0
        assert (kept.std(axes).max() == 0) == (mask.std(axes).max() == 0)
    assert 0 < kept.mean() < 1


def test_two_layers_of_one_model_draw_apart():
    import flax.linen as nn

    class Two(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return Dropout(0.5)(x, train=train), Dropout(0.5)(x, train=train)

    first, second = Two().apply({}, jnp.ones(100), train=True, rngs={"dropout": jax.random.key(0)})
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("train", [True, False])
def test_errors_in_both_modes(layer, train):
    with pytest.raises(ValueError, match=r"rate: expected the probability of zero, from 0 to 1, got 1\.5"):
        layer(1.5).apply({}, X, train=train, rngs={"dropout": jax.random.key(0)})
    with pytest.raises(ValueError, match="x: expected a floating dtype, got int32"):
        layer(0.5).apply({}, X.astype(jnp.int32), train=train, rngs={"dropout": jax.random.key(0)})
