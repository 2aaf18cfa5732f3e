"""Inception blocks: widths of the paper, and errors."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxvision.layers import InceptionBlock


def shapes_of(block, shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(block.init_with_output, train=False), jax.random.key(0), x)


@pytest.mark.parametrize(
    ("fields", "inputs", "outputs", "parameters"),
    [
        ((64, 96, 128, 16, 32, 32), 192, 256, 159),  # inception (3a)
        ((128, 128, 192, 32, 96, 64), 256, 480, 380),  # inception (3b)
        ((384, 192, 384, 48, 128, 128), 832, 1024, 1388),  # inception (5b)
    ],
)
def test_channels_and_parameters_are_those_of_table_1(fields, inputs, outputs, parameters):
    y, variables = shapes_of(InceptionBlock(*fields, norm=None), (1, 14, 14, inputs))
    assert y.shape == (1, 14, 14, outputs)
    kernels = [leaf.size for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim == 4]
    # The paper counts in thousands: 159K, 380K and 1388K.
    assert abs(sum(kernels) / 1024 - parameters) < 0.03 * parameters


def test_wrong_arguments_raise():
    with pytest.raises(ValueError, match=r"padding: no equal padding keeps the size under an even kernel"):
        shapes_of(InceptionBlock(1, 1, 1, 1, 1, 1, kernel_size=4), (1, 4, 4, 2))
    with pytest.raises(ValueError, match=r"x: expected \[N, H, W, C\], got \[4, 4, 2\]"):
        shapes_of(InceptionBlock(1, 1, 1, 1, 1, 1), (4, 4, 2))
