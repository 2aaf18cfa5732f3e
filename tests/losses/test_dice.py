import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision.losses import binary_dice_loss, dice_loss, masked_mean, present_classes

RNG = np.random.default_rng(1)
LOGITS = jnp.asarray(RNG.normal(0, 2, (2, 3, 4, 5)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 5, (2, 3, 4)), jnp.int32)


def test_perfect_and_opposite_predictions() -> None:
    labels = jnp.array([[0, 0, 1, 1]])
    right = 400.0 * jax.nn.one_hot(labels, 2) - 200.0
    np.testing.assert_allclose(dice_loss(right, labels, smooth=0.0), [[0.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(dice_loss(-right, labels, smooth=0.0), [[1.0, 1.0]], atol=1e-6)


def test_smoothing_by_hand() -> None:
    logits = jnp.array([[200.0, 200.0, -200.0, -200.0]])  # predicted: 1 1 0 0
    labels = jnp.array([[1, 0, 1, 1]])
    np.testing.assert_allclose(binary_dice_loss(logits, labels, smooth=1.0), [1 - (2 * 1 + 1) / (2 + 3 + 1)])


def test_empty_mask_predicted_empty_costs_nothing() -> None:
    logits, labels = jnp.full((1, 4), -200.0), jnp.zeros((1, 4), jnp.int32)
    for smooth in (0.0, 1.0):
        loss = lambda x, s=smooth: binary_dice_loss(x, labels, smooth=s)[0]  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(logits)
        assert value == 0.0
        assert np.isfinite(gradient).all()


def test_an_absent_class_costs_and_can_be_left_out() -> None:
    labels = jnp.array([[0, 0, 255, 0]])
    logits = jnp.zeros((1, 4, 2))
    loss = dice_loss(logits, labels, ignore_index=255, smooth=0.0)
    np.testing.assert_allclose(loss, [[1 - 2 * 1.5 / (1.5 + 3), 1.0]], rtol=1e-6)
    present = present_classes(labels, 2, ignore_index=255)
    assert present.tolist() == [[True, False]]
    np.testing.assert_allclose(masked_mean(loss, where=present), 1 / 3, rtol=1e-6)
    assert present_classes(labels, 2, ignore_index=255, where=jnp.array([False])).tolist() == [[False, False]]


@pytest.mark.parametrize("over_batch", [False, True])
def test_where_equals_slicing(over_batch: bool) -> None:
    where = jnp.array([True, False])

    def loss(logits: jax.Array) -> jax.Array:
        return dice_loss(logits, LABELS, where=where, over_batch=over_batch).sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(LOGITS.at[1].set(jnp.nan))
    sliced = dice_loss(LOGITS[:1], LABELS[:1], over_batch=over_batch)
    np.testing.assert_allclose(value, sliced.sum(), rtol=1e-6)
    np.testing.assert_array_equal(gradient[1], 0.0)


def test_over_batch_of_one_image_is_that_image() -> None:
    one = dice_loss(LOGITS[:1], LABELS[:1])
    np.testing.assert_allclose(dice_loss(LOGITS[:1], LABELS[:1], over_batch=True), one[0], rtol=1e-6)


def test_a_stray_label_marks_its_image() -> None:
    loss = dice_loss(LOGITS, LABELS.at[0, 0, 0].set(77))
    assert np.isnan(loss).all(axis=1).tolist() == [True, False]


def test_gradients() -> None:
    loss = jax.jit(lambda x: dice_loss(x, LABELS, squared=True).sum())
    check_grads(loss, (LOGITS,), order=1, modes=["rev"], eps=1e-2, rtol=2e-2)
    binary = jax.jit(lambda x: binary_dice_loss(x, LABELS > 2).sum())
    check_grads(binary, (LOGITS[..., 0],), order=1, modes=["rev"], eps=1e-2, rtol=2e-2)


@pytest.mark.parametrize(
    ("logits", "labels", "options", "message"),
    [
        (jnp.zeros((2, 4, 3)), jnp.zeros((2, 5), int), {}, "leading axes"),
        (jnp.zeros((2, 3)), jnp.zeros(2, int), {}, "add a batch axis"),
        (jnp.zeros((2, 4, 3)), jnp.zeros((2, 4), int), {"smooth": -1.0}, "smooth"),
        (jnp.zeros((2, 4, 3)), jnp.zeros((2, 4)), {}, "integer"),
    ],
)
def test_wrong_arguments_raise(logits: jax.Array, labels: jax.Array, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dice_loss(logits, labels, **options)
