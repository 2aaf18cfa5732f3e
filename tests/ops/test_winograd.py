"""Winograd's algorithm against XLA's own convolution, and where it is taken."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision.ops import winograd
from jaxvision.ops.formulations import native_convolution


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("size", "padding"),
    [
        ((6, 4), ((1, 1), (1, 1))),
        ((5, 7), ((0, 2), (1, 0))),
        ((3, 4), ((0, 0), (0, 0))),
        ((1, 1), ((1, 1), (1, 2))),
    ],
)
def test_winograd_convolution_equals_native(size, padding):
    native = functools.partial(native_convolution, strides=(1, 1), padding=padding, dilation=(1, 1), groups=1)
    ours = functools.partial(winograd.winograd_convolution, padding=padding, direct=native)
    x, kernel = normal(2, *size, 3), normal(3, 3, 3, 4, seed=1)
    np.testing.assert_allclose(jax.jit(ours)(x, kernel), native(x, kernel), rtol=0, atol=1e-5)
    check_grads(ours, (x, kernel), order=2, rtol=2e-2)
    for moving in (0, 1, (0, 1)):  # one of them may be fixed, as the kernel of a frozen layer

        def gradients(convolve, moving=moving):
            return jax.jit(jax.grad(lambda x, kernel: jnp.square(convolve(x, kernel)).sum(), moving))(
                x, kernel
            )

        jax.tree.map(
            functools.partial(np.testing.assert_allclose, atol=1e-4), gradients(ours), gradients(native)
        )


@pytest.mark.parametrize(
    ("kernel", "strides", "dilation", "pixels", "faster"),
    [
        ((3, 3, 64, 64), (1, 1), (1, 1), 2**14, True),
        ((3, 3, 64, 64), (1, 1), (1, 1), 2**14 + 1, False),
        ((3, 3, 64, 512), (1, 1), (1, 1), 257, True),
        ((3, 3, 64, 512), (1, 1), (1, 1), 256, False),
        ((3, 3, 63, 64), (1, 1), (1, 1), 1000, False),
        ((3, 3, 64, 64), (2, 1), (1, 1), 1000, False),
        ((3, 3, 64, 64), (1, 1), (1, 2), 1000, False),
        ((3, 1, 64, 64), (1, 1), (1, 1), 1000, False),
        ((3, 3, 3, 64, 64), (1, 1, 1), (1, 1, 1), 1000, False),
        ((3, 64, 64), (1,), (1,), 1000, False),
    ],
)
def test_where_winograd_is_taken(kernel, strides, dilation, pixels, faster):
    for dtype, fine in ((jnp.float32, True), (jnp.bfloat16, False)):
        spec = jax.ShapeDtypeStruct(kernel, dtype)
        assert winograd.is_winograd_faster(spec, strides, dilation, pixels) == (faster and fine)
