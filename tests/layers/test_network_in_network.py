"""Network in network: the block is a perceptron of each patch. Values against PyTorch are tested with the
other convolution variants."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import MLPConv

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 5, 4)), jnp.float32)


def test_it_is_one_perceptron_over_all_patches():
    layer = MLPConv((6, 5, 3), 3, padding=0)
    variables = jax.jit(functools.partial(layer.init, train=False))(jax.random.key(0), IMAGES)
    y = jax.jit(functools.partial(layer.apply, train=False))(variables, IMAGES)
    assert y.shape == (2, 4, 3, 3)
    hidden = np.asarray(IMAGES[1, 2:5, 1:4]).ravel()
    for name in ("conv", "mlp1", "mlp2"):
        params = variables["params"][name]["conv"]
        kernel = np.asarray(params["kernel"]).reshape(-1, params["kernel"].shape[-1])
        hidden = np.maximum(hidden @ kernel + np.asarray(params["bias"]), 0)
    np.testing.assert_allclose(y[1, 2, 1], hidden, atol=1e-5)


def test_sequences_and_video():
    for x, kernel in ((jnp.zeros((2, 9, 4)), (3,)), (jnp.zeros((2, 3, 6, 5, 4)), (3, 3, 3))):
        init = functools.partial(MLPConv((6, 3), kernel).init_with_output, train=False)
        y, _ = jax.eval_shape(init, jax.random.key(0), x)
        assert y.shape == (*x.shape[:-1], 3)


def test_no_layers_are_an_error():
    with pytest.raises(ValueError, match="features: expected the channels of at least one layer"):
        MLPConv(()).init(jax.random.key(0), IMAGES, train=False)
