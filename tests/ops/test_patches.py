"""Literal values, inverses, adjoints and errors of patches; values of torch are in test_*_against_torch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import ops

X = jnp.zeros((1, 4, 6, 8))


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("shape", "kernel_size", "options"),
    [
        ((2, 7, 3), (3,), {"strides": 2, "padding": 1}),
        ((2, 7, 6, 2), 3, {"padding": ((0, 2), (1, 0))}),
        ((2, 7, 6, 2), (2, 3), {"strides": (1, 4), "dilation": (3, 1)}),
        ((1, 9, 8, 1), 2, {"strides": 5}),  # gaps between patches
        ((1, 4, 5, 3, 2), (2, 2, 3), {"strides": (2, 1, 1), "padding": (0, 1, 0)}),
    ],
)
def test_fold_is_the_transpose_of_unfold(shape, kernel_size, options):
    x = normal(*shape)
    unfold = functools.partial(ops.unfold, kernel_size=kernel_size, **options)

    @jax.jit
    def run(x):
        y, pull = jax.vjp(unfold, x)
        patches = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
        fold = lambda p: ops.fold(p, shape[1:-1], kernel_size, **options)  # noqa: E731
        folded, push = jax.vjp(fold, patches)
        return jnp.vdot(y, patches), jnp.vdot(x, folded), folded, pull(patches)[0], y, push(x)[0]

    ahead, back, folded, gradient, y, unfolded = run(x)
    np.testing.assert_allclose(ahead, back, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(folded, gradient, atol=1e-5)
    np.testing.assert_array_equal(unfolded, y)


def test_a_convolution_is_a_product_with_the_patches():
    x, kernel = normal(2, 5, 6, 3), normal(3, 2, 3, 4, seed=1)
    options = {"strides": 2, "padding": 1}
    product = ops.unfold(x, (3, 2), **options) @ kernel.reshape(-1, 4)
    np.testing.assert_allclose(product, ops.convolution(x, kernel, **options), atol=1e-5)


def test_orders_of_channels():
    x = jnp.arange(12).reshape(1, 2, 2, 3)  # channels 0, 1, 2 of pixel 0, then of pixel 1, ...
    np.testing.assert_array_equal(ops.space_to_depth(x, 2).ravel(), np.arange(12))
    torch_order = [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    np.testing.assert_array_equal(ops.pixel_unshuffle(x, 2).ravel(), torch_order)
    wide = jnp.arange(8).reshape(1, 2, 4, 1)
    blocks = ops.space_to_depth(wide, (1, 4))
    np.testing.assert_array_equal(blocks[0, :, 0], [[0, 1, 2, 3], [4, 5, 6, 7]])
    blocks = ops.space_to_depth(wide, 2)
    np.testing.assert_array_equal(blocks[0, 0], [[0, 1, 4, 5], [2, 3, 6, 7]])


@pytest.mark.parametrize("block_size", [1, 2, (2, 3)])
def test_inverses(block_size):
    x = normal(2, 4, 6, 12)
    for there, back in (
        (ops.space_to_depth, ops.depth_to_space),
        (ops.pixel_unshuffle, ops.pixel_shuffle),
        (ops.depth_to_space, ops.space_to_depth),
        (ops.pixel_shuffle, ops.pixel_unshuffle),
    ):
        np.testing.assert_array_equal(back(there(x, block_size), block_size), x)
    tokens = ops.extract_patches(x, block_size)
    np.testing.assert_array_equal(ops.assemble_patches(tokens, (4, 6), block_size), x)
    np.testing.assert_array_equal(tokens, ops.space_to_depth(x, block_size).reshape(tokens.shape))


def test_patches_of_sequences_and_video():
    x = jnp.arange(6.0).reshape(1, 6, 1)
    np.testing.assert_array_equal(ops.extract_patches(x, (3,))[0], [[0, 1, 2], [3, 4, 5]])
    video = normal(2, 4, 6, 4, 3)
    tokens = ops.extract_patches(video, (2, 3, 2))
    assert tokens.shape == (2, 2 * 2 * 2, 2 * 3 * 2 * 3)
    np.testing.assert_array_equal(tokens[0, 1].reshape(2, 3, 2, 3), video[0, :2, :3, 2:4])
    np.testing.assert_array_equal(ops.assemble_patches(tokens, (4, 6, 4), (2, 3, 2)), video)
    assert ops.assemble_patches(tokens[:0], (4, 6, 4), (2, 3, 2)).shape == (0, 4, 6, 4, 3)


@pytest.mark.parametrize(
    "op",
    [
        functools.partial(ops.unfold, kernel_size=2, strides=2),
        functools.partial(ops.fold, output_size=(5, 7), kernel_size=2),
        functools.partial(ops.space_to_depth, block_size=2),
        functools.partial(ops.pixel_shuffle, block_size=2),
        functools.partial(ops.extract_patches, patch_size=2),
    ],
)
def test_vmap_traces_and_dtypes(op):
    xs, traces = normal(3, 2, 4, 6, 8), []

    @jax.jit
    def run(x):
        traces.append(x.dtype)
        return op(x)

    mapped = jax.jit(jax.vmap(op))(xs)
    for index in range(3):
        np.testing.assert_allclose(mapped[index], run(xs[index]), atol=1e-6)
    assert len(traces) == 1
    assert jax.eval_shape(op, xs[0].astype(jnp.int32)).dtype == jnp.int32
    assert jax.eval_shape(op, xs[0].astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.unfold(X[0], 2), r"x: expected \[N, H, W, C\], got .*the patch 2 slides over"),
        (lambda: ops.unfold(X, 5), r"kernel: \[5, 5\] .* is larger than the padded image \[4, 6\]"),
        (lambda: ops.fold(X, (4, 6), 2), r"patches: expected \[N, 3, 5, 4 \* C\] .*, got \[1, 4, 6, 8\]"),
        (lambda: ops.fold(X[..., :6], (5, 7), 2), r"patches: expected \[N, 4, 6, 4 \* C\]"),
        (lambda: ops.fold(X[0], (5, 7), 2), r"patches: expected \[N, H, W, C\], got \[4, 6, 8\]"),
        (
            lambda: ops.space_to_depth(X, 4),
            r"x: expected multiples of the block \[4, 4\], got \[4, 6\]; crop",
        ),
        (lambda: ops.pixel_unshuffle(X[0], 2), r"x: expected \[N, H, W, C\]"),
        (lambda: ops.depth_to_space(X, 3), r"block_size: \[3, 3\] has 9 pixels, which do not divide the 8"),
        (lambda: ops.pixel_shuffle(X[0], 2), r"x: expected \[N, H, W, C\]"),
        (lambda: ops.pixel_shuffle(X, 0), "block_size: expected an integer"),
        (lambda: ops.extract_patches(X, 4), r"x: expected multiples of the block \[4, 4\]"),
        (lambda: ops.extract_patches(X, (2,)), r"x: expected \[N, T, C\]"),
        (lambda: ops.assemble_patches(X, 4, 2), r"patches: expected \[N, P, D\], got"),
        (lambda: ops.assemble_patches(X[0], (4, 5), 2), "output_size: expected multiples of the block"),
        (lambda: ops.assemble_patches(X[0], 4, 2), r"patches: expected \[N, 4, 4 \* C\] .*, got \[4, 6, 8\]"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
