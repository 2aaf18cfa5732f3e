"""Patch embedding: order of the vectors, gradients, errors. Values against PyTorch are tested with the other
convolution variants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision.layers import Conv, PatchEmbed

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 8, 3)), jnp.float32)


def test_vectors_are_in_row_major_order_and_equal_the_strided_convolution():
    layer = PatchEmbed(5, (3, 2))
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), IMAGES)
    assert y.shape == (2, 2 * 4, 5)
    expected = jax.jit(Conv(5, (3, 2), (3, 2)).apply)(variables, IMAGES)
    np.testing.assert_allclose(y, expected.reshape(2, 8, 5), atol=1e-5)
    grid = jax.jit(layer.copy(flatten=False).apply)(variables, IMAGES)
    np.testing.assert_array_equal(grid.reshape(y.shape), y)


def test_parameters_of_vit_b_16():
    shapes = jax.eval_shape(PatchEmbed(768).init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 590_592


def test_derivatives():
    layer = PatchEmbed(2, 2, use_bias=False)
    variables = jax.jit(layer.init)(jax.random.key(0), IMAGES)
    assert list(variables["params"]) == ["kernel"]
    loss = jax.jit(jax.grad(lambda x: jnp.sin(layer.apply(variables, x)).sum()))
    check_grads(loss, (IMAGES[:1],), 1, modes=("fwd",), atol=0.02, rtol=0.02, eps=1e-2)


def test_errors():
    with pytest.raises(
        ValueError, match=r"multiples of the patch's, \[4, 4\], got \[2, 6, 8, 3\]; resize or pad"
    ):
        PatchEmbed(5, 4).init(jax.random.key(0), IMAGES)
    with pytest.raises(ValueError, match=r"x: expected \[N, T, H, W, C\], got \[2, 6, 8, 3\]"):
        PatchEmbed(5, (2, 2, 2)).init(jax.random.key(0), IMAGES)
