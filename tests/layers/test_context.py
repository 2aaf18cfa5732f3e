"""ASPP and pyramid pooling with weights shared with torchvision and PyTorch; dropout, dtypes, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.shared_weights import arrays, assert_equal, initialized, jax_results, recorded, torch_results
from reference.record_context import CASES

from jaxvision.core import unflatten_paths
from jaxvision.layers import ASPP, PyramidPooling

LAYERS = {
    "aspp train": ASPP(4, (2, 3, 9), dropout_rate=0.0),
    "aspp eval": ASPP(4, (1, 4)),
    "aspp separable train": ASPP(5, (2, 3), separable=True, dropout_rate=0.0),
    "aspp separable eval": ASPP(5, (2, 3), separable=True),
    "pooling train": PyramidPooling(),
    "pooling eval": PyramidPooling(),
    "pooling corners apart": PyramidPooling((1, 3), 3, align_corners=False),
}


def apply(name, variables, x, **options):
    return LAYERS[name].apply(variables, x, train="train" in name, mutable=["batch_stats"], **options)


def ours(name):
    return jax_results(CASES[name], lambda variables, inputs: apply(name, variables, inputs["x"]))


@pytest.mark.parametrize("name", LAYERS)
def test_equals_recorded_torch(name):
    assert_equal(ours(name), recorded("context")[name])


@pytest.mark.parity
@pytest.mark.parametrize("name", LAYERS)
def test_equals_torch(name):
    pytest.importorskip("torch")
    assert_equal(ours(name), torch_results(CASES[name]))


@pytest.mark.parametrize("name", LAYERS)
def test_variables_have_the_names_that_rules_target(name):
    init = functools.partial(LAYERS[name].init, train=False)
    assert initialized(init, jnp.zeros(CASES[name].inputs["x"])) == CASES[name].variables


def test_parameters_of_the_published_modules():
    def count(layer, channels):
        init = functools.partial(layer.init, train=False)
        shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((2, 8, 8, channels)))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))

    # torchvision's ASPP of 2048 channels; PSPNet's four 1x1 convolutions to 512 channels and their norms.
    assert count(ASPP(), 2048) == 2 * 2048 * 256 + 3 * 9 * 2048 * 256 + 5 * 256 * 256 + 6 * 2 * 256
    assert count(PyramidPooling(), 2048) == 4 * (2048 * 512 + 2 * 512)


def test_dropout_zeroes_half_of_the_result_in_training_only():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 4)), jnp.float32)
    layer = ASPP(8, (2, 3), norm=None, activation=None)
    variables = jax.jit(functools.partial(layer.init, train=False))(jax.random.key(0), x)
    whole = jax.jit(functools.partial(layer.apply, train=False))(variables, x)
    run = jax.jit(lambda key: layer.apply(variables, x, train=True, rngs={"dropout": key}))
    dropped = np.asarray(run(jax.random.key(1)))
    kept = dropped != 0
    assert kept.mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(dropped[kept], 2 * np.asarray(whole)[kept], rtol=1e-4, atol=1e-5)


def test_one_image_has_no_statistics_of_its_mean_in_training():
    x = jnp.ones((1, 8, 8, 4))
    for layer in (ASPP(4, (2,)), PyramidPooling()):
        variables = jax.eval_shape(functools.partial(layer.init, train=False), jax.random.key(0), x)
        run = functools.partial(layer.apply, train=True, mutable=["batch_stats"])
        with pytest.raises(ValueError, match="at least two elements a channel"):
            jax.eval_shape(lambda v, run=run: run(v, x, rngs={"dropout": jax.random.key(0)}), variables)


@pytest.mark.parametrize("name", ["aspp eval", "pooling eval"])
def test_bfloat16_empty_batch_and_one_trace(name):
    inputs, flat = arrays(CASES[name])
    variables, traces = unflatten_paths(flat), []
    layer = LAYERS[name].copy(dtype=jnp.bfloat16)

    @jax.jit
    def run(variables, x):
        traces.append(1)
        return layer.apply(variables, x, train=False)

    y = run(variables, inputs["x"])
    run(variables, inputs["x"] + 1)
    assert len(traces) == 1
    assert y.dtype == jnp.bfloat16
    exact = recorded("context")[name]["output "]
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, atol=0.04 * np.abs(exact).max())
    empty = jax.eval_shape(run, variables, inputs["x"][:0])
    assert empty.shape == (0, *exact.shape[1:])


def test_mapped_over_a_further_axis():
    inputs, flat = arrays(CASES["pooling eval"])
    run = functools.partial(LAYERS["pooling eval"].apply, unflatten_paths(flat), train=False)
    y = jax.jit(jax.vmap(run))(jnp.stack([2 * inputs["x"], inputs["x"]]))
    np.testing.assert_allclose(y[1], recorded("context")["pooling eval"]["output "], atol=1e-5)


def test_errors():
    key = jax.random.key(0)
    for layer in (ASPP(), PyramidPooling()):
        with pytest.raises(
            ValueError, match=r"x: expected \[N, H, W, C\], got \[8, 8, 4\]; feature maps are"
        ):
            jax.eval_shape(functools.partial(layer.init, train=False), key, jnp.ones((8, 8, 4)))
    with pytest.raises(
        ValueError, match=r"x: expected at least 4 channels, got \[2, 8, 8, 3\]; give features"
    ):
        jax.eval_shape(functools.partial(PyramidPooling().init, train=False), key, jnp.ones((2, 8, 8, 3)))
