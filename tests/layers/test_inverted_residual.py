"""Inverted residuals: widths, options and errors."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import InvertedResidual, make_divisible


def shapes_of(block, shape=(2, 9, 8, 6)):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(block.init_with_output, train=False), jax.random.key(0), x)


def test_rounding_is_the_published_one():
    # Widths of MobileNetV2 at multiplier 0.35, of MobileNetV3's squeezes, and a half that rounds up.
    assert [make_divisible(c * 0.35) for c in (32, 16, 24, 32, 64, 96, 160, 320)] == [
        16, 8, 8, 16, 24, 32, 56, 112,
    ]  # fmt: skip
    assert [make_divisible(c // 4) for c in (72, 120, 240, 480, 672, 960)] == [24, 32, 64, 120, 168, 240]
    assert make_divisible(12) == 16
    assert make_divisible(3, divisor=4) == 4


def test_hidden_width_is_a_multiple_or_given_and_the_expansion_may_be_left_out():
    _, variables = shapes_of(InvertedResidual(4))
    assert variables["params"]["expand"]["conv"]["kernel"].shape == (1, 1, 6, 36)
    assert variables["params"]["depthwise"]["conv"]["kernel"].shape == (3, 3, 1, 36)
    _, variables = shapes_of(InvertedResidual(4, hidden_features=10, kernel_size=5))
    assert variables["params"]["depthwise"]["conv"]["kernel"].shape == (5, 5, 1, 10)
    _, variables = shapes_of(InvertedResidual(4, expansion=1))
    assert sorted(variables["params"]) == ["depthwise", "project"]


def test_parameters_of_mobilenet_v2s_second_bottleneck():
    # Sandler et al. 2018, table 2 (t = 6, c = 24): 16*96 + 9*96 + 96*24 weights, 2 a normalised channel.
    _, variables = shapes_of(InvertedResidual(24, 2), (1, 112, 112, 16))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 4704 + 2 * (96 + 96 + 24)


@pytest.mark.parametrize(("features", "strides"), [(6, 1), (4, 1), (6, 2)])
def test_input_is_added_only_where_the_shape_stays(features, strides):
    block = InvertedResidual(features, strides, kernel_init=nn.initializers.zeros_init())
    x = jax.random.normal(jax.random.key(1), (1, 5, 4, 6))
    y, _ = jax.jit(functools.partial(block.init_with_output, train=False))(jax.random.key(0), x)
    assert y.shape == ((1, 5, 4, features) if strides == 1 else (1, 3, 2, features))
    np.testing.assert_array_equal(y, x if (features, strides) == (6, 1) else np.zeros(y.shape))


def test_drop_path_drops_whole_samples_in_training_only():
    block = InvertedResidual(4, drop_path_rate=1.0, expansion=1)
    x = jax.random.normal(jax.random.key(1), (2, 3, 3, 4))
    y, variables = jax.jit(functools.partial(block.init_with_output, train=False))(jax.random.key(0), x)
    assert np.abs(y - x).max() > 0.1
    run = jax.jit(functools.partial(block.apply, train=True, mutable=["batch_stats"]))
    y, _ = run(variables, x, rngs={"dropout": jax.random.key(2)})
    np.testing.assert_array_equal(y, x)


def test_padding_is_that_of_the_depthwise_convolution():
    # 9 -> 4 and 8 -> 5 by the numbers given; equal padding would give 5 and 4.
    y, _ = shapes_of(InvertedResidual(4, strides=2, padding=((0, 0), (2, 1))))
    assert y.shape == (2, 4, 5, 4)


def test_wrong_arguments_raise():
    with pytest.raises(ValueError, match=r"padding: no equal padding keeps the size under an even kernel"):
        shapes_of(InvertedResidual(4, kernel_size=4))
    with pytest.raises(ValueError, match=r"x: expected \[N, H, W, C\], got \[9, 8, 6\]"):
        shapes_of(InvertedResidual(4), (9, 8, 6))
