"""Depthwise and separable convolutions: shifts, channels apart, options, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import Conv, ConvTranspose, DepthwiseConv, SeparableConv

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 11, 4)), jnp.float32)


@pytest.mark.parametrize(
    ("layer", "stride"),
    [
        (Conv(5, 3, padding=1), 1),
        (Conv(5, 5, 2, padding=2), 2),
        (Conv(5, 3, padding=2, dilation=2), 1),
        (DepthwiseConv(3, padding=1), 1),
        (DepthwiseConv(3, 3, 1), 3),
        (SeparableConv(5), 1),
        (SeparableConv(5, strides=2, order="xception"), 2),
    ],
)
def test_a_shift_of_the_image_is_a_shift_of_the_output(layer, stride):
    # The pattern stays away from the border, where padding would tell it where it is.
    shift, options = 2, {"train": False} if isinstance(layer, SeparableConv) else {}
    pattern = jnp.zeros((1, 30, 30, 4)).at[:, 9:15, 9:14].set(IMAGES[:1, :6, :5])
    moved = jnp.roll(pattern, (shift * stride, -stride), (1, 2))
    variables = jax.jit(functools.partial(layer.init, **options))(jax.random.key(0), pattern)
    apply = jax.jit(functools.partial(layer.apply, **options))
    expected = jnp.roll(apply(variables, pattern), (shift, -1), (1, 2))
    assert float(jnp.abs(expected).max()) > 0.1
    np.testing.assert_allclose(apply(variables, moved), expected, atol=1e-6)


@pytest.mark.parametrize("layer", [ConvTranspose(5, 4, 2, 1), ConvTranspose(5, 3, 3)])
def test_a_shift_of_the_image_is_a_larger_shift_of_what_a_transposed_convolution_gives(layer):
    pattern = jnp.zeros((1, 16, 16, 4)).at[:, 6:10, 5:9].set(IMAGES[:1, :4, :4])
    moved = jnp.roll(pattern, (2, -1), (1, 2))
    variables = jax.jit(layer.init)(jax.random.key(0), pattern)
    apply = jax.jit(layer.apply)
    expected = jnp.roll(apply(variables, pattern), (2 * layer.strides, -layer.strides), (1, 2))
    np.testing.assert_allclose(apply(variables, moved), expected, atol=1e-6)


def test_depthwise_outputs_of_a_channel_lie_side_by_side_and_see_it_alone():
    layer = DepthwiseConv(3, multiplier=2)
    variables = jax.jit(layer.init)(jax.random.key(0), IMAGES)
    gradient = jax.jit(jax.jacrev(lambda x: layer.apply(variables, x).sum((0, 1, 2))))(
        IMAGES
    )  # [8, N, H, W, 4]
    seen = np.abs(gradient).sum((1, 2, 3)) > 0
    np.testing.assert_array_equal(seen, np.repeat(np.eye(4, dtype=bool), 2, axis=0))


def test_separable_is_a_convolution_whose_kernel_is_a_product():
    layer = SeparableConv(5, 3, norm=None, activation=None, order="xception", multiplier=2)
    variables = jax.jit(functools.partial(layer.init, train=False))(jax.random.key(0), IMAGES)
    params = variables["params"]
    depthwise = params["depthwise"]["conv"]["kernel"].reshape(3, 3, 4, 2)
    pointwise = params["pointwise"]["conv"]["kernel"].reshape(4, 2, 5)
    whole = {"params": {"kernel": jnp.einsum("ijcm,cmk->ijck", depthwise, pointwise), "bias": jnp.zeros(5)}}
    expected = jax.jit(Conv(5, 3, padding=1).apply)(whole, IMAGES)
    y = jax.jit(functools.partial(layer.apply, train=False))(variables, IMAGES)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_mapped_over_a_further_axis_and_traced_once():
    layer, traces = SeparableConv(3, strides=2), []

    @jax.jit
    def run(variables, x):
        traces.append(1)
        return jax.vmap(functools.partial(layer.apply, train=False), (None, 0))(variables, x)

    variables = jax.jit(functools.partial(layer.init, train=False))(jax.random.key(0), IMAGES)
    both = jnp.stack([IMAGES, 2 * IMAGES])
    y = run(variables, both)
    doubled = run(variables, 2 * both)
    assert len(traces) == 1
    np.testing.assert_allclose(y[1], doubled[0], atol=1e-5)
    assert float(jnp.abs(y[1] - y[0]).max()) > 0.1


def test_errors():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match='order: expected "mobilenet", "xception" or "joint"'):
        SeparableConv(3, order="resnet").init(key, IMAGES, train=False)
    with pytest.raises(ValueError, match=r"no equal padding keeps the size under an even kernel \[4, 4\]"):
        SeparableConv(3, 4).init(key, IMAGES, train=False)
    with pytest.raises(ValueError, match=r"x: expected \[N, H, W, C\], got \[12, 11, 4\]"):
        DepthwiseConv().init(key, IMAGES[0])
    with pytest.raises(ValueError, match="multiplier: expected at least 1 filter a channel, got 0"):
        DepthwiseConv(multiplier=0).init(key, IMAGES)
