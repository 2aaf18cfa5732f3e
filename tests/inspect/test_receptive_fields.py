"""Receptive fields against papers, and against what really spreads: a nan in one row of the image."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision import ops
from jaxvision.inspect import receptive_fields
from jaxvision.ops import Window
from jaxvision.segmentation import UNet

IMAGE = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)


def struct(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def spread(function: Callable[[jax.Array], jax.Array], size: int) -> int:
    """Rows of the image that one row of the output depends on, at most: nan in a row, and where it goes."""

    @jax.jit
    def run(row: jax.Array) -> jax.Array:
        image = jnp.ones((1, size, size, 2)).at[:, row].set(jnp.nan)
        return jnp.isnan(function(image)).any((0, 2, 3))  # [H']

    seen = np.asarray(jax.lax.map(run, jnp.arange(size))).T  # [H', H]
    rows = [np.flatnonzero(output) for output in seen if output.any()]
    return max(row[-1] - row[0] + 1 for row in rows)


def convolve(x: jax.Array, window: int, **options: object) -> jax.Array:
    kernel = jnp.ones((window, window, x.shape[-1], 2))
    return ops.convolution(x, kernel, **options)


def chain(layers: list[Window]) -> Callable[[jax.Array], jax.Array]:
    def run(x: jax.Array) -> jax.Array:
        for kernel, strides, padding, dilation in layers:
            ones = jnp.ones((kernel, kernel, x.shape[-1], 1))
            x = ops.convolution(x, ones, strides=strides, padding=padding, dilation=dilation)
        return x

    return run


NUMBERS = [st.integers(1, 4), st.integers(1, 2), st.integers(0, 3), st.integers(1, 3)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.builds(Window, *NUMBERS), min_size=1, max_size=5))
def test_a_chain_has_the_field_of_the_formula(layers):
    assert receptive_fields(chain(layers), IMAGE) == ops.receptive_field(layers).size


class OriginalResNet50(nn.Module):
    """The bottlenecks of He et al. 2016: the stride is in the first 1x1."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.max_pool(nn.Conv(8, (7, 7), 2, padding=3)(x), (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, blocks in enumerate((3, 4, 6, 3)):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                y = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (1, 1), stride)(x)))
                y = nn.Conv(8, (1, 1))(nn.relu(nn.Conv(4, (3, 3), padding=1)(y)))
                x = nn.relu(y + (x if stride == 1 and block else nn.Conv(8, (1, 1), stride)(x)))
        return x


def test_fields_of_papers():
    # Araujo et al. 2019, table: resnet_v1_50 has 483.
    model = OriginalResNet50()
    variables = jax.eval_shape(model.init, jax.random.key(0), IMAGE)
    assert receptive_fields(lambda x, v: model.apply(v, x), IMAGE, variables) == (483, 483)


def test_vgg_of_the_papers():
    # Araujo et al. 2019, table: vgg_16 has 212.
    from jaxvision.backbones import vgg

    backbone = vgg("vgg16")
    variables = jax.eval_shape(functools.partial(backbone.init, train=False), jax.random.key(0), IMAGE)
    fields = receptive_fields(lambda x, v: backbone.apply(v, x, train=False), IMAGE, variables)
    assert fields == {"c1": (6, 6), "c2": (16, 16), "c3": (44, 44), "c4": (100, 100), "c5": (212, 212)}


def test_unet_is_what_a_nan_spreads_to():
    model = UNet(2, features=(2, 2, 2))
    image = struct(1, 64, 64, 2)
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), variables)
    apply = functools.partial(model.apply, ones, train=False)
    (height, width) = receptive_fields(apply, image)
    assert height == width == spread(apply, 64)
    # The bottom of the U alone sees 32: two convolutions at each of 1, 2 and 4 pixels, and two poolings.
    assert height > 1 + 4 * (1 + 2 + 4) + 1 + 2


def branches(x: jax.Array) -> jax.Array:
    wide = convolve(x, 5, padding=2)
    chained = convolve(convolve(x, 3, padding=1), 3, padding=2, dilation=2)
    pooled = ops.max_pool(x, 3, strides=1, padding=1)
    return convolve(jnp.concatenate([wide, chained, pooled], -1), 3, padding=1)


def pixel_shuffle(x: jax.Array) -> jax.Array:
    x = convolve(jnp.tile(x, 2), 3, strides=2, padding=1)
    n, h, w, c = x.shape
    y = jnp.tile(x, 4).reshape(n, h, w, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c)
    return convolve(y, 3, padding=1)


def space_to_depth(x: jax.Array) -> jax.Array:
    n, h, w, c = x.shape
    y = x.reshape(n, h // 4, 4, w // 4, 4, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 4, w // 4, 16 * c)
    return convolve(y, 3, padding=1)


def windows_of_tokens(x: jax.Array) -> jax.Array:
    x = convolve(x, 3, padding=1)
    n, h, w, c = x.shape
    tokens = x.reshape(n, h // 8, 8, w // 8, 8, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 64, c)
    scores = jax.nn.softmax(jnp.einsum("btc,bsc->bts", tokens, tokens))
    tokens = jnp.einsum("bts,bsc->btc", scores, tokens)
    y = tokens.reshape(n, h // 8, w // 8, 8, 8, c).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(n, h, w, c)


def nearest(x: jax.Array) -> jax.Array:
    y = convolve(x, 3, strides=2, padding=1)
    y = jnp.broadcast_to(y[:, :, None, :, None], (1, 16, 2, 16, 2, 2)).reshape(1, 32, 32, 2)
    return convolve(y, 3, padding=1)


@jax.custom_vjp
def custom_gradient(x: jax.Array) -> jax.Array:
    return convolve(x, 3)


custom_gradient.defvjp(lambda x: (convolve(x, 3), None), lambda _, g: (g,))


CASES = {
    "branches": branches,
    "depthwise": lambda x: ops.convolution(x, jnp.ones((5, 3, 1, 4)), padding=(2, 1), groups=2),
    "transposed": lambda x: convolve(
        ops.transposed_convolution(convolve(x, 3, strides=2), jnp.ones((4, 4, 2, 2)), strides=2, padding=1), 3
    ),
    "average_pool": lambda x: ops.average_pool(ops.average_pool(x, 3, strides=2), 2, strides=1),
    "strided_slices": lambda x: convolve(x[:, 1::3], 2) + convolve(x[:, ::3], 2)[:, :10],
    "reversed": lambda x: convolve(x[:, ::-1], 3, padding=1) + x[:, ::-1],
    "split": lambda x: convolve(jnp.concatenate(jnp.split(x, 2, axis=-1)[::-1], -1), 3),
    "pad_before": lambda x: convolve(jnp.pad(x, ((0, 0), (2, 1), (1, 1), (0, 0))), 4, strides=2),
    "rolled": lambda x: convolve(x[:, 8:] - x[:, :-8], 3),
    "pixel_shuffle": pixel_shuffle,
    "space_to_depth": space_to_depth,
    "windows_of_tokens": windows_of_tokens,
    "nearest": nearest,
    "gather": lambda x: convolve(jnp.repeat(x, 2, axis=1), 3),
    "transpose": lambda x: convolve(x.transpose(0, 2, 1, 3), 3).transpose(0, 2, 1, 3),
    "remat": jax.checkpoint(branches),
    "custom_pool": lambda x: jax.lax.reduce_window(
        x, -np.inf, lambda a, b: 1 * jnp.maximum(a, b), (1, 3, 1, 1), (1, 2, 1, 1), "VALID"
    ),
    "custom_gradient": custom_gradient,
    "conditional": lambda x: jax.lax.cond(x.shape[1] > 3, branches, lambda x: convolve(x, 1), x),
}


@pytest.mark.parametrize("name", CASES)
def test_a_field_is_what_a_nan_spreads_to(name):
    field = receptive_fields(CASES[name], struct(1, 32, 32, 2))
    assert field is not None
    assert field[0] == spread(CASES[name], 32)


@pytest.mark.parametrize(("method", "size"), [("bilinear", 30), ("nearest", 23), ("linear", 7)])
def test_interpolation_is_what_a_gradient_reaches(method, size):
    # A matrix product spreads nan through its zeros, so that the gradient must tell.
    def run(x):
        return convolve(jax.image.resize(convolve(x, 3), (1, size, 5, 2), method), 3)

    (height, _) = receptive_fields(run, struct(1, 16, 7, 2))
    image = jnp.ones((1, 16, 7, 2))
    jacobian = jax.jit(jax.jacrev(lambda x: run(x)[0, :, 1, 0]))(image)[:, 0].any((2, 3))  # [H', H]
    rows = [np.flatnonzero(np.asarray(output)) for output in jacobian]
    assert height == max(row[-1] - row[0] + 1 for row in rows)


def test_constant_places_are_local():
    assert receptive_fields(lambda x: convolve(x, 3)[:, 5], struct(1, 32, 32, 2)) == (3, 3)
    assert receptive_fields(lambda x: convolve(x, 3)[:, jnp.array([1, 7, 3])], struct(1, 32, 32, 2)) == (3, 3)
    start = jnp.int32(4)
    cut = lambda x: jax.lax.dynamic_slice_in_dim(convolve(x, 3), start, 5, 1)  # noqa: E731
    assert receptive_fields(cut, struct(1, 32, 32, 2)) == (3, 3)


GLOBAL = {
    "mean": lambda x: ops.global_average_pool(x),
    "mean_kept": lambda x: convolve(x, 3) * x.mean((1, 2), keepdims=True),
    "flattened": lambda x: x.reshape(1, -1) @ jnp.ones((32 * 32 * 2, 3)),
    "attention": lambda x: jax.nn.dot_product_attention(*[x.reshape(1, 32 * 32, 1, 2)] * 3),
    "cumulative": lambda x: jnp.cumsum(x, 1),
    "loop": lambda x: jax.lax.scan(lambda c, r: (c + r, c), x[:, 0], x.swapaxes(0, 1))[1],
    "sorted": lambda x: jnp.sort(x, 1),
    "reduced": lambda x: jax.lax.reduce(x, 0.0, lambda a, b: a + 2 * b, (1, 2)),
    "decided": lambda x: jax.lax.cond(x.sum() > 3, lambda x: x, lambda x: 2 * x, x),
    "adaptive_to_one": lambda x: ops.adaptive_average_pool(x, 1),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_what_is_global_has_no_field(name):
    assert receptive_fields(GLOBAL[name], struct(1, 32, 32, 2)) is None


def test_sequences_video_and_axes_apart():
    assert receptive_fields(lambda x: ops.convolution(x, jnp.ones((5, 2, 3))), struct(1, 40, 2)) == (5,)
    kernel = jnp.ones((3, 5, 1, 2, 3))
    assert receptive_fields(lambda x: ops.convolution(x, kernel), struct(1, 9, 9, 9, 2)) == (3, 5, 1)
    # The mean over the width alone leaves the height local; a field is of all axes.
    assert receptive_fields(lambda x: x.mean(2), struct(1, 9, 9, 2)) is None


def test_the_image_itself_and_what_does_not_depend_on_it():
    assert receptive_fields(lambda x: (x, {"y": x + 1}), struct(1, 8, 8, 2)) == ((1, 1), {"y": (1, 1)})
    assert receptive_fields(lambda x: jnp.ones(3), struct(1, 8, 8, 2)) is None
