"""Formulas, transformations and errors of normalisations; values of PyTorch are in another file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision import ops

X = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (2, 3, 4, 6)), jnp.float32)
SCALE = jnp.asarray(np.random.default_rng(1).normal(size=6), jnp.float32)
CALLS = {
    "layer": lambda x: ops.layer_norm(x, SCALE, SCALE[::-1]),
    "rms": lambda x: ops.rms_norm(x, SCALE),
    "group": lambda x: ops.group_norm(x, SCALE, SCALE[::-1], num_groups=3),
    "response": lambda x: ops.local_response_norm(x, size=4, alpha=0.3, beta=0.6, bias=2.0),
    "weight": ops.weight_standardize,
    "scaled weight": lambda kernel: ops.scaled_weight_standardize(kernel, gain=SCALE),
}


def test_derivatives_of_both_modes():
    weights = jnp.asarray(np.random.default_rng(2).normal(size=X.shape), jnp.float32)
    every = jax.jit(lambda x: jnp.stack([call(x) * weights for call in CALLS.values()]))
    check_grads(every, (X,), order=1, modes=("fwd", "rev"), atol=0.05, rtol=0.05, eps=1e-2)


@pytest.mark.parametrize("name", ["layer", "group"])
def test_gradient_is_exact_far_from_zero_and_second_order(name):
    # The variance is written around a point that is constant for differentiation: compare with the formula.
    x = jnp.asarray(np.random.default_rng(0).normal(100.0, 1.0, (1, 6)), jnp.float32)

    def ours(x):
        y = ops.layer_norm(x, None, None) if name == "layer" else ops.group_norm(x, None, None, num_groups=1)
        return (y**3).sum()

    def plain(x):
        centred = x - x.mean()
        return ((centred / jnp.sqrt((centred * centred).mean() + 1e-5)) ** 3).sum()

    for order in (jax.grad, jax.hessian):
        expected = jax.jit(order(plain))(x)
        scale = float(jnp.abs(expected).max())
        np.testing.assert_allclose(jax.jit(order(ours))(x), expected, atol=2e-3 * scale)


def test_vmap_and_a_second_call_without_a_trace():
    traces = []

    def every(x):
        traces.append(x.shape)
        return [call(x) for call in CALLS.values()]

    mapped, run = jax.jit(jax.vmap(every))(jnp.stack([X, 2 * X + 1])), jax.jit(every)
    for index, x in enumerate((X, 2 * X + 1)):
        for batched, single in zip(mapped, run(x), strict=True):
            np.testing.assert_allclose(batched[index], single, atol=1e-5)
    assert len(traces) == 2


@pytest.mark.parametrize("name", ["layer", "rms", "group"])
def test_empty_batch_and_float64(name):
    gradient = jax.jit(jax.grad(lambda x: CALLS[name](x).sum()))(X[:0])
    assert gradient.shape == (0, 3, 4, 6)
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (2, 5, 6)), jnp.float64)
        y = jax.jit(CALLS[name])(x)
        assert y.dtype == jnp.float64
        array, scale = np.asarray(x), np.asarray(SCALE, np.float64)
        if name == "rms":
            expected = array / np.sqrt((array**2).mean(-1, keepdims=True) + 1e-6) * scale
        elif name == "layer":
            expected = array - array.mean(-1, keepdims=True)
            expected /= np.sqrt(array.var(-1, keepdims=True) + 1e-5)
            expected = expected * scale + scale[::-1]
        else:
            groups = array.reshape(2, 5, 3, 2)
            expected = groups - groups.mean((1, 3), keepdims=True)
            expected /= np.sqrt(groups.var((1, 3), keepdims=True) + 1e-5)
            expected = expected.reshape(2, 5, 6) * scale + scale[::-1]
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


def test_statistics_of_bfloat16_are_float32():
    x = jnp.full((1, 64, 64, 2), 3.0, jnp.bfloat16)  # 4096 terms a channel: a bfloat16 sum would stop growing
    x = x.at[:, ::2].set(1.0)
    for norm in (
        lambda x: ops.group_norm(x, None, None, num_groups=2),
        lambda x: ops.layer_norm(x.reshape(1, -1), None, None).reshape(x.shape),
    ):
        y = jax.jit(norm)(x)
        assert y.dtype == jnp.bfloat16
        np.testing.assert_allclose(y[:, ::2].astype(jnp.float32), -1, rtol=0.004)
        np.testing.assert_allclose(y[:, 1::2].astype(jnp.float32), 1, rtol=0.004)


def test_constant_input_gives_the_bias_and_finite_gradients():
    x = jnp.full((2, 3, 3, 6), 7.0)
    for name in ("layer", "group"):
        y, gradient = jax.jit(
            lambda x, name=name: (CALLS[name](x), jax.grad(lambda x: CALLS[name](x).sum())(x))
        )(x)
        np.testing.assert_allclose(y, np.broadcast_to(SCALE[::-1], x.shape), atol=1e-2)
        assert np.isfinite(gradient).all()


def test_standardised_kernels_have_their_moments():
    kernel = jnp.asarray(np.random.default_rng(0).normal(5.0, 3.0, (3, 3, 16, 8)), jnp.float32)
    plain = np.asarray(jax.jit(ops.weight_standardize)(kernel))
    np.testing.assert_allclose(plain.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(plain.var((0, 1, 2)), 1, rtol=1e-5)
    scaled = np.asarray(jax.jit(ops.scaled_weight_standardize)(kernel, gain=jnp.arange(8.0)))
    np.testing.assert_allclose(scaled.var((0, 1, 2)) * 144, np.arange(8.0) ** 2, rtol=1e-5)
    dead = jnp.ones((3, 3, 4, 2))  # no variance: bounded from below, not divided by zero
    y, gradient = jax.jit(jax.value_and_grad(lambda kernel: ops.scaled_weight_standardize(kernel).sum()))(
        dead
    )
    assert float(y) == 0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.layer_norm(X, SCALE[:5], None), r"scale: expected \[6\], one a channel, got \[5\]"),
        (lambda: ops.layer_norm(X, None, SCALE[None]), r"bias: expected \[6\], one a channel, got \[1, 6\]"),
        (lambda: ops.rms_norm(X.astype(jnp.int32), None), "x: expected a floating dtype, got int32"),
        (
            lambda: ops.group_norm(X, None, None, num_groups=4),
            "num_groups: expected a divisor of the 6 channels",
        ),
        (
            lambda: ops.group_norm(X, None, None, num_groups=0),
            "num_groups: expected a divisor of the 6 channels",
        ),
        (
            lambda: ops.group_norm(SCALE, None, None, num_groups=1),
            r"x: expected \[N, ..., C\].*add a batch axis",
        ),
        (lambda: ops.weight_standardize(SCALE), r"kernel: expected \[..., Cin, Cout\], got \[6\]"),
        (lambda: ops.scaled_weight_standardize(X, gain=SCALE[:1]), r"gain: expected \[6\], one a channel"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_local_response_norm_is_its_formula(size):
    # Channel c looks at size // 2 channels before it and (size - 1) // 2 behind it.
    x = np.asarray(X, np.float64)
    sums = np.zeros_like(x)
    for channel in range(x.shape[-1]):
        first, last = max(channel - size // 2, 0), channel + (size - 1) // 2 + 1
        sums[..., channel] = (x[..., first:last] ** 2).sum(-1)
    y = ops.local_response_norm(X, size=size, alpha=0.5, beta=0.7, bias=1.5)
    np.testing.assert_allclose(y, x / (1.5 + 0.5 / size * sums) ** 0.7, rtol=1e-5)
    assert ops.local_response_norm(X[:0].astype(jnp.bfloat16), size=size).dtype == jnp.bfloat16


@pytest.mark.parity
@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_local_response_norm_equals_torch(size):
    torch = pytest.importorskip("torch")
    inputs = torch.from_numpy(np.array(X)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.local_response_norm(inputs, size, 0.5, 0.7, 1.5).permute(0, 2, 3, 1)
    y = ops.local_response_norm(X, size=size, alpha=0.5, beta=0.7, bias=1.5)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-5)


def test_local_response_norm_needs_a_channel():
    with pytest.raises(ValueError, match="size: expected at least 1 channel, got 0"):
        ops.local_response_norm(X, size=0)
