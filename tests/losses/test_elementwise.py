"""Regression losses, KL divergence and reductions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.test_util import check_grads

from jaxvision.losses import (
    add_terms,
    expand_where,
    huber_loss,
    kl_divergence_loss,
    l1_loss,
    l2_loss,
    masked_mean,
    sum_term,
)

RNG = np.random.default_rng(3)
X = jnp.asarray(RNG.normal(0, 2, (3, 4)), jnp.float32)
Y = jnp.asarray(RNG.normal(0, 2, (3, 4)), jnp.float32)


def test_huber_meets_l1_and_l2() -> None:
    np.testing.assert_allclose(huber_loss(X, Y, delta=100.0), 0.5 * l2_loss(X, Y), rtol=1e-6)
    small = 1e-3
    np.testing.assert_allclose(huber_loss(X, Y, delta=small) / small, l1_loss(X, Y), atol=1e-3)
    x, zero = jnp.array([1.0, 2.0, -3.0]), jnp.zeros(3)
    assert huber_loss(x, zero, delta=2.0).tolist() == [0.5, 2.0, 4.0]


@pytest.mark.parametrize("function", [l1_loss, l2_loss, huber_loss])
def test_regression_masks_and_gradients(function: object) -> None:
    where = jnp.array([True, False, True])
    loss = lambda x: function(x, Y, where=where).sum()  # type: ignore[operator]  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(X.at[1].set(jnp.nan))
    kept = np.array([0, 2])
    np.testing.assert_allclose(value, function(X[kept], Y[kept]).sum(), rtol=1e-6)  # type: ignore[operator]
    np.testing.assert_array_equal(gradient[1], 0.0)
    check_grads(jax.jit(loss), (X,), order=1, modes=["rev"], eps=1e-2, rtol=2e-2)
    with pytest.raises(ValueError, match="equal shapes"):
        function(X, Y[:1])  # type: ignore[operator]
    with pytest.raises(ValueError, match="floating"):
        function(X, jnp.zeros((3, 4), int))  # type: ignore[operator]


def test_huber_needs_a_positive_delta() -> None:
    with pytest.raises(ValueError, match="delta"):
        huber_loss(X, Y, delta=0.0)


def test_l1_has_no_slope_at_its_corner() -> None:
    assert jax.grad(lambda x: l1_loss(x, jnp.zeros(1)).sum())(jnp.zeros(1)).tolist() == [0.0]


def test_kl_equals_scipy() -> None:
    t, p = RNG.dirichlet(np.ones(5), 4), RNG.dirichlet(np.ones(5), 4)
    t[0] = [1.0, 0.0, 0.0, 0.0, 0.0]
    expected = scipy.special.rel_entr(t, p).sum(-1)
    got = kl_divergence_loss(jnp.log(jnp.asarray(p, jnp.float32)), jnp.asarray(t, jnp.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_kl_without_mass_costs_nothing_and_has_finite_gradients() -> None:
    log_p, t = jnp.array([[0.0, -jnp.inf]]), jnp.array([[1.0, 0.0]])
    assert kl_divergence_loss(log_p, t).tolist() == [0.0]
    for argument in (0, 1):
        gradient = jax.grad(lambda a, b: kl_divergence_loss(a, b).sum(), argnums=argument)(log_p, t)
        assert np.isfinite(gradient).all()
    masked = kl_divergence_loss(jnp.full((2, 3), jnp.nan), jnp.ones((2, 3)), where=jnp.zeros(2, bool))
    assert masked.tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="scalar"):
        kl_divergence_loss(jnp.float32(0.0), jnp.float32(0.0))


def test_kl_gradients() -> None:
    t = jax.nn.softmax(Y)
    loss = jax.jit(lambda x: kl_divergence_loss(jax.nn.log_softmax(x), t).sum())
    check_grads(loss, (X,), order=1, modes=["rev"], eps=1e-2, rtol=2e-2)


def test_terms_of_parts_are_the_mean_of_the_whole() -> None:
    values = jnp.asarray(RNG.random((5, 3)), jnp.float32)
    weights = jnp.asarray(RNG.random((5, 3)), jnp.float32)
    where = jnp.array([True, False, True, True, False])
    parts = [
        sum_term(values[part], weights=weights[part], where=where[part])
        for part in (slice(0, 1), slice(1, 2), slice(2, 5))
    ]
    kept = np.asarray(where)
    expected = np.asarray(values)[kept].sum() / np.asarray(weights)[kept].sum()
    np.testing.assert_allclose(add_terms(*parts).mean(), expected, rtol=1e-6)


def test_an_empty_mean_is_zero_with_zero_gradients() -> None:
    value, gradient = jax.value_and_grad(lambda x: masked_mean(x, where=jnp.zeros(3, bool)))(X)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0.0)
    assert masked_mean(jnp.zeros((0, 3))) == 0.0


def test_masked_nan_stays_out_of_a_mean() -> None:
    values = jnp.array([1.0, jnp.nan, 3.0])
    assert masked_mean(values, where=~jnp.isnan(values)) == 2.0


def test_where_must_lead() -> None:
    assert expand_where(jnp.array([[True], [False]])[:, 0], (2, 2)).tolist() == [[True, True], [False, False]]
    with pytest.raises(ValueError, match="leading axes"):
        expand_where(jnp.ones(3, bool), (2, 3))
    with pytest.raises(ValueError, match="expected equal shapes"):
        sum_term(X, weights=X[:1])
