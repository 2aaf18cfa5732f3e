"""Layer, group, instance and RMS norm as layers: parameters, dtypes, errors. Formulas are tested as ops."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import ops
from jaxvision.layers import BatchNorm, ConvNormAct, GroupNorm, InstanceNorm, LayerNorm, RMSNorm

X = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (2, 3, 5, 6)), jnp.float32)
A, B = (jnp.asarray(np.random.default_rng(seed).normal(size=6), jnp.float32) for seed in (1, 2))

# The layer, its parameters, and the op it must equal with scale A and bias B.
CASES = {
    "layer": (LayerNorm(), {"scale", "bias"}, lambda x: ops.layer_norm(x, A, B)),
    "layer, other options": (
        LayerNorm(epsilon=0.1, use_scale=False),
        {"bias"},
        lambda x: ops.layer_norm(x, None, B, epsilon=0.1),
    ),
    "layer without": (
        LayerNorm(use_scale=False, use_bias=False),
        set(),
        lambda x: ops.layer_norm(x, None, None),
    ),
    "rms": (RMSNorm(), {"scale"}, lambda x: ops.rms_norm(x, A)),
    "rms without": (
        RMSNorm(epsilon=0.1, use_scale=False),
        set(),
        lambda x: ops.rms_norm(x, None, epsilon=0.1),
    ),
    "group": (GroupNorm(num_groups=3), {"scale", "bias"}, lambda x: ops.group_norm(x, A, B, num_groups=3)),
    "group, other options": (
        GroupNorm(2, epsilon=0.1, use_bias=False),
        {"scale"},
        lambda x: ops.group_norm(x, A, None, num_groups=2, epsilon=0.1),
    ),
    "instance": (InstanceNorm(), set(), lambda x: ops.group_norm(x, None, None, num_groups=6)),
    "instance, affine": (
        InstanceNorm(epsilon=0.1, use_scale=True, use_bias=True),
        {"scale", "bias"},
        lambda x: ops.group_norm(x, A, B, num_groups=6, epsilon=0.1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_layer_is_its_op_with_these_parameters(name):
    norm, parameters, op = CASES[name]
    variables = jax.jit(functools.partial(norm.init, train=True))(jax.random.key(0), X)
    params = variables.get("params", {})
    assert set(params) == parameters
    for parameter, values in params.items():
        np.testing.assert_array_equal(values, np.full(6, parameter == "scale"))
    changed = {"params": {key: value for key, value in {"scale": A, "bias": B}.items() if key in parameters}}
    results = jax.jit(lambda x: [*(norm.apply(changed, x, train=train) for train in (True, False)), op(x)])(X)
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm, functools.partial(GroupNorm, 3), InstanceNorm])
def test_dtypes(norm):
    x = X.astype(jnp.bfloat16)
    y, variables = jax.eval_shape(lambda: norm().init_with_output(jax.random.key(0), x, train=False))
    assert y.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    wide = norm(dtype=jnp.float32)
    values = jax.jit(lambda x: wide.init_with_output(jax.random.key(0), x, train=False)[0])(x)
    assert values.dtype == jnp.float32
    # A wider result has its own digits, it is not a rounded one that was cast.
    exact = jax.jit(lambda x: norm().init_with_output(jax.random.key(0), x, train=False)[0])(
        x.astype(jnp.float32)
    )
    np.testing.assert_allclose(values, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "norm", [BatchNorm, LayerNorm, RMSNorm, functools.partial(GroupNorm, 4), InstanceNorm]
)
def test_norms_stand_for_each_other_in_a_block(norm):
    block = ConvNormAct(8, norm=norm)
    y, _ = jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), X, train=True))
    assert y.shape == (2, 3, 5, 8)


def test_channels_last_layer_norm_is_the_layer_norm_of_images():
    # ConvNeXt's LayerNorm2d: over the channels of each pixel alone, whatever its neighbours are.
    norm = LayerNorm(use_scale=False, use_bias=False)
    whole, pixel = norm.apply({}, X, train=False), norm.apply({}, X[1, 2, 3], train=False)
    np.testing.assert_allclose(whole[1, 2, 3], pixel, rtol=1e-6)


def test_group_norm_between_instance_and_whole_image_norm():
    x = jnp.asarray(np.random.default_rng(0).normal(5.0, 3.0, (2, 4, 4, 32)), jnp.float32)
    y = np.asarray(jax.jit(lambda x: apply(GroupNorm(), x))(x))  # 32 groups by default
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((1, 2)), 1, rtol=1e-3)
    y = np.asarray(jax.jit(lambda x: apply(GroupNorm(1), x))(x))
    np.testing.assert_allclose(y.mean((1, 2, 3)), 0, atol=1e-5)
    assert np.abs(y.mean((1, 2))).max() > 0.1


def apply(norm: nn.Module, x: jax.Array) -> jax.Array:
    return norm.init_with_output(jax.random.key(0), x, train=False)[0]


def test_errors():
    with pytest.raises(ValueError, match="num_groups: expected a divisor of the 6 channels, got 32"):
        apply(GroupNorm(), X)
    with pytest.raises(ValueError, match=r"at least two pixels, got \[2, 1, 1, 6\]; one pixel less its own"):
        apply(InstanceNorm(), X[:, :1, :1])
    for norm in (LayerNorm(), RMSNorm(), GroupNorm(3), InstanceNorm()):
        with pytest.raises(ValueError, match="x: expected a floating dtype, got int32"):
            apply(norm, X.astype(jnp.int32))
