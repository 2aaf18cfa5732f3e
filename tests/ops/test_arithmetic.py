"""Sizes against what the ops give, paddings against XLA's, receptive fields against papers and gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision import ops
from jaxvision.ops import Window

CHEAP = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def windows(draw, *, rank=None, largest=5):
    """(size, Window): an image and a window that fits in it, one number an axis."""
    rank = draw(st.integers(1, 3)) if rank is None else rank

    def numbers(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, dilation = numbers(1, largest), numbers(1, 3)
    pads = tuple(zip(numbers(0, 3), numbers(0, 3), strict=True))
    least = [max(1, d * (k - 1) + 1 - sum(p)) for k, d, p in zip(kernel, dilation, pads, strict=True)]
    size = tuple(draw(st.integers(n, n + 12)) for n in least)
    return size, Window(kernel, numbers(1, 4), pads, dilation)


@CHEAP
@given(windows())
def test_convolution_output_size_is_that_of_the_op(case):
    size, window = case
    options = {"strides": window.strides, "padding": window.padding, "dilation": window.dilation}
    y = jax.eval_shape(
        lambda x, kernel: ops.convolution(x, kernel, **options),
        jax.ShapeDtypeStruct((1, *size, 2), jnp.float32),
        jax.ShapeDtypeStruct((*window.kernel_size, 2, 3), jnp.float32),
    )
    assert y.shape == (1, *ops.convolution_output_size(size, window.kernel_size, **options), 3)


@CHEAP
@given(windows(), st.data())
def test_transposed_output_size_is_that_of_the_op_and_inverts_the_convolution(case, data):
    size, window = case
    extra = tuple(
        data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(window.strides, window.dilation, strict=True)
    )
    options = {"strides": window.strides, "padding": window.padding, "dilation": window.dilation}
    whole = [
        (n - 1) * s - sum(p) + d * (k - 1) + 1 + e
        for n, k, s, p, d, e in zip(size, *window, extra, strict=True)
    ]
    if min(whole) < 1:
        with pytest.raises(ValueError, match="cuts off all of the output"):
            ops.transposed_convolution_output_size(size, window.kernel_size, output_padding=extra, **options)
        return
    y = jax.eval_shape(
        lambda x, kernel: ops.transposed_convolution(x, kernel, output_padding=extra, **options),
        jax.ShapeDtypeStruct((1, *size, 2), jnp.float32),
        jax.ShapeDtypeStruct((*window.kernel_size, 2, 3), jnp.float32),
    )
    enlarged = ops.transposed_convolution_output_size(
        size, window.kernel_size, output_padding=extra, **options
    )
    assert y.shape == (1, *enlarged, 3)
    if all(more < s for more, s in zip(extra, window.strides, strict=True)):
        assert ops.convolution_output_size(enlarged, window.kernel_size, **options) == size


@CHEAP
@given(windows(rank=2))
def test_pooling_gives_the_size_of_a_convolution(case):
    size, (kernel, strides, padding, _) = case
    padding = tuple((min(lo, k - 1), min(hi, k - 1)) for (lo, hi), k in zip(padding, kernel, strict=True))
    size = tuple(max(n, k) for n, k in zip(size, kernel, strict=True))
    expected = (1, *ops.convolution_output_size(size, kernel, strides=strides, padding=padding), 2)
    x = jax.ShapeDtypeStruct((1, *size, 2), jnp.float32)
    for pool in (ops.max_pool, ops.average_pool):
        y = jax.eval_shape(lambda x, pool=pool: pool(x, kernel, strides=strides, padding=padding), x)
        assert y.shape == expected


@CHEAP
@given(st.integers(1, 40), st.integers(0, 4), st.integers(1, 5), st.integers(1, 5))
def test_same_padding_gives_the_size_divided_by_the_stride_rounded_up(size, half, strides, dilation):
    options = {"strides": (strides,), "dilation": (dilation,)}
    (pad,) = ops.same_padding((2 * half + 1,), dilation=(dilation,))
    (y,) = ops.convolution_output_size((size,), (2 * half + 1,), padding=(pad,), **options)
    assert y == math.ceil(size / strides)


@CHEAP
@given(st.integers(0, 40), st.integers(1, 7), st.integers(1, 5), st.integers(1, 3))
def test_ceil_padding_is_the_same_of_xla(size, kernel, strides, dilation):
    (pads,) = ops.ceil_padding((size,), kernel, strides=strides, dilation=dilation)
    assert [pads] == jax.lax.padtype_to_pads((size,), (dilation * (kernel - 1) + 1,), (strides,), "SAME")
    if size:
        options = {"strides": strides, "dilation": dilation, "padding": (pads,)}
        assert ops.convolution_output_size((size,), kernel, **options) == (math.ceil(size / strides),)


def test_effective_kernel_size_of_the_guide():
    # Dumoulin and Visin 2016, figure 5.1: a kernel of 3 with dilation 2 spans 5 pixels.
    assert ops.effective_kernel_size(3, 2) == (5, 5)
    assert ops.effective_kernel_size((3, 1, 4), (1, 9, 5)) == (3, 1, 16)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"no equal padding .* even kernel \[3, 4\]; give that of each"):
        ops.same_padding((3, 4))
    assert ops.same_padding(2, dilation=2) == (1, 1)  # an even kernel whose span is odd
    with pytest.raises(ValueError, match="kernel_size: expected an integer or one integer for each"):
        ops.effective_kernel_size((3, 3), (1,))
    with pytest.raises(ValueError, match=r"dilation: expected .* >= 1, got 0"):
        ops.ceil_padding((4, 4), 3, dilation=0)
    with pytest.raises(ValueError, match="layers: expected an integer or one integer for each"):
        ops.receptive_field([Window(3), Window((3,)), Window((3, 3))])


def vgg16() -> list[Window]:
    return [w for n in (2, 2, 3, 3, 3) for w in [*[Window(3, 1, 1)] * n, Window(2, 2)]]


def resnet50(*, stride_in: str) -> list[Window]:
    """The longest path; the stride of a stage in its first 1x1 (He et al.) or its first 3x3 (torchvision)."""
    layers = [Window(7, 2, 3), Window(3, 2, 1)]
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
            layers += [Window(1, first), Window(3, second, 1), Window(1)]
    return layers


ALEXNET = [
    *[Window(11, 4), Window(3, 2), Window(5, 1, 2), Window(3, 2)],
    *[Window(3, 1, 1), Window(3, 1, 1), Window(3, 1, 1), Window(3, 2)],
]
MOBILENET = [
    Window(3, 2, 1),
    *(w for s in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1) for w in (Window(3, s, 1), Window(1))),
]


@pytest.mark.parametrize(
    ("layers", "size", "jump"),
    [
        (ALEXNET, 195, 32),  # Araujo et al. 2019, table: alexnet_v2
        (vgg16(), 212, 32),  # vgg_16
        (vgg16()[:-1], 196, 16),  # conv5_3
        (MOBILENET, 315, 32),  # mobilenet_v1
        (resnet50(stride_in="1x1"), 483, 32),  # resnet_v1_50
        (resnet50(stride_in="3x3"), 427, 32),
        ([], 1, 1),
    ],
)
def test_receptive_fields_of_papers(layers, size, jump):
    field = ops.receptive_field(layers)
    assert field.size == (size, size)
    assert field.jump == (jump, jump)


def test_start_and_padding_by_hand():
    # VGG-16: 2 convolutions at jump 1 and 2, 3 at jump 4, 8 and 16, each padded by 1.
    field = ops.receptive_field(vgg16())
    assert field.padding == ((90, 90), (90, 90))
    assert field.start == ((212 - 1) / 2 - 90,) * 2
    field = ops.receptive_field([Window((2, 5), (2, 1), ((0, 1), (4, 0))), Window((1, 3), 1, 0, (1, 2))])
    assert field == ops.ReceptiveField((2, 9), (2, 1), (0.5, 0.0), ((0, 1), (4, 0)))


def dependence(size: int, layers: list[Window], axis: int) -> np.ndarray:
    """Which pixels of an axis each output of a stack depends on, bool [outputs, size], tap by tap."""
    seen = np.eye(size, dtype=bool)
    for kernel, strides, padding, dilation in layers:
        k, s, d = kernel[axis], strides[axis], dilation[axis]
        seen = np.pad(seen, (padding[axis], (0, 0)))
        count = (len(seen) - d * (k - 1) - 1) // s + 1
        seen = np.any([seen[d * tap : d * tap + (count - 1) * s + 1 : s] for tap in range(k)], axis=0)
    return seen


def assert_field_is_the_support(field: ops.ReceptiveField, seen: np.ndarray, axis: int) -> None:
    """Every output sees both ends of its field, where they lie inside the image, and nothing outside."""
    size, jump, (before, _) = field.size[axis], field.jump[axis], field.padding[axis]
    for output, row in enumerate(seen):
        first, last = output * jump - before, output * jump - before + size - 1
        pixels = np.flatnonzero(row)
        assert all(first <= pixel <= last for pixel in pixels)
        if first >= 0 and last < seen.shape[1]:
            assert (pixels[0], pixels[-1]) == (first, last)
    assert field.start[axis] == (size - 1) / 2 - before


@settings(CHEAP, max_examples=200)
@given(st.lists(windows(rank=2, largest=4).map(lambda case: case[1]), min_size=1, max_size=5))
def test_receptive_field_is_the_support_of_a_stack(layers):
    field = ops.receptive_field(layers)
    for axis in range(2):
        size = field.size[axis] + 3 * field.jump[axis]  # some outputs see no padding
        seen = dependence(size, layers, axis)
        assert any(
            o * field.jump[axis] >= field.padding[axis][0]
            and o * field.jump[axis] - field.padding[axis][0] + field.size[axis] <= size
            for o in range(len(seen))
        )
        assert_field_is_the_support(field, seen, axis)


STACKS = {
    "strided": [
        Window((3, 5), (2, 1), ((1, 1), (0, 2)), (1, 1)),
        Window((3, 2), (1, 2), ((0, 1), (0, 0)), (2, 1)),
    ],
    "pooled": [
        Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    ],
}


@pytest.mark.parametrize("name", STACKS)
def test_receptive_field_is_the_support_of_a_gradient(name):
    layers = STACKS[name]

    def stack(x):
        for kernel, strides, padding, dilation in layers:
            ones = jnp.ones((*kernel, 1, 1))
            x = ops.convolution(x, ones, strides=strides, padding=padding, dilation=dilation)
        return x[0, :, :, 0]

    image = jnp.ones((1, 14, 17, 1))
    gradients = jax.jit(jax.jacrev(stack))(image)[:, :, 0, :, :, 0]  # [H', W', H, W]
    rows, columns = dependence(14, layers, 0), dependence(17, layers, 1)
    expected = rows[:, None, :, None] & columns[None, :, None, :]
    np.testing.assert_array_equal(gradients != 0, expected)
    field = ops.receptive_field(layers)
    for axis, seen in enumerate((rows, columns)):
        assert_field_is_the_support(field, seen, axis)


def test_sizes_per_axis_and_plain_numbers_agree():
    layers = [Window(3, 2, 1), Window(5, 1, 2, 2)]
    for rank in (1, 2, 3):
        spelled = [Window(*((value,) * rank for value in layer)) for layer in layers]
        field = ops.receptive_field(spelled)
        assert field.size == ops.receptive_field(layers).size[:1] * rank
    assert ops.receptive_field([Window((3,)), Window(3, 2)]).size == (5,)
