"""Dense layers, blocks and transitions: channels, what is concatenated, dropout and errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import DenseBlock, DenseLayer, Transition


def shapes_of(block, shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(block.init_with_output, train=False), jax.random.key(0), x)


def test_channels_and_parameters_of_densenet_121s_first_block_and_transition():
    # Huang et al. 2017, table 1, k = 32: 6 layers after 64 channels, then half of them.
    y, variables = shapes_of(DenseBlock(6), (1, 8, 8, 64))
    assert y.shape == (1, 8, 8, 256)
    inputs = [64 + 32 * i for i in range(6)]
    expected = sum(2 * c + c * 128 + 2 * 128 + 9 * 128 * 32 for c in inputs)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected
    assert shapes_of(Transition(), y.shape)[0].shape == (1, 4, 4, 128)


def test_input_comes_first_each_layer_adds_its_own_and_dropout_drops_of_that_only():
    block = DenseBlock(2, growth_rate=8, bottleneck=1, dropout_rate=0.5)
    x = jax.random.normal(jax.random.key(1), (4, 5, 5, 4))
    y, variables = jax.jit(functools.partial(block.init_with_output, train=False))(jax.random.key(0), x)
    assert y.shape == (4, 5, 5, 20)
    np.testing.assert_array_equal(y[..., :4], x)
    assert float((y[..., 4:] == 0).mean()) < 0.01
    first = {collection: tree["layer1"] for collection, tree in variables.items()}
    alone = jax.jit(functools.partial(DenseLayer(8, bottleneck=1).apply, train=False))(first, x)
    np.testing.assert_allclose(y[..., 4:12], alone, rtol=1e-5, atol=1e-6)
    run = jax.jit(functools.partial(block.apply, train=True, mutable=["batch_stats"]))
    y, _ = run(variables, x, rngs={"dropout": jax.random.key(2)})
    np.testing.assert_array_equal(y[..., :4], x)
    assert 0.4 < float((y[..., 4:] == 0).mean()) < 0.6


def test_transition_compresses_and_rounds_down():
    assert shapes_of(Transition(), (2, 5, 6, 7))[0].shape == (2, 2, 3, 3)
    assert shapes_of(Transition(compression=1.0), (2, 4, 4, 7))[0].shape == (2, 2, 2, 7)
    assert shapes_of(Transition(features=5), (2, 4, 4, 7))[0].shape == (2, 2, 2, 5)


def test_wrong_input_raises():
    for block in (DenseBlock(1), Transition(4)):
        with pytest.raises(ValueError, match=r"x: expected \[N, H, W, C\], got \[4, 4, 8\]"):
            shapes_of(block, (4, 4, 8))
    with pytest.raises(ValueError, match="larger than the padded image"):
        shapes_of(Transition(), (1, 1, 4, 8))
