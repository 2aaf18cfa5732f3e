"""What the losses of segmentation have in common, and what each promises beside its formula."""

import functools
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxvision import losses, ops

K = 5
RNG = np.random.default_rng(3)
LOGITS = jnp.asarray(RNG.normal(0, 2, (3, 4, 6, K)), jnp.float32)
LABELS = jnp.asarray(
    np.where(RNG.random((3, 4, 6)) < 0.15, 255, RNG.integers(0, K - 1, (3, 4, 6))), jnp.int32
)


def boundary(logits: jax.Array, labels: jax.Array, **options: Any) -> jax.Array:
    distances = ops.signed_class_distances(labels, logits.shape[-1], ignore_index=options["ignore_index"])
    where = losses.expand_where(options["where"], labels.shape)
    return losses.boundary_loss(logits, distances, where=where & (labels != options["ignore_index"]))


def hard_entropy(logits: jax.Array, labels: jax.Array, **options: Any) -> jax.Array:
    hard = losses.hard_pixels(logits, labels, threshold=0.5, min_kept=5, **options)
    return jnp.where(hard, losses.cross_entropy_loss(logits, labels, **options), 0.0)


REGION: dict[str, Callable[..., jax.Array]] = {
    "dice": losses.dice_loss,
    "generalised_dice": losses.generalised_dice_loss,
    "log_cosh_dice": losses.log_cosh_dice_loss,
    "jaccard": losses.jaccard_loss,
    "tversky": losses.tversky_loss,
    "focal_tversky": losses.focal_tversky_loss,
    "lovasz": losses.lovasz_softmax_loss,
}
ALL = {**REGION, "boundary": boundary, "hard": hard_entropy}
BINARY: dict[str, Callable[..., jax.Array]] = {
    "dice": losses.binary_dice_loss,
    "jaccard": losses.binary_jaccard_loss,
    "tversky": losses.binary_tversky_loss,
    "hinge": losses.lovasz_hinge_loss,
}


@functools.cache
def compiled(name: str, over_batch: bool) -> Callable[..., Any]:
    """Gradient and values; one compilation for all tests of a loss."""
    options = {"over_batch": True} if over_batch else {}

    def total(x: jax.Array, labels: jax.Array, where: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = ALL[name](x, labels, ignore_index=255, where=where, **options)
        return values.sum(), values

    return jax.jit(jax.grad(total, has_aux=True))


def value_and_gradient(
    name: str, logits: Any, labels: Any, where: Any = None, *, over_batch: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    mask = losses.expand_where(where, labels.shape)
    gradient, values = compiled(name, over_batch)(logits, labels, mask)
    return np.asarray(values), np.asarray(gradient)


@pytest.mark.parametrize("name", ALL)
def test_where_equals_slicing_even_with_nan_behind_it(name: str) -> None:
    values, gradient = value_and_gradient(name, LOGITS[:2], LABELS[:2])
    masked, masked_gradient = value_and_gradient(
        name, LOGITS.at[2].set(jnp.nan), LABELS, jnp.array([True, True, False])
    )
    np.testing.assert_allclose(masked[:2], values, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(masked_gradient[:2], gradient, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(masked[2], 0.0)
    np.testing.assert_array_equal(masked_gradient[2], 0.0)


@pytest.mark.parametrize("name", REGION)
def test_where_equals_slicing_over_the_batch(name: str) -> None:
    values, gradient = value_and_gradient(name, LOGITS[:2], LABELS[:2], over_batch=True)
    masked, masked_gradient = value_and_gradient(
        name, LOGITS.at[2].set(jnp.inf), LABELS, jnp.array([True, True, False]), over_batch=True
    )
    np.testing.assert_allclose(masked, values, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(masked_gradient[:2], gradient, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(masked_gradient[2], 0.0)


@pytest.mark.parametrize("name", ALL)
def test_void_equals_where(name: str) -> None:
    known = LABELS != 255
    by_label = value_and_gradient(name, LOGITS, LABELS)
    by_mask = value_and_gradient(
        name, LOGITS.at[0, 0, 0].set(jnp.nan) if not known[0, 0, 0] else LOGITS, LABELS, known
    )
    for ours, theirs in zip(by_mask, by_label, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", REGION)
@pytest.mark.parametrize("over_batch", [False, True])
def test_a_stray_label_marks_its_image(name: str, over_batch: bool) -> None:
    for label in (K, -1, 77):
        values, _ = value_and_gradient(name, LOGITS, LABELS.at[1, 2, 3].set(label), over_batch=over_batch)
        bad = np.isnan(values)
        assert bad.all() if over_batch else bad.reshape(3, -1).all(1).tolist() == [False, True, False]


def test_a_stray_label_is_a_hard_pixel() -> None:
    values, _ = value_and_gradient("hard", LOGITS, LABELS.at[1, 2, 3].set(77))
    assert np.isnan(values).sum() == np.isnan(values[1, 2, 3]) == 1


@pytest.mark.parametrize("name", ALL)
def test_nan_is_seen(name: str) -> None:
    values, _ = value_and_gradient(name, LOGITS.at[0, 1, 1].set(jnp.nan), LABELS.at[0, 1, 1].set(2))
    assert np.isnan(values[0]).any()
    assert np.isfinite(values[1:]).all()


@pytest.mark.parametrize("name", ALL)
def test_nothing_but_void_costs_nothing(name: str) -> None:
    values, gradient = value_and_gradient(name, LOGITS, LABELS.at[1].set(255))
    np.testing.assert_array_equal(values[1], 0.0)
    np.testing.assert_array_equal(gradient[1], 0.0)
    for over_batch in (False, True) if name in REGION else (False,):
        labels = jnp.full_like(LABELS, 255)
        values, gradient = value_and_gradient(name, LOGITS, labels, over_batch=over_batch)
        np.testing.assert_array_equal(values, 0.0)
        np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("name", ALL)
def test_certain_logits_have_finite_gradients(name: str) -> None:
    right = 400.0 * jax.nn.one_hot(jnp.where(LABELS == 255, 0, LABELS), K) - 200.0
    for logits in (right, -right, jnp.zeros_like(right)):
        values, gradient = value_and_gradient(name, logits, LABELS)
        assert np.isfinite(values).all()
        assert np.isfinite(gradient).all()
    if name in REGION:
        values, _ = value_and_gradient(name, right, LABELS)
        np.testing.assert_allclose(values, 0.0, atol=1e-6)
        wrong, _ = value_and_gradient(name, -right, LABELS, over_batch=True)
        np.testing.assert_allclose(wrong.max(), np.log(np.cosh(1)) if "cosh" in name else 1.0, atol=0.08)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_differences(name: str) -> None:
    # Far from where an order or a choice of pixels changes.
    logits = jnp.asarray(np.random.default_rng(8).normal(0, 1.5, (2, 2, 3, 3)), jnp.float32)
    labels = jnp.array([[[0, 1, 1], [2, 255, 0]], [[1, 1, 2], [2, 2, 0]]])

    def total(x: jax.Array) -> jax.Array:
        values = ALL[name](x, labels, ignore_index=255, where=None)
        return (values * jnp.arange(1.0, values.size + 1).reshape(values.shape)).sum()

    check_grads(jax.jit(total), (logits,), order=1, modes=["rev", "fwd"], eps=1e-3, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", ALL)
def test_shapes_types_and_no_second_trace(name: str) -> None:
    traces = []

    @jax.jit
    def run(x: jax.Array, labels: jax.Array) -> jax.Array:
        traces.append(None)
        return ALL[name](x, labels, ignore_index=255, where=None)

    values = run(LOGITS, LABELS)
    run(2 * LOGITS, jnp.flip(LABELS))
    assert len(traces) == 1
    assert values.dtype == run(LOGITS.astype(jnp.bfloat16), LABELS).dtype == jnp.float32
    exact = run(LOGITS.astype(jnp.bfloat16).astype(jnp.float32), LABELS)
    np.testing.assert_allclose(run(LOGITS.astype(jnp.bfloat16), LABELS), exact, rtol=1e-6)
    assert run(LOGITS[:0], LABELS[:0]).shape == (0, *values.shape[1:])
    many = jax.vmap(lambda x, y: ALL[name](x[None], y[None], ignore_index=255, where=None)[0])(LOGITS, LABELS)
    if name != "hard":  # there the images of a batch are chosen from together
        np.testing.assert_allclose(many, values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_binary_losses(name: str) -> None:
    scores, truth = LOGITS[..., 0], (LABELS % 2).astype(jnp.int32)
    where, values = jnp.array([True, False, True]), jax.jit(BINARY[name])

    @functools.partial(jax.jit, static_argnames="over_batch")
    def run(x: jax.Array, labels: jax.Array, **options: Any) -> Any:
        return jax.value_and_grad(lambda x: BINARY[name](x, labels, **options).sum())(x)

    for over_batch in (False, True):
        value, gradient = run(
            scores.at[1].set(jnp.nan), truth.at[1].set(255), where=where, over_batch=over_batch
        )
        sliced, sliced_gradient = run(scores[where], truth[where], over_batch=over_batch)
        np.testing.assert_allclose(value, sliced, rtol=1e-6)
        np.testing.assert_allclose(gradient[where], sliced_gradient, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(gradient[1], 0.0)
    assert np.isnan(values(scores, truth.at[1, 0, 0].set(255))).tolist() == [False, True, False]
    right = jnp.where(truth == 1, 200.0, -200.0)
    np.testing.assert_allclose(values(right, truth), 0.0, atol=1e-6)
    np.testing.assert_allclose(values(right, truth == 1), 0.0, atol=1e-6)
    assert np.isfinite(run(-right, truth)[1]).all()
    assert BINARY[name](scores[:0], truth[:0]).shape == (0,)
    if name != "hinge":
        pair = jnp.stack([jnp.zeros_like(scores), scores], -1)
        options = {"smooth": 1.0} if name == "dice" else {}
        of_classes = REGION[name](pair, truth, **options)[:, 1]
        np.testing.assert_allclose(BINARY[name](scores, truth, **options), of_classes, rtol=1e-5)


def set_function(wrong: set[int], true: set[int]) -> float:
    """The Jaccard loss of a class when exactly these elements are predicted wrong."""
    predicted = true ^ wrong
    return 1 - len(predicted & true) / len(predicted | true) if predicted | true else 0.0


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_lovasz_extension_by_its_definition(data: st.DataObject) -> None:
    """The integral over thresholds of the set function, which the sorted sum is a short form of."""
    errors = data.draw(st.lists(st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.75, 1.0]), min_size=6, max_size=6))
    truth = data.draw(st.lists(st.booleans(), min_size=6, max_size=6))
    true = {i for i, t in enumerate(truth) if t}
    steps = sorted({0.0, *errors})
    expected = sum(
        (high - low) * set_function({i for i, e in enumerate(errors) if e >= high}, true)
        for low, high in itertools.pairwise(steps)
    )
    p = np.array([1 - e if t else e for e, t in zip(errors, truth, strict=True)])
    with np.errstate(divide="ignore"):
        logits = np.stack([np.log(1 - p), np.log(p)], -1).clip(-200, 200)
    scores, labels = jnp.asarray(logits[None], jnp.float32), jnp.array([truth], jnp.int32)
    found = jax.jit(losses.lovasz_softmax_loss)(scores, labels)
    np.testing.assert_allclose(found[0, 1], expected, atol=1e-5)


def test_certain_predictions_give_the_iou() -> None:
    """At the corners of the cube the extension is the set function: 1 - IoU of each class."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, (2, 40)), rng.integers(0, 3, (2, 40))
    logits = jnp.where(jax.nn.one_hot(predictions, 3) > 0, 200.0, -200.0)
    found = jax.jit(losses.lovasz_softmax_loss)(logits, jnp.asarray(labels))
    for n, k in itertools.product(range(2), range(3)):
        y, p = labels[n] == k, predictions[n] == k
        np.testing.assert_allclose(found[n, k], 1 - (y & p).sum() / (y | p).sum(), rtol=1e-5)


def test_kinds_of_one_family_meet() -> None:
    @jax.jit
    def values() -> dict[str, jax.Array]:
        options = {"ignore_index": 255}
        p = jax.nn.softmax(LOGITS) * (LABELS != 255)[..., None]
        right = (p * jax.nn.one_hot(LABELS, K)).sum((1, 2, 3))
        return {
            "dice": losses.dice_loss(LOGITS, LABELS, smooth=0.0, **options),
            "jaccard": losses.jaccard_loss(LOGITS, LABELS, **options),
            "tversky": losses.tversky_loss(LOGITS, LABELS, **options),
            "right": 1 - right / (LABELS != 255).sum((1, 2)),
            "half": losses.tversky_loss(LOGITS, LABELS, alpha=0.5, beta=0.5, **options),
            "full": losses.tversky_loss(LOGITS, LABELS, alpha=1.0, beta=1.0, **options),
            "focal": losses.focal_tversky_loss(LOGITS, LABELS, gamma=1.0, **options),
            "equal": losses.generalised_dice_loss(LOGITS, LABELS, power=0.0, **options),
        }

    found = values()
    for one, other in (("half", "dice"), ("full", "jaccard"), ("focal", "tversky"), ("equal", "right")):
        np.testing.assert_allclose(found[one], found[other], rtol=1e-5, err_msg=one)


def test_a_small_class_weighs_as_much_as_a_large_one() -> None:
    """Sudre et al.: halving the overlap of a class of 2 pixels costs as much as of one of 200."""
    labels = jnp.array([[0] * 200 + [1] * 2])
    right = 400.0 * jax.nn.one_hot(labels, 2) - 200.0
    half = jax.jit(losses.generalised_dice_loss)(right.at[0, -1].multiply(-1.0), labels)
    # w0 = 1 / 200^2, w1 = 1 / 2^2
    expected = 1 - 2 * (200 / 200**2 + 1 / 4) / ((201 + 200) / 200**2 + (1 + 2) / 4)
    np.testing.assert_allclose(half, [expected], rtol=1e-5)


def test_hard_examples_are_the_greatest() -> None:
    values = np.random.default_rng(0).normal(size=(4, 25)).astype(np.float32)
    mask = np.random.default_rng(1).random((4, 25)) < 0.7
    hard_examples = jax.jit(losses.hard_examples)
    for count in (0, 1, 7, int(mask.sum()), 1000):
        hard = np.asarray(hard_examples(jnp.asarray(values), count, where=jnp.asarray(mask)))
        assert not (hard & ~mask).any()
        assert hard.sum() == min(count, mask.sum())
        if 0 < count < mask.sum():
            assert values[hard].min() > values[mask & ~hard].max()
    ties = hard_examples(jnp.array([1.0, 2.0, 2.0, jnp.nan, -jnp.inf]), 2)
    assert ties.tolist() == [False, True, True, True, False]


def test_hard_pixels_count_images_that_are_there() -> None:
    hard_pixels = jax.jit(losses.hard_pixels, static_argnames=("threshold", "min_kept", "ignore_index"))
    where = jnp.array([True, False, False])
    hard = hard_pixels(LOGITS, LABELS, threshold=1e-6, min_kept=4, ignore_index=255, where=where)
    assert hard.sum((1, 2)).tolist() == [4, 0, 0]
    both = hard_pixels(LOGITS, LABELS, threshold=1e-6, min_kept=4, ignore_index=255)
    assert both.sum() == 12
    most = hard_pixels(LOGITS, LABELS, threshold=1.0, min_kept=2**30, ignore_index=255)
    np.testing.assert_array_equal(most, LABELS != 255)


def test_a_boundary_loss_is_least_where_the_network_is_right() -> None:
    labels = jnp.asarray(np.pad(np.ones((1, 4, 4), np.int32), ((0, 0), (3, 3), (3, 3))))
    distances = jax.jit(lambda labels: ops.signed_class_distances(labels, 2))(labels)
    right = 20.0 * jax.nn.one_hot(labels, 2)
    shifted = jnp.roll(right, 2, axis=1)
    best = losses.boundary_loss(right, distances).sum()
    assert (
        best < losses.boundary_loss(shifted, distances).sum() < losses.boundary_loss(-right, distances).sum()
    )
    gradient = jax.grad(lambda d: losses.boundary_loss(right, d).sum())(distances)
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("name", REGION)
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (jnp.zeros((2, 4, 3)), jnp.zeros((2, 5), int), "leading axes"),
        (jnp.zeros((2, 3)), jnp.zeros(2, int), "add a batch axis"),
        (jnp.zeros((2, 4, 3)), jnp.zeros((2, 4)), "labels: expected an integer"),
        (jnp.zeros((2, 4, 3), int), jnp.zeros((2, 4), int), "logits: expected a floating"),
    ],
)
def test_wrong_arrays_raise(name: str, logits: jax.Array, labels: jax.Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        REGION[name](logits, labels)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (losses.tversky_loss, {"alpha": -0.1}, "alpha"),
        (losses.tversky_loss, {"beta": -0.1}, "beta"),
        (losses.focal_tversky_loss, {"gamma": 0.0}, "gamma"),
        (losses.jaccard_loss, {"smooth": -1.0}, "smooth"),
        (losses.generalised_dice_loss, {"power": -1.0}, "power"),
        (losses.log_cosh_dice_loss, {"smooth": -1.0}, "smooth"),
        (losses.hard_pixels, {"threshold": 0.0}, "threshold"),
        (losses.hard_pixels, {"min_kept": -1}, "min_kept"),
        (losses.jaccard_loss, {"where": jnp.ones(2, bool)}, "where"),
        (losses.lovasz_softmax_loss, {"where": jnp.ones((3, 4, 6), int)}, "boolean"),
    ],
)
def test_wrong_options_raise(function: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(LOGITS, LABELS, **options)


def test_other_wrong_arguments_raise() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        losses.boundary_loss(jnp.zeros((2, 3)), jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match="got a scalar"):
        losses.boundary_loss(jnp.zeros(()), jnp.zeros(()))
    with pytest.raises(ValueError, match="add a batch axis"):
        losses.lovasz_hinge_loss(jnp.zeros(3), jnp.zeros(3))
    with pytest.raises(ValueError, match="floating"):
        losses.hard_examples(jnp.zeros(3, int), 1)


SHARDED = """
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxvision import losses

rng = np.random.default_rng(0)
logits = jnp.asarray(rng.normal(0, 2, (16, 5, 6, 4)), jnp.float32)
labels = jnp.asarray(np.where(rng.random((16, 5, 6)) < 0.2, 255, rng.integers(0, 4, (16, 5, 6))), jnp.int32)
labels = labels.at[:2].set(255)  # the first device has nothing

def run(x, y):
    def total(x):
        hard = losses.hard_pixels(x, y, threshold=0.2, min_kept=5, ignore_index=255)
        entropy = losses.cross_entropy_loss(x, y, ignore_index=255)
        region = losses.lovasz_softmax_loss(x, y, ignore_index=255, over_batch=True).sum()
        dice = losses.generalised_dice_loss(x, y, ignore_index=255, over_batch=True)
        return losses.sum_term(entropy, where=hard).mean() + region + dice, hard
    return jax.value_and_grad(total, has_aux=True)(x)

assert jax.device_count() == 8
split = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
one = jax.jit(run)(logits, labels)
many = jax.jit(run)(jax.device_put(logits, split), jax.device_put(labels, split))
for ours, theirs in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
print("equal")
"""


@pytest.mark.slow
def test_eight_devices_choose_and_sort_as_one() -> None:
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        [sys.executable, "-c", SHARDED], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.stdout.strip() == "equal", result.stderr
