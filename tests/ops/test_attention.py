"""Dot-product attention against PyTorch and JAX; masks, causality, extremes, dtypes, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from oracles.shared_weights import arrays, assert_equal, jax_results, recorded, torch_results
from reference.record_attention import CASES, masks

from jaxvision.ops import attention_weights, dot_product_attention

PRODUCTS = {name: case for name, case in CASES.items() if name.startswith("product")}
QUERY, KEY, VALUE = (arrays(CASES["product"])[0][name] for name in ("query", "key", "value"))


def options(name):
    mask = name.split()[-1]
    chosen = {"where": jnp.asarray(masks()[mask])} if mask in masks() else {}
    chosen |= {"causal": True} if "causal" in name else {}
    return chosen | ({"scale": 0.3} if "scale" in name else {})


def ours(name, dtype=np.float32):
    def apply(variables, inputs):
        return dot_product_attention(**inputs, **options(name)), {}

    return jax_results(PRODUCTS[name], apply, dtype)


@pytest.mark.parametrize("name", PRODUCTS)
def test_equals_recorded_torch(name):
    assert_equal(ours(name), recorded("attention")[name])


@pytest.mark.parity
@pytest.mark.parametrize("name", PRODUCTS)
def test_equals_torch(name):
    pytest.importorskip("torch")
    assert_equal(ours(name), torch_results(PRODUCTS[name]))


@pytest.mark.parametrize("name", ["product", "product causal", "product padding", "product all"])
def test_equals_jax_where_every_query_sees_a_key(name):
    own = options(name)
    theirs = {{"where": "mask", "causal": "is_causal"}[key]: value for key, value in own.items()}
    value = VALUE[..., :3]  # JAX wants as many channels as keys have
    expected = jax.jit(functools.partial(jax.nn.dot_product_attention, **theirs))(QUERY, KEY, value)
    y = jax.jit(functools.partial(dot_product_attention, **own))(QUERY, KEY, value)
    np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["product", "product all", "product bias"])
def test_bfloat16_is_as_exact_as_its_eight_bits(name):
    results = ours(name, jnp.bfloat16)
    assert all(array.dtype == jnp.bfloat16 for array in results.values())
    assert_equal(results, recorded("attention")[name], 0.03)


def test_float64_stays_float64():
    with jax.enable_x64(True):
        wide = [jnp.asarray(array, jnp.float64) for array in (QUERY, KEY, VALUE)]
        y = jax.jit(dot_product_attention)(*wide)
        assert y.dtype == jnp.float64
        logits = np.einsum("nthd,nshd->nhts", wide[0], wide[1]) / np.sqrt(3)
        weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(y, np.einsum("nhts,nshd->nthd", weights, wide[2]), rtol=1e-12)


def test_a_mask_is_the_same_as_leaving_the_keys_out():
    y = jax.jit(dot_product_attention)(QUERY, KEY, VALUE, where=jnp.asarray([[[[True, True, True, False]]]]))
    expected = jax.jit(dot_product_attention)(QUERY, KEY[:, :3], VALUE[:, :3])
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_a_query_that_sees_nothing_gives_zeros_with_zero_gradients():
    where = jnp.asarray(masks()["blind"])  # no key in the second sample

    def run(query, key, value, bias):
        return dot_product_attention(query, key, value, where=where, bias=bias)

    @jax.jit
    def both(*operands):
        y, pull = jax.vjp(run, *operands)
        return y, pull(jnp.ones_like(y))

    y, gradients = both(QUERY, KEY, VALUE, jnp.zeros((2, 1, 5, 4)))
    np.testing.assert_array_equal(y[1], np.zeros_like(y[1]))
    for gradient in gradients:
        np.testing.assert_array_equal(gradient[1], np.zeros_like(gradient[1]))
        assert np.isfinite(gradient).all()
    weights = jax.jit(attention_weights)(QUERY, KEY, where=where)
    np.testing.assert_allclose(weights.sum(-1)[:, 0, 0], [1.0, 0.0], rtol=1e-6)


def test_large_logits_and_nan():
    weights = jax.jit(attention_weights)(200 * QUERY, 200 * KEY, where=jnp.tri(5, 4, dtype=bool)[None, None])
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights.sum(-1), np.ones((2, 2, 5)), rtol=1e-5)
    spoilt = jax.jit(dot_product_attention)(
        np.full_like(QUERY, np.nan), KEY, VALUE, where=jnp.ones((1, 1, 1, 4), bool)
    )
    assert np.isnan(spoilt).all()


def test_derivatives():
    def loss(*operands):
        return jnp.sin(dot_product_attention(*operands, where=jnp.asarray(masks()["all"]))).sum()

    # Reverse mode is compared with PyTorch's: here forward mode over it, the second order.
    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
    check_grads(gradient, (QUERY, KEY, VALUE), 1, modes=("fwd",), atol=0.02, rtol=0.02, eps=1e-2)


def test_map_and_empty_batch():
    run = functools.partial(dot_product_attention, causal=True)
    mapped = jax.jit(jax.vmap(run))(*(x[:, None] for x in (QUERY, KEY, VALUE)))
    np.testing.assert_allclose(mapped[:, 0], recorded("attention")["product causal"]["output "], atol=1e-5)
    assert jax.jit(run)(QUERY[:0], KEY[:0], VALUE[:0]).shape == (0, 5, 2, 6)


def test_errors():
    with pytest.raises(ValueError, match=r"query: expected \[N, T, heads, D\], got \[5, 2, 3\]"):
        dot_product_attention(QUERY[0], KEY, VALUE)
    with pytest.raises(
        ValueError, match=r"key: expected the batch, heads and channels of query \[2, 5, 2, 3\]"
    ):
        dot_product_attention(QUERY, KEY[:, :, :1], VALUE)
    with pytest.raises(ValueError, match=r"value: .* as of key \[2, 4, 2, 3\], got \[2, 3, 2, 6\]"):
        dot_product_attention(QUERY, KEY, VALUE[:, :3])
    with pytest.raises(ValueError, match=r"where: expected .* \[2, 2, 5, 4\].* got \[2, 4\]; a mask of keys"):
        dot_product_attention(QUERY, KEY, VALUE, where=jnp.ones((2, 4), bool))
    with pytest.raises(ValueError, match=r"where: expected bool, .* got float32; .* are bias"):
        dot_product_attention(QUERY, KEY, VALUE, where=jnp.ones((1, 1, 5, 4)))
