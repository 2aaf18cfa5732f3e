import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision.losses import binary_focal_loss, cross_entropy_loss, focal_loss

RNG = np.random.default_rng(2)
LOGITS = jnp.asarray(RNG.normal(0, 2, (4, 6, 3)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 3, (4, 6)), jnp.int32)


def test_gamma_zero_is_cross_entropy() -> None:
    weights = jnp.array([1.0, 2.0, 3.0])
    expected = cross_entropy_loss(LOGITS, LABELS, class_weights=weights)
    np.testing.assert_allclose(
        focal_loss(LOGITS, LABELS, gamma=0.0, class_weights=weights), expected, rtol=1e-5
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_two_classes_are_the_binary_loss(gamma: float) -> None:
    binary, labels = LOGITS[..., 0], LABELS % 2
    pair = jnp.stack([jnp.zeros_like(binary), binary], axis=-1)
    expected = binary_focal_loss(binary, labels, alpha=0.25, gamma=gamma)
    got = focal_loss(pair, labels, gamma=gamma, class_weights=jnp.array([0.75, 0.25]))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-7)


def test_equals_the_formula() -> None:
    p = np.take_along_axis(np.asarray(jax.nn.softmax(LOGITS)), np.asarray(LABELS)[..., None], -1)[..., 0]
    np.testing.assert_allclose(focal_loss(LOGITS, LABELS, gamma=2.0), -((1 - p) ** 2) * np.log(p), rtol=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_extreme_logits_keep_finite_gradients(gamma: float) -> None:
    logits = jnp.array([[200.0, -200.0], [200.0, -200.0], [0.0, 0.0]])
    labels = jnp.array([0, 1, 255])
    loss = lambda x: focal_loss(x, labels, gamma=gamma, ignore_index=255).sum()  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(logits)
    np.testing.assert_allclose(value, 400.0)
    np.testing.assert_allclose(gradient, [[0.0, 0.0], [1.0, -1.0], [0.0, 0.0]], atol=1e-6)
    binary = lambda x: binary_focal_loss(x, jnp.array([1, 0]), gamma=gamma).sum()  # noqa: E731
    assert np.isfinite(jax.grad(binary)(jnp.array([200.0, 200.0]))).all()


def test_gradients() -> None:
    weights = jnp.array([1.0, 2.0, 3.0])
    loss = jax.jit(lambda x: focal_loss(x, LABELS, gamma=1.5, class_weights=weights).sum())
    check_grads(loss, (LOGITS,), order=1, modes=["rev"], eps=1e-2, rtol=2e-2)


def test_where_equals_slicing() -> None:
    where = jnp.array([True, True, False, False])
    logits = LOGITS.at[2:].set(jnp.nan)
    value, gradient = jax.value_and_grad(lambda x: focal_loss(x, LABELS, where=where).sum())(logits)
    np.testing.assert_allclose(value, focal_loss(LOGITS[:2], LABELS[:2]).sum(), rtol=1e-6)
    np.testing.assert_array_equal(gradient[2:], 0.0)
    binary = lambda x: binary_focal_loss(x, LABELS % 2, where=where).sum()  # noqa: E731
    value, gradient = jax.value_and_grad(binary)(logits[..., 0])
    np.testing.assert_allclose(value, binary_focal_loss(LOGITS[:2, :, 0], LABELS[:2] % 2).sum(), rtol=1e-6)
    np.testing.assert_array_equal(gradient[2:], 0.0)


def test_stray_labels_are_nan() -> None:
    assert np.isnan(focal_loss(jnp.zeros((2, 3)), jnp.array([0, 3]))).tolist() == [False, True]
    assert np.isnan(binary_focal_loss(jnp.zeros(3), jnp.array([0, 1, 2]))).tolist() == [False, False, True]


def test_negative_gamma_raises() -> None:
    with pytest.raises(ValueError, match="gamma"):
        focal_loss(LOGITS, LABELS, gamma=-1.0)
    with pytest.raises(ValueError, match="gamma"):
        binary_focal_loss(LOGITS[..., 0], LABELS % 2, gamma=-1.0)
