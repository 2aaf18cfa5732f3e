"""Multi-head attention and transformer blocks with weights shared with PyTorch; dropout, dtypes, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.shared_weights import (
    arrays,
    assert_equal,
    initialized,
    jax_results,
    recorded,
    torch_results,
)
from reference.record_attention import CASES, masks

from jaxvision.core import unflatten_paths
from jaxvision.layers import MLPBlock, MultiHeadAttention, TransformerBlock

LAYERS = {name: MultiHeadAttention(2) for name in CASES if not name.startswith(("product", "block"))}
LAYERS["self causal"] = MultiHeadAttention(2, causal=True)
LAYERS |= {name: TransformerBlock(2, 10) for name in ("block", "block train")}
LAYERS["block dropout of all"] = TransformerBlock(2, 10, dropout_rate=1.0)
LAYERS["block dropout of all weights"] = TransformerBlock(2, 10, attention_dropout_rate=1.0)


def call(name, method, *variables):
    """``init`` or ``apply`` of a layer as a function of the case's inputs."""
    mask = None if "block" in name else masks().get(name.split()[-1])
    options = {} if mask is None else {"where": jnp.asarray(mask)}

    def run(inputs):
        first = "x" if "x" in inputs else "query"
        rest = {key: value for key, value in inputs.items() if key != first}
        return method(*variables, inputs[first], **rest, **options, train="block" in name and name != "block")

    return run


def ours(name):
    def apply(variables, inputs):
        method = functools.partial(LAYERS[name].apply, rngs={"dropout": jax.random.key(0)})
        return call(name, method, variables)(inputs), {}

    return jax_results(CASES[name], apply)


@pytest.mark.parametrize("name", LAYERS)
def test_equals_recorded_torch(name):
    assert_equal(ours(name), recorded("attention")[name])


@pytest.mark.parity
@pytest.mark.parametrize("name", LAYERS)
def test_equals_torch(name):
    pytest.importorskip("torch")
    assert_equal(ours(name), torch_results(CASES[name]))


@pytest.mark.parametrize("name", ["self", "apart bias, padding", "block"])
def test_variables_have_the_names_that_rules_target(name):
    inputs, _ = arrays(CASES[name])
    made = initialized(lambda key, x: call(name, LAYERS[name].init, key)(x), inputs)
    assert made == CASES[name].variables


def test_the_encoder_block_of_vit_b_16_has_its_parameters():
    init = functools.partial(TransformerBlock(12, 3072).init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 197, 768)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 7_087_872


def test_dropout_takes_whole_weights_away_and_keeps_the_mean():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 50, 6)), jnp.float32)
    layer = MultiHeadAttention(2, dropout_rate=0.25)
    variables = unflatten_paths(arrays(CASES["self"])[1])

    @functools.partial(jax.jit, static_argnames="train")
    def weights(key, train):
        options = {"train": train, "rngs": {"dropout": key}, "mutable": ["intermediates"]}
        return layer.apply(variables, x, **options)[1]["intermediates"]["weights"][0]

    whole, dropped = weights(jax.random.key(1), train=False), weights(jax.random.key(1), train=True)
    assert whole.shape == (2, 2, 50, 50)
    np.testing.assert_allclose(whole.sum(-1), np.ones((2, 2, 50)), rtol=1e-5)
    kept = np.asarray(dropped > 0)
    assert kept.mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(dropped[kept], whole[kept] / 0.75, rtol=1e-5)
    assert not np.array_equal(weights(jax.random.key(2), train=True), dropped)
    np.testing.assert_array_equal(weights(jax.random.key(1), train=True), dropped)


def test_nothing_is_sown_where_nobody_asks():
    x = jnp.ones((1, 3, 6))
    variables = jax.eval_shape(
        functools.partial(MultiHeadAttention(2).init, train=False), jax.random.key(0), x
    )
    assert set(variables["params"]) == {"query", "key", "value", "out"}


def test_causal_places_do_not_see_what_comes_after():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 6)), jnp.float32)
    layer = TransformerBlock(2, 10, causal=True)
    variables = unflatten_paths(arrays(CASES["block"])[1])
    jacobian = jax.jit(jax.jacrev(lambda x: layer.apply(variables, x, train=False)[0].sum(-1)))
    seen = np.abs(jacobian(x)).sum((1, 3)) > 0  # [T, T]
    np.testing.assert_array_equal(seen, np.tri(6, dtype=bool))


def test_drop_path_of_all_is_the_identity():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 6)), jnp.float32)
    layer = TransformerBlock(2, 10, drop_path_rate=1.0)
    variables = unflatten_paths(arrays(CASES["block"])[1])
    run = jax.jit(functools.partial(layer.apply, train=True))
    y = run(variables, x, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("name", ["self", "block"])
def test_bfloat16_is_as_exact_as_its_eight_bits(name):
    inputs, flat = arrays(CASES[name])
    layer = LAYERS[name].copy(dtype=jnp.bfloat16)
    (x,) = inputs.values()
    y = jax.jit(functools.partial(layer.apply, train=False))(unflatten_paths(flat), x)
    exact = recorded("attention")[name]["output "]
    assert y.dtype == (jnp.bfloat16 if name == "self" else jnp.float32)  # the block adds to its input
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, atol=0.03 * np.abs(exact).max())


def test_traced_once_mapped_and_an_empty_batch():
    inputs, flat = arrays(CASES["block"])
    variables, traces = unflatten_paths(flat), []

    @jax.jit
    def run(variables, x):
        traces.append(1)
        apply = functools.partial(LAYERS["block"].apply, train=False)
        return jax.vmap(apply, (None, 0))(variables, x)

    y = run(variables, inputs["x"][:, None])
    run(variables, inputs["x"][:, None] + 1)
    assert len(traces) == 1
    assert_equal({"y": y[:, 0]}, {"y": recorded("attention")["block"]["output "]})
    apply = functools.partial(LAYERS["block"].apply, train=False)
    assert jax.jit(apply)(variables, inputs["x"][:0]).shape == (0, 5, 6)


def test_the_perceptron_acts_on_each_place_by_itself():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 6)), jnp.float32)
    layer = MLPBlock(8)
    y, variables = jax.jit(functools.partial(layer.init_with_output, train=False))(jax.random.key(0), x)
    alone = jax.jit(functools.partial(layer.apply, train=False))(variables, x[1, 2, 3])
    np.testing.assert_allclose(y[1, 2, 3], alone, atol=1e-6)


def test_errors():
    key, x = jax.random.key(0), jnp.ones((2, 5, 6))
    with pytest.raises(ValueError, match="num_heads: expected a divisor of 6 channels, got 4"):
        MultiHeadAttention(4).init(key, x, train=False)
    with pytest.raises(ValueError, match=r"query: expected \[N, T, C\], got \[2, 5, 5, 6\]; flatten images"):
        MultiHeadAttention(2).init(key, jnp.ones((2, 5, 5, 6)), train=False)
    with pytest.raises(ValueError, match=r"value: expected one a key \[2, 4, 6\], got \[2, 3, 6\]"):
        MultiHeadAttention(2).init(key, x, key=x[:, :4], value=x[:, :3], train=False)
    with pytest.raises(ValueError, match=r"where: expected \[N, heads, T, S\], here \[2, 2, 5, 5\]"):
        MultiHeadAttention(2).init(key, x, where=jnp.ones((2, 5), bool), train=False)
