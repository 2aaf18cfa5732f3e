"""Feature pyramid with weights shared with torchvision; levels, dtypes, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.shared_weights import arrays, assert_equal, initialized, jax_results, recorded, torch_results
from reference.record_context import CASES

from jaxvision.core import unflatten_paths
from jaxvision.layers import BatchNorm, FeaturePyramid

THREE = ("c3", "c4", "c5")
LAYERS = {
    "pyramid": FeaturePyramid(3),
    "pyramid max pool": FeaturePyramid(3, extra="max_pool"),
    "pyramid p6 p7 of p5": FeaturePyramid(4, THREE, extra="conv_p5"),
    "pyramid p6 p7 of c5": FeaturePyramid(3, THREE, extra="conv_c5"),
    "pyramid norm train": FeaturePyramid(3, norm=BatchNorm),
    "pyramid norm eval": FeaturePyramid(3, THREE, norm=BatchNorm),
}


def ours(name):
    def apply(variables, inputs):
        return LAYERS[name].apply(variables, inputs, train="train" in name, mutable=["batch_stats"])

    return jax_results(CASES[name], apply)


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
    inputs, _ = arrays(CASES[name])
    assert initialized(functools.partial(LAYERS[name].init, train=False), inputs) == CASES[name].variables


def test_parameters_and_levels_of_a_resnet_50():
    maps = {f"c{i}": jnp.zeros((1, 256 // 2**i, 256 // 2**i, 128 * 2 ** (i - 1))) for i in range(1, 6)}

    def shapes(**options):
        init = functools.partial(FeaturePyramid(**options).init_with_output, train=False)
        levels, variables = jax.eval_shape(init, jax.random.key(0), maps)
        return {n: y.shape[1] for n, y in levels.items()}, sum(v.size for v in jax.tree.leaves(variables))

    # 1x1 convolutions of 256, 512, 1024 and 2048 channels, 3x3 convolutions of 256, all with a bias.
    lateral, output = [c * 256 + 256 for c in (256, 512, 1024, 2048)], 9 * 256 * 256 + 256
    assert shapes(extra="max_pool") == (
        {"p2": 64, "p3": 32, "p4": 16, "p5": 8, "p6": 4},
        sum(lateral) + 4 * output,
    )
    assert shapes(levels=THREE, extra="conv_c5") == (
        {"p3": 32, "p4": 16, "p5": 8, "p6": 4, "p7": 2},
        sum(lateral[1:]) + 3 * output + (9 * 2048 * 256 + 256) + output,
    )


def test_every_level_knows_what_the_smallest_map_knows():
    inputs, flat = arrays(CASES["pyramid"])
    variables = unflatten_paths(flat)

    def sums(last):
        levels = LAYERS["pyramid"].apply(variables, {**inputs, "c5": last}, train=False)
        return {name: jnp.square(level).sum() for name, level in levels.items()}

    gradients = jax.jit(jax.jacrev(sums))(inputs["c5"])
    assert all(float(jnp.abs(gradient).min()) > 0 for gradient in gradients.values())


def test_bfloat16_empty_batch_and_one_trace():
    inputs, flat = arrays(CASES["pyramid max pool"])
    variables, traces = unflatten_paths(flat), []
    layer = LAYERS["pyramid max pool"].copy(dtype=jnp.bfloat16)

    @jax.jit
    def run(variables, maps):
        traces.append(1)
        return layer.apply(variables, maps, train=False)

    levels = run(variables, inputs)
    run(variables, jax.tree.map(lambda x: x + 1, inputs))
    assert len(traces) == 1
    for name, level in levels.items():
        exact = recorded("context")["pyramid max pool"][f"output {name}"]
        assert level.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(level, np.float32), exact, atol=0.03 * np.abs(exact).max())
    empty = jax.eval_shape(run, variables, jax.tree.map(lambda x: x[:0], inputs))
    assert {level.shape[0] for level in empty.values()} == {0}


def test_errors():
    key, maps = jax.random.key(0), {"c4": jnp.ones((1, 4, 4, 3)), "c5": jnp.ones((1, 2, 2, 3))}
    with pytest.raises(
        ValueError, match="maps: expected c2, c3, c4, c5, got c4, c5 without c2, c3; name those"
    ):
        FeaturePyramid(4).init(key, maps, train=False)
    with pytest.raises(ValueError, match=r"extra: expected None, \"max_pool\", .* got 'pool'"):
        FeaturePyramid(4, ("c4", "c5"), extra="pool").init(key, maps, train=False)
    with pytest.raises(ValueError, match=r"levels: expected names as .* got \('top',\)"):
        FeaturePyramid(4, ("top",)).init(key, {"top": maps["c5"]}, train=False)
    with pytest.raises(ValueError, match=r"c5: expected \[N, H, W, C\], got \[2, 2, 3\]"):
        FeaturePyramid(4, ("c4", "c5")).init(key, {**maps, "c5": maps["c5"][0]}, train=False)
