import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.test_util import check_grads

from jaxvision.losses import (
    binary_cross_entropy_loss,
    cross_entropy_loss,
    cross_entropy_weights,
    soft_cross_entropy_loss,
    sum_term,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (2, 3, 4, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, (2, 3, 4)).astype(np.int32)


def test_equals_the_formula() -> None:
    log_p = scipy.special.log_softmax(LOGITS.astype(np.float64), axis=-1)
    expected = -np.take_along_axis(log_p, LABELS[..., None], -1)[..., 0]
    np.testing.assert_allclose(cross_entropy_loss(LOGITS, jnp.asarray(LABELS)), expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("modes", [["rev"], ["fwd"]])
def test_gradients(smoothing: float, modes: list[str]) -> None:
    labels = jnp.asarray(np.where(LABELS == 2, 255, LABELS))
    weights = jnp.linspace(0.5, 2.0, 5)

    def total(logits: jax.Array) -> jax.Array:
        return cross_entropy_loss(
            logits, labels, ignore_index=255, class_weights=weights, label_smoothing=smoothing
        ).sum()

    check_grads(jax.jit(total), (jnp.asarray(LOGITS),), order=1, modes=modes, eps=1e-2, rtol=1e-2)


def test_second_derivatives_are_those_of_the_softmax() -> None:
    logits = jnp.array([0.3, -1.0, 2.0])
    hessian = jax.hessian(lambda x: cross_entropy_loss(x[None], jnp.array([1]))[0])(logits)
    p = scipy.special.softmax(np.asarray(logits))
    np.testing.assert_allclose(hessian, np.diag(p) - np.outer(p, p), atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_where_equals_slicing_even_with_nan_behind_it(smoothing: float) -> None:
    def total(logits: jax.Array, labels: jax.Array, where: jax.Array | None) -> jax.Array:
        return cross_entropy_loss(logits, labels, label_smoothing=smoothing, where=where).sum()

    function = jax.jit(jax.value_and_grad(total))
    value, gradient = function(jnp.asarray(LOGITS[:1]), jnp.asarray(LABELS[:1]), None)
    for garbage in (np.nan, np.inf):
        logits = jnp.asarray(LOGITS).at[1].set(garbage)
        masked_value, masked = function(logits, jnp.asarray(LABELS), jnp.array([True, False]))
        np.testing.assert_allclose(masked_value, value, rtol=1e-6)
        np.testing.assert_allclose(masked[:1], gradient, rtol=1e-6)
        np.testing.assert_array_equal(masked[1], 0.0)


@pytest.mark.parametrize("label", [-1, 5, 200])
def test_a_stray_label_is_nan_not_a_neighbour(label: int) -> None:
    labels = jnp.asarray(LABELS).at[0, 0, 0].set(label)
    loss = jax.jit(cross_entropy_loss)(jnp.asarray(LOGITS), labels)
    assert np.argwhere(np.isnan(loss)).tolist() == [[0, 0, 0]]
    weights = cross_entropy_weights(labels, class_weights=jnp.ones(5))
    assert np.argwhere(np.isnan(weights)).tolist() == [[0, 0, 0]]
    assert not jnp.isnan(cross_entropy_loss(LOGITS, labels, ignore_index=label)).any()


def test_nan_logits_of_a_valid_element_are_not_hidden() -> None:
    logits = jnp.asarray(LOGITS).at[0, 0, 0, 0].set(jnp.nan)
    value, gradient = jax.value_and_grad(lambda x: cross_entropy_loss(x, jnp.asarray(LABELS)).sum())(logits)
    assert np.isnan(value)
    assert np.isnan(gradient[0, 0, 0]).all() and not np.isnan(gradient[1]).any()


def test_everything_ignored_costs_nothing() -> None:
    labels = jnp.full((2, 3, 4), 255)

    def mean(logits: jax.Array) -> jax.Array:
        losses = cross_entropy_loss(logits, labels, ignore_index=255)
        return sum_term(losses, weights=cross_entropy_weights(labels, ignore_index=255)).mean()

    value, gradient = jax.value_and_grad(mean)(jnp.asarray(LOGITS))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0.0)


def test_extreme_logits_stay_finite() -> None:
    logits = jnp.array([[200.0, -200.0], [200.0, -200.0]])
    loss = cross_entropy_loss(logits, jnp.array([0, 1]))
    np.testing.assert_array_equal(loss, [0.0, 400.0])


def test_bfloat16_logits_are_computed_in_float32() -> None:
    logits = jnp.asarray(LOGITS).astype(jnp.bfloat16)
    loss = cross_entropy_loss(logits, jnp.asarray(LABELS))
    assert loss.dtype == jnp.float32
    np.testing.assert_array_equal(loss, cross_entropy_loss(logits.astype(jnp.float32), jnp.asarray(LABELS)))
    gradient = jax.grad(lambda x: cross_entropy_loss(x, jnp.asarray(LABELS)).sum())(logits)
    assert gradient.dtype == jnp.bfloat16


def test_vmap_equals_the_batch() -> None:
    mapped = jax.vmap(cross_entropy_loss)(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    np.testing.assert_allclose(mapped, cross_entropy_loss(LOGITS, jnp.asarray(LABELS)), rtol=1e-6)


def test_binary_where_and_stray_labels() -> None:
    logits, labels = jnp.array([[0.5, -1.0], [jnp.nan, 3.0]]), jnp.array([[1, 0], [1, 0]])
    loss = lambda x: binary_cross_entropy_loss(x, labels, where=jnp.array([True, False])).sum()  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(logits)
    np.testing.assert_allclose(value, np.log1p(np.exp(-0.5)) + np.log1p(np.exp(-1.0)), rtol=1e-6)
    assert np.isfinite(gradient).all()
    stray = binary_cross_entropy_loss(jnp.zeros(3), jnp.array([0, 2, 255]))
    assert np.isnan(stray).tolist() == [False, True, True]
    labels = jnp.array([0, 1, 255])
    assert not jnp.isnan(binary_cross_entropy_loss(jnp.zeros(3), labels, where=labels != 255)).any()


def test_binary_gradients() -> None:
    labels = jnp.asarray(RNG.random((3, 4)), jnp.float32)
    loss = lambda x: binary_cross_entropy_loss(x, labels, positive_weight=3.0).sum()  # noqa: E731
    check_grads(
        jax.jit(loss), (jnp.asarray(LOGITS[0, :, :, 0]),), order=1, modes=["rev"], eps=1e-2, rtol=1e-2
    )


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((jnp.zeros((2, 4, 3)), jnp.zeros((2, 3), int)), {}, "leading axes"),
        ((jnp.zeros((2, 3)), jnp.zeros((2, 3))), {}, "labels: expected an integer dtype"),
        ((jnp.zeros((2, 3), int), jnp.zeros(2, int)), {}, "logits: expected a floating dtype"),
        ((jnp.zeros((2, 3)), jnp.zeros(2, int)), {"class_weights": jnp.ones(4)}, "one weight a class"),
        ((jnp.zeros((2, 3)), jnp.zeros(2, int)), {"label_smoothing": 1.5}, "label_smoothing"),
        ((jnp.zeros((2, 3)), jnp.zeros(2, int)), {"where": jnp.ones(3, bool)}, "leading axes"),
        ((jnp.zeros((2, 3)), jnp.zeros(2, int)), {"where": jnp.ones(2)}, "boolean"),
    ],
)
def test_wrong_arguments_raise(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cross_entropy_loss(*arguments, **options)


def test_wrong_binary_shapes_raise() -> None:
    with pytest.raises(ValueError, match="expected equal shapes"):
        binary_cross_entropy_loss(jnp.zeros((2, 3)), jnp.zeros((2, 1)))


def test_class_weights_are_constants() -> None:
    def total(weights: jax.Array) -> jax.Array:
        return cross_entropy_loss(
            LOGITS, jnp.asarray(LABELS), class_weights=weights, label_smoothing=0.1
        ).sum()

    np.testing.assert_array_equal(jax.grad(total)(jnp.ones(5)), 0.0)


def test_soft_targets_of_one_class_cost_what_its_index_costs() -> None:
    logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    targets = jax.nn.one_hot(labels, 5)
    weights = jnp.linspace(0.5, 2.0, 5)
    for options in ({}, {"class_weights": weights}, {"class_weights": weights, "label_smoothing": 0.2}):
        np.testing.assert_allclose(
            soft_cross_entropy_loss(logits, targets, **options),
            cross_entropy_loss(logits, labels, **options),
            rtol=1e-5,
        )


def test_soft_gradients_reach_logits_and_targets() -> None:
    targets = jnp.asarray(scipy.special.softmax(LOGITS[::-1], axis=-1))
    total = jax.jit(lambda x, t: soft_cross_entropy_loss(x, t, label_smoothing=0.1).sum())
    check_grads(total, (jnp.asarray(LOGITS), targets), order=1, modes=["rev"], eps=1e-2, rtol=1e-2)


def test_soft_where_equals_slicing_even_with_nan_behind_it() -> None:
    targets = jnp.asarray(scipy.special.softmax(LOGITS[::-1], axis=-1))
    function = jax.jit(
        jax.value_and_grad(lambda x, t, where: soft_cross_entropy_loss(x, t, where=where).sum())
    )
    value, gradient = function(jnp.asarray(LOGITS[:1]), targets[:1], None)
    logits = jnp.asarray(LOGITS).at[1].set(jnp.nan)
    masked_value, masked = function(logits, targets, jnp.array([True, False]))
    np.testing.assert_allclose(masked_value, value, rtol=1e-6)
    np.testing.assert_allclose(masked[:1], gradient, rtol=1e-6)
    np.testing.assert_array_equal(masked[1], 0.0)


@pytest.mark.parametrize(
    ("logits", "targets", "options", "message"),
    [
        (jnp.zeros((2, 3)), jnp.zeros(2, int), {}, "targets: expected a floating dtype"),
        (jnp.zeros((2, 3)), jnp.zeros((2, 4)), {}, r"got logits \[2, 3\], targets \[2, 4\]"),
        (jnp.zeros(()), jnp.zeros(()), {}, r"logits: expected \[..., K\]"),
        (
            jnp.zeros((2, 3)),
            jnp.zeros((2, 3)),
            {"label_smoothing": 1.5},
            "label_smoothing: expected a number",
        ),
        (jnp.zeros((2, 3)), jnp.zeros((2, 3)), {"class_weights": jnp.ones(4)}, "one weight a class"),
    ],
)
def test_soft_bad_input(logits: jax.Array, targets: jax.Array, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        soft_cross_entropy_loss(logits, targets, **options)
