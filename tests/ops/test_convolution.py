"""The formulations against each other, transformations, size arithmetic and errors of convolutions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxvision import ops
from jaxvision.ops import depthwise, formulations


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def assert_same_with_gradients(first, second, x, kernel):
    """Outputs and gradients of two functions of an image and a kernel agree to 1e-5."""

    @functools.partial(jax.jit, static_argnums=0)
    def run(function, x, kernel):
        y, pull = jax.vjp(function, x, kernel)
        return (y, *pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)))

    for ours, theirs in zip(run(first, x, kernel), run(second, x, kernel), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * float(jnp.abs(theirs).max()))


@pytest.mark.parametrize(
    ("window", "strides", "padding", "dilation"),
    [
        ((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),
        ((1, 1), (3, 2), ((1, 0), (0, 2)), (1, 1)),
        ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        ((2, 3), (2, 1), ((0, 1), (2, 0)), (2, 1)),
        ((5, 6), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    ],
)
def test_patch_convolution_equals_native(window, strides, padding, dilation):
    options = {"strides": strides, "padding": padding, "dilation": dilation}
    assert_same_with_gradients(
        functools.partial(formulations.patch_convolution, **options),
        functools.partial(formulations.native_convolution, groups=1, **options),
        normal(2, 5, 6, 3),
        normal(*window, 3, 4, seed=1),
    )


@pytest.mark.parametrize(
    ("window", "padding", "dilation", "share"),
    [
        ((3, 3), ((4, 4), (4, 4)), (4, 4), (7 / 15) * (10 / 18)),
        ((3, 3), ((9, 9), (7, 7)), (9, 7), 1 / 9),  # no tap but the middle one meets the image
        ((3, 2), ((5, 1), (0, 3)), (2, 3), (11 / 21) * (9 / 12)),
        ((2, 1), ((0, 9), (2, 0)), (9, 1), (5 / 10) * (6 / 8)),
    ],
)
def test_overlap_convolution_equals_native(window, padding, dilation, share):
    x = normal(2, 5, 6, 3)
    options = {"padding": padding, "dilation": dilation}
    assert formulations.overlap_share((5, 6), window, *options.values()) == pytest.approx(share)
    assert_same_with_gradients(
        functools.partial(formulations.overlap_convolution, **options),
        functools.partial(formulations.native_convolution, strides=(1, 1), groups=1, **options),
        x,
        normal(*window, 3, 4, seed=1),
    )


@pytest.mark.parametrize(
    ("images", "block_bytes", "blocks"),
    [(6, 5000, (2, 1)), (6, 2500, (3, 2)), (6, 1, (3, 5)), (5, 3000, (1, 3)), (1, 1, (1, 5)), (0, 1, (1, 1))],
)
def test_blocked_convolution_equals_native(images, block_bytes, blocks, monkeypatch):
    for name, value in {"_BLOCK_BYTES": block_bytes, "_BLOCK_IMAGES": 2, "_BLOCK_ROWS": 2}.items():
        monkeypatch.setattr(formulations, name, value)
    options = {"strides": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (2, 2)}
    blocked = functools.partial(formulations.blocked_convolution, **options)
    native = functools.partial(formulations.native_convolution, groups=1, **options)
    x, kernel = normal(images, 23, 6, 3), normal(3, 2, 3, 4, seed=1)
    y = native(x, kernel)
    assert formulations._count_blocks(x, y, 2) == blocks
    if images:
        assert_same_with_gradients(blocked, native, x, kernel)
        check_grads(blocked, (x, kernel), order=2, rtol=2e-2)
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(x, jnp.float64), jnp.asarray(kernel, jnp.float64)
        gradient = jax.grad(lambda kernel: jnp.square(blocked(x, kernel)).sum())(kernel)
        expected = jax.grad(lambda kernel: jnp.square(native(x, kernel)).sum())(kernel)
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    ("height", "padding", "dilation", "more"),
    [
        (17, ((1, 1), (1, 1)), (1, 1), 1),
        (15, ((1, 1), (1, 1)), (1, 1), 0),  # one row of fifteen would be much
        (34, ((0, 1), (2, 0)), (1, 2), 2),
        (32, ((0, 0), (0, 0)), (1, 1), 0),
        (99, ((0, 4), (0, 0)), (3, 1), 3),
        (18, ((2, 1), (0, 0)), (1, 1), 0),  # there are more rows already
    ],
)
def test_more_rows_are_computed_and_cut_off(height, padding, dilation, more, monkeypatch):
    monkeypatch.setattr(formulations, "_SHORT_ROW", 2**12)  # whatever the version of JAX
    geometry = {"strides": (1, 1), "padding": padding, "dilation": dilation}
    x, kernel = normal(2, height, 6, 3), normal(3, 2, 3, 4, seed=1)
    assert formulations._count_more_rows(x, kernel, **geometry) == more
    blocked = functools.partial(formulations.blocked_convolution, **geometry)
    native = functools.partial(formulations.native_convolution, groups=1, **geometry)
    assert_same_with_gradients(blocked, native, x, kernel)
    if more:
        computed = jax.make_jaxpr(blocked)(x, kernel).pretty_print()
        assert f"2,{height + 1},{native(x, kernel).shape[2]},4]" in computed


def test_no_more_rows_where_they_are_of_no_use(monkeypatch):
    monkeypatch.setattr(formulations, "_SHORT_ROW", 2**12)
    same = (((1, 1), (1, 1)), (1, 1))
    x, kernel = normal(1, 64, 32, 3), normal(3, 3, 3, 8, seed=1)
    assert formulations._count_more_rows(x, kernel, (1, 1), *same) == 1
    assert formulations._count_more_rows(x, kernel, (2, 2), *same) == 0
    assert formulations._count_more_rows(x.astype(jnp.bfloat16), kernel, (1, 1), *same) == 0
    long = jax.ShapeDtypeStruct((1, 64, 2048, 3), jnp.float32)
    assert formulations._count_more_rows(long, kernel, (1, 1), *same) == 0
    monkeypatch.setattr(formulations, "_SHORT_ROW", 0)  # as from JAX 0.11 on
    assert formulations._count_more_rows(x, kernel, (1, 1), *same) == 0


@pytest.mark.parametrize(
    ("padding", "output_padding", "dilation"),
    [(1, 0, 1), (((0, 2), (1, 0)), 0, 1), (((3, 0), (2, 4)), 0, 1), (1, (0, 1), (1, 2))],
)
def test_transposed_convolution_at_stride_1_equals_native(padding, output_padding, dilation):
    options = {"padding": padding, "output_padding": output_padding, "dilation": dilation}
    pairs = {
        name: ops.windows.as_sizes(name, value, least=0)
        for name, value in options.items()
        if name != "padding"
    }
    native = functools.partial(
        formulations.native_transposed_convolution,
        strides=(1, 1),
        padding=ops.windows.as_padding(padding),
        groups=1,
        **pairs,
    )
    ours = functools.partial(ops.transposed_convolution, **options)
    assert_same_with_gradients(ours, native, normal(2, 5, 6, 3), normal(3, 3, 3, 4, seed=1))


@pytest.mark.parametrize(
    ("window", "strides", "padding", "output_padding"),
    [
        ((2, 2), (2, 2), ((0, 0), (0, 0)), (0, 0)),
        ((4, 4), (2, 2), ((1, 1), (1, 1)), (0, 0)),
        ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
        ((5, 4), (3, 2), ((2, 0), (0, 3)), (2, 0)),
        ((1, 2), (3, 4), ((0, 0), (0, 1)), (1, 3)),
        ((16, 16), (8, 8), ((4, 4), (4, 4)), (0, 0)),
    ],
)
def test_phase_transposed_convolution_equals_native(window, strides, padding, output_padding):
    options = {"strides": strides, "padding": padding, "output_padding": output_padding}
    assert_same_with_gradients(
        functools.partial(formulations.phase_transposed_convolution, **options),
        functools.partial(formulations.native_transposed_convolution, dilation=(1, 1), groups=1, **options),
        normal(2, 4, 3, 3),
        normal(*window, 3, 2, seed=1),
    )


def test_transposed_convolution_is_the_gradient_of_convolution():
    kernel, g = normal(4, 3, 2, 5), normal(2, 3, 4, 5, seed=1)
    options = {"strides": (2, 3), "padding": (1, 0)}
    height, width = ops.transposed_convolution_output_size((3, 4), (4, 3), **options)
    _, pull = jax.vjp(lambda x: ops.convolution(x, kernel, **options), jnp.zeros((2, height, width, 2)))
    ours = ops.transposed_convolution(g, kernel.transpose(0, 1, 3, 2), **options)
    np.testing.assert_allclose(ours, pull(g)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "window", "multiplier", "strides", "padding", "dilation"),
    [
        ((2, 9, 8, 6), (3, 3), 1, (1, 1), ((1, 1), (1, 1)), (1, 1)),
        ((2, 9, 8, 6), (3, 2), 2, (2, 3), ((1, 0), (0, 2)), (1, 2)),
        ((2, 9, 8, 3), (5, 5), 1, (1, 1), ((4, 4), (4, 4)), (2, 2)),
        ((1, 5, 6, 3), (1, 1), 1, (2, 2), ((0, 0), (0, 0)), (1, 1)),  # some phases are read by no tap
        ((2, 7, 4), (3,), 3, (2,), ((1, 1),), (1,)),
        ((1, 5, 6, 7, 3), (2, 3, 3), 1, (1, 2, 2), ((0, 1), (1, 1), (2, 0)), (2, 1, 1)),
    ],
)
def test_tap_depthwise_convolution_equals_native(shape, window, multiplier, strides, padding, dilation):
    options = {"strides": strides, "padding": padding, "dilation": dilation}
    x, kernel = normal(*shape), normal(*window, 1, multiplier * shape[-1], seed=1)
    ours = functools.partial(depthwise.tap_depthwise_convolution, **options)
    native = functools.partial(formulations.native_convolution, groups=shape[-1], **options)
    assert_same_with_gradients(ours, native, x, kernel)
    tangents = (normal(*shape, seed=2), normal(*kernel.shape, seed=3))
    forward = [jax.jit(functools.partial(jax.jvp, f))((x, kernel), tangents)[1] for f in (ours, native)]
    np.testing.assert_allclose(*forward, rtol=0, atol=1e-5 * float(jnp.abs(forward[1]).max()))


def test_depthwise_in_bfloat16_sums_in_float32():
    x, kernel = jnp.full((1, 64, 64, 2), 0.1, jnp.bfloat16), jnp.ones((1, 1, 1, 2), jnp.bfloat16)
    run = functools.partial(
        depthwise.tap_depthwise_convolution, strides=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)
    )
    gradient = jax.jit(jax.grad(lambda kernel: run(x, kernel).astype(jnp.float32).sum()))(kernel)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.astype(jnp.float32).ravel(), 4096 * float(x[0, 0, 0, 0]), rtol=4e-3)


# One of each formulation.
CALLS = {
    "native": (functools.partial(ops.convolution, padding=1), (2, 5, 5, 2), (3, 3, 2, 2)),
    "patches": (functools.partial(ops.convolution, padding=1), (1, 3, 3, 2), (3, 3, 2, 8)),
    "1x1": (functools.partial(ops.convolution, strides=2), (2, 5, 5, 2), (1, 1, 2, 2)),
    "depthwise": (
        functools.partial(ops.convolution, padding=1, groups=3, strides=2),
        (2, 5, 4, 3),
        (3, 3, 1, 3),
    ),
    "winograd": (functools.partial(ops.convolution, padding=1), (2, 6, 6, 64), (3, 3, 64, 64)),
    "grouped": (functools.partial(ops.convolution, padding=1, groups=2), (2, 5, 5, 4), (3, 3, 2, 4)),
    "video": (functools.partial(ops.convolution, padding=1), (2, 3, 4, 3, 2), (2, 3, 3, 2, 2)),
    "phases": (
        functools.partial(ops.transposed_convolution, strides=2, padding=1),
        (2, 3, 3, 2),
        (4, 4, 2, 2),
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in ("video", "grouped") else ()) for name in CALLS],
)
def test_derivatives_of_both_modes_and_two_orders(name):
    function, x, kernel = CALLS[name]
    arguments = (normal(*x), normal(*kernel, seed=1))
    check_grads(jax.jit(function), arguments, order=2, modes=("fwd", "rev"), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("name", CALLS)
def test_vmap_over_images_and_over_kernels(name):
    function, shape, window = CALLS[name]
    xs, kernels = normal(3, *shape), normal(3, *window, seed=1)
    both = jax.jit(jax.vmap(function))(xs, kernels)
    shared = jax.jit(jax.vmap(function, (None, 0)))(xs[0], kernels)
    for index in range(3):
        np.testing.assert_allclose(both[index], function(xs[index], kernels[index]), atol=1e-5)
        np.testing.assert_allclose(shared[index], function(xs[0], kernels[index]), atol=1e-5)


@pytest.mark.parametrize("name", CALLS)
def test_traces_once_and_takes_an_empty_batch(name):
    function, shape, window = CALLS[name]
    traces = []

    @jax.jit
    def run(x, kernel):
        traces.append(x.shape)
        return jax.value_and_grad(lambda *a: function(*a).sum(), (0, 1))(x, kernel)

    for seed in range(2):
        run(normal(*shape, seed=seed), normal(*window, seed=seed))
    assert len(traces) == 1
    value, (image_gradient, kernel_gradient) = run(jnp.zeros((0, *shape[1:])), normal(*window))
    assert value == 0
    assert image_gradient.shape == (0, *shape[1:])
    np.testing.assert_array_equal(kernel_gradient, np.zeros(window))


def test_large_kernel_of_few_groups_is_no_operation_a_tap():
    x, kernel = normal(1, 5, 9, 8, 2), normal(3, 7, 6, 1, 6, seed=1)
    options = {"strides": (1, 1, 1), "padding": ((0, 0),) * 3, "dilation": (1, 1, 1)}
    ours = functools.partial(ops.convolution, groups=2)
    assert_same_with_gradients(
        ours, functools.partial(formulations.native_convolution, groups=2, **options), x, kernel
    )
    program = jax.jit(ours).trace(x, kernel).lower(lowering_platforms=("cpu",)).as_text()
    assert program.count("stablehlo.multiply") < 20


def test_program_for_another_platform_keeps_the_native_op():
    x, kernel = jnp.zeros((1, 4, 4, 8)), jnp.zeros((1, 1, 8, 8))
    traced = jax.jit(ops.convolution).trace(x, kernel)
    assert "stablehlo.convolution" not in traced.lower(lowering_platforms=("cpu",)).as_text()
    for platform in ("cuda", "tpu"):
        assert "stablehlo.convolution" in traced.lower(lowering_platforms=(platform,)).as_text()


def test_shifting_the_image_shifts_the_output():
    kernel, image = normal(3, 3, 2, 3), jnp.pad(normal(1, 4, 4, 2), ((0, 0), (4, 4), (4, 4), (0, 0)))
    run = jax.jit(functools.partial(ops.convolution, padding=1))
    np.testing.assert_array_equal(
        run(jnp.roll(image, (2, 1), (1, 2)), kernel), jnp.roll(run(image, kernel), (2, 1), (1, 2))
    )


def test_float64_under_x64():
    with jax.enable_x64(True):
        x, kernel = jnp.ones((1, 2, 2, 1), jnp.float64) / 3, jnp.ones((2, 2, 1, 1), jnp.float64)
        up = ops.transposed_convolution(x, kernel, strides=2)
        assert up.dtype == jnp.float64
        np.testing.assert_allclose(up, np.full((1, 4, 4, 1), 1 / 3), rtol=1e-15)
        x, kernel = jnp.ones((1, 4, 4, 2), jnp.float64) / 3, jnp.ones((2, 2, 1, 2), jnp.float64)
        depthwise = jax.grad(lambda kernel: ops.convolution(x, kernel, groups=2).sum())(kernel)
        assert depthwise.dtype == jnp.float64
        np.testing.assert_allclose(depthwise, np.full((2, 2, 1, 2), 3.0), rtol=1e-15)


sizes = st.integers(1, 9)


@settings(max_examples=200, deadline=None)
@given(
    size=sizes,
    window=sizes,
    stride=sizes,
    lo=st.integers(0, 4),
    hi=st.integers(0, 4),
    spread=st.integers(1, 3),
)
def test_output_sizes_are_those_of_the_ops(size, window, stride, lo, hi, spread):
    options = {"strides": stride, "padding": ((lo, hi), (0, 0)), "dilation": (spread, 1)}
    x, kernel = jnp.zeros((1, size, 20, 1)), jnp.zeros((window, 1, 1, 1))
    for op, arithmetic in [
        (ops.convolution, ops.convolution_output_size),
        (ops.transposed_convolution, ops.transposed_convolution_output_size),
    ]:
        try:
            expected = arithmetic((size, 20), (window, 1), **options)
        except ValueError as error:
            with pytest.raises(ValueError, match=r"kernel|padding"):
                jax.eval_shape(functools.partial(op, **options), x, kernel)
            assert "larger than the padded" in str(error) or "cuts off all" in str(error)
        else:
            assert jax.eval_shape(functools.partial(op, **options), x, kernel).shape[1:3] == expected


X, KERNEL = jnp.zeros((1, 4, 4, 6)), jnp.zeros((3, 3, 6, 4))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((X[0], KERNEL), {}, r"x: expected \[N, H, W, C\], got \[4, 4, 6\]; a kernel of 4 axes slides"),
        ((X, KERNEL[0]), {}, r"x: expected \[N, T, C\], got \[1, 4, 4, 6\]; a kernel of 3 axes"),
        ((X.astype(jnp.int32), KERNEL), {}, "x: expected a floating dtype, got int32"),
        ((X.astype(jnp.bfloat16), KERNEL), {}, "kernel: expected the dtype of x .bfloat16., got float32"),
        ((X, KERNEL[:, :, :5]), {}, r"for 6 input channels in 1 group.*got \[3, 3, 5, 4\]"),
        ((X, KERNEL), {"groups": 2}, "for 6 input channels in 2 group"),
        ((X, KERNEL), {"groups": 0}, "for 6 input channels in 0 group"),
        ((X, KERNEL[:, :, :2]), {"groups": 3}, "groups must divide Cin and Cout"),
        ((X, KERNEL), {"dilation": 2}, r"\[5, 5\].*is larger than the padded image \[4, 4\]"),
        ((X, KERNEL), {"strides": 0}, r"strides: expected an integer or \(height, width\)"),
        ((X, KERNEL), {"strides": (1, 1, 1)}, r"strides: expected an integer or \(height, width\)"),
        ((X, KERNEL), {"padding": "SAME"}, "padding: expected an integer.*got 'SAME'; write the numbers"),
        ((X, KERNEL), {"padding": -1}, "padding: expected an integer.*none negative, got -1"),
        ((X, KERNEL), {"padding": (1, (1, 1, 1))}, "padding: expected an integer"),
        ((X, KERNEL), {"padding": (1, 1, 1)}, "padding: expected an integer"),
    ],
)
def test_wrong_arguments_of_convolution(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ops.convolution(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((X[0], KERNEL), {}, r"x: expected \[N, H, W, C\]"),
        ((X, KERNEL[:, :, :5]), {}, r"\[kh, kw, Cin, Cout / groups\] for 6 input channels.*\[3, 3, 5, 4\]"),
        ((X, KERNEL), {"groups": 4}, "groups must divide Cin"),
        ((X, KERNEL), {"output_padding": 1}, r"output_padding: expected less than max.*got \[1, 1\]"),
        ((X, KERNEL), {"output_padding": -1}, "output_padding: expected an integer"),
        ((X, KERNEL), {"padding": 3}, r"cuts off all of the output \(\[0, 0\] is left\)"),
    ],
)
def test_wrong_arguments_of_transposed_convolution(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ops.transposed_convolution(*arguments, **options)
