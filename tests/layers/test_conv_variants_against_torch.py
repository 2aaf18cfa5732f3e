"""Convolution variants with weights shared with PyTorch: outputs, gradients, statistics, parameter names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.shared_weights import arrays, assert_equal, initialized, jax_results, recorded, torch_results
from reference.record_conv_variants import CASES

from jaxvision.core import unflatten_paths
from jaxvision.layers import BatchNorm, DepthwiseConv, MLPConv, PatchEmbed, SeparableConv, StandardizedConv

SEPARABLE = functools.partial(SeparableConv, 5, 3, 2, dilation=2)
LAYERS = {
    "depthwise": DepthwiseConv(),
    "depthwise two filters, strides": DepthwiseConv((3, 2), (2, 1), (1, 0), multiplier=2),
    "depthwise dilated": DepthwiseConv(3, padding=2, dilation=2),
    "depthwise one image, 5x5": DepthwiseConv(5, padding=2),
    "depthwise sequence": DepthwiseConv((3,), padding=1, multiplier=2),
    "depthwise video": DepthwiseConv((3, 3, 3), padding=1),
    "separable mobilenet train": SEPARABLE(),
    "separable mobilenet eval": SEPARABLE(multiplier=2),
    "separable mobilenet without norm": SEPARABLE(norm=None),
    "separable xception train": SEPARABLE(order="xception", multiplier=2),
    "separable xception eval": SEPARABLE(order="xception"),
    "separable xception without norm": SEPARABLE(order="xception", norm=None),
    "mlpconv": MLPConv((6, 5, 3), 5, 2),
    "mlpconv with norm, train": MLPConv((6, 5, 3), 5, 2, norm=BatchNorm),
    "standardized scaled": StandardizedConv(6, 3, 2, 1, activation_gain=1.7),
    "standardized plain": StandardizedConv(6, 3, 2, 1, scaled=False),
    "standardized scaled, groups": StandardizedConv(6, 3, 2, 1, groups=2, activation_gain=1.7),
    "patches": PatchEmbed(5, 4, flatten=False),
    "patches uneven": PatchEmbed(5, (2, 4), flatten=False),
    "patches of video": PatchEmbed(5, (2, 3, 2), flatten=False),
    "patches of a sequence": PatchEmbed(5, (4,), flatten=False),
}


def options(name):
    """Layers with a normalisation are told the mode."""
    return {"train": "eval" not in name} if name.startswith(("separable", "mlpconv")) else {}


def ours(name, dtype=np.float32):
    apply = functools.partial(LAYERS[name].apply, mutable=["batch_stats"], **options(name))
    return jax_results(CASES[name], lambda variables, inputs: apply(variables, inputs["x"]), dtype)


@pytest.fixture(scope="module")
def expected():
    return recorded("conv_variants")


@pytest.mark.parametrize("name", CASES)
def test_equals_recorded_torch(name, expected):
    assert_equal(ours(name), expected[name])


@pytest.mark.parametrize("name", CASES)
def test_variables_have_the_names_that_rules_target(name):
    x = jnp.zeros(CASES[name].inputs["x"])
    made = initialized(functools.partial(LAYERS[name].init, **options(name)), x)
    assert made == CASES[name].variables


@pytest.mark.parametrize(
    "name", ["depthwise", "separable mobilenet eval", "mlpconv", "standardized scaled", "patches"]
)
def test_bfloat16_is_as_exact_as_its_eight_bits(name, expected):
    inputs, flat = arrays(CASES[name])
    layer = LAYERS[name].copy(dtype=jnp.bfloat16)
    y = jax.jit(functools.partial(layer.apply, **options(name)))(unflatten_paths(flat), inputs["x"])
    assert y.dtype == jnp.bfloat16
    exact = expected[name]["output "]
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, atol=0.03 * np.abs(exact).max())


# Not in training: a batch of nothing has no statistics.
@pytest.mark.parametrize("name", [name for name in CASES if not options(name).get("train")])
def test_an_empty_batch_gives_an_empty_batch(name):
    _, flat = arrays(CASES[name])
    x = jnp.zeros((0, *CASES[name].inputs["x"][1:]))
    y = jax.eval_shape(functools.partial(LAYERS[name].apply, **options(name)), unflatten_paths(flat), x)
    assert y.shape[0] == 0


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_equals_torch(name):
    pytest.importorskip("torch")
    assert_equal(ours(name), torch_results(CASES[name]))
