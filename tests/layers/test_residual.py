"""Residual blocks: options, modes and errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import CBAM, BasicBlock, Bottleneck, DarknetBlock


def shapes_of(block, shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(block.init_with_output, train=False), jax.random.key(0), x)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_zero_init_residual_starts_as_the_shortcut(block):
    block = block(8, zero_init_residual=True)
    x = jax.random.normal(jax.random.key(1), (2, 5, 4, 8))
    y, variables = jax.jit(functools.partial(block.init_with_output, train=False))(jax.random.key(0), x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    last = max(name for name in variables["params"] if name.startswith("norm"))
    assert all(
        (tree["scale"] == (name != last)).all()
        for name, tree in variables["params"].items()
        if "norm" in name
    )


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_shortcut_of_zeros_takes_every_second_pixel_and_pads_both_sides(block):
    block = block(8, strides=2, shortcut="zeros", zero_init_residual=True)
    x = jax.random.normal(jax.random.key(1), (2, 5, 4, 3))
    y, variables = jax.jit(functools.partial(block.init_with_output, train=False))(jax.random.key(0), x)
    expected = np.zeros((2, 3, 2, 8), np.float32)
    expected[..., 2:5] = np.maximum(x[:, ::2, ::2], 0)
    np.testing.assert_array_equal(y, expected)
    assert not any(name.startswith("shortcut") for name in variables["params"])


def test_drop_path_drops_whole_samples_in_training_only():
    block = BasicBlock(4, drop_path_rate=1.0)
    x = jax.random.normal(jax.random.key(1), (2, 3, 3, 4))
    y, variables = jax.jit(functools.partial(block.init_with_output, train=False))(jax.random.key(0), x)
    assert np.abs(y - np.maximum(x, 0)).max() > 0.1
    run = jax.jit(functools.partial(block.apply, train=True, mutable=["batch_stats"]))
    y, _ = run(variables, x, rngs={"dropout": jax.random.key(2)})
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_bottleneck_widths_are_those_of_resnext_and_wide_resnet():
    for fields, width in [({}, 64), ({"groups": 32, "base_width": 4}, 128), ({"base_width": 128}, 128)]:
        _, variables = shapes_of(Bottleneck(256, **fields), (1, 8, 8, 256))
        kernel = variables["params"]["conv2"]["kernel"]
        assert kernel.shape == (3, 3, width // fields.get("groups", 1), width)


def test_attention_may_be_cbam():
    y, variables = shapes_of(BasicBlock(32, 2, attention=CBAM), (2, 7, 7, 16))
    assert y.shape == (2, 4, 4, 32)
    assert variables["params"]["attention"]["channel"]["reduce_conv"]["kernel"].shape == (1, 1, 32, 2)


def test_darknet_block_without_a_residual_is_its_branch():
    x = jax.random.normal(jax.random.key(1), (2, 3, 3, 4))
    init = jax.jit(functools.partial(DarknetBlock(4).init_with_output, train=False))
    y, variables = init(jax.random.key(0), x)
    branch = DarknetBlock(4, residual=False).apply(variables, x, train=False)
    np.testing.assert_allclose(branch, y - x, atol=1e-6)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (Bottleneck(10), "features: expected a multiple of the expansion 4"),
        (Bottleneck(4, base_width=4), "base width of 4; make it larger"),
        (DarknetBlock(5), r"x: expected 5 channels, an even number"),
        (DarknetBlock(8), r"x: expected 8 channels, an even number, got \[1, 4, 4, 6\]"),
    ],
)
def test_wrong_widths_raise(block, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(block, (1, 4, 4, 6))
