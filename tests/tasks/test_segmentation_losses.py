import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import losses
from jaxvision.data import ClassCounts
from jaxvision.ops import signed_class_distances
from jaxvision.tasks import LOSS_NAMES, SegmentationLossOptions, segmentation_loss
from jaxvision.tasks.segmentation_losses import resolve_class_weights, weigh_classes
from jaxvision.training.config import config_from_dict, config_to_dict

K = 4
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(0, 2, (3, 5, 6, K)), jnp.float32)
LABELS = jnp.asarray(np.where(RNG.random((3, 5, 6)) < 0.1, 255, RNG.integers(0, 3, (3, 5, 6))), jnp.int32)
ALL = jnp.ones(3, bool)
VOID = {"ignore_index": 255}
WEIGHTS = jnp.array([0.5, 1.0, 2.0, 3.0])


def mean_of(name, where=ALL, logits=LOGITS, labels=LABELS, **options):
    loss = jax.jit(segmentation_loss({name: 1.0}, **options))
    return float(loss(logits, labels, where)[name].mean())


def values_of(function, **options):
    """What a loss gives, compiled as one program: op by op it takes ten times as long."""
    return np.asarray(jax.jit(functools.partial(function, **VOID, **options))(LOGITS, LABELS))


def test_means_are_over_what_each_loss_counts():
    known = np.asarray(LABELS != 255)
    present = np.asarray(losses.present_classes(LABELS, K, **VOID))
    dice = values_of(losses.dice_loss)
    np.testing.assert_allclose(mean_of("dice"), dice[present].mean(), rtol=1e-5)
    np.testing.assert_allclose(mean_of("dice", classes="all"), dice.mean(), rtol=1e-5)
    lovasz = values_of(losses.lovasz_softmax_loss, over_batch=True)
    np.testing.assert_allclose(mean_of("lovasz", over_batch=True), lovasz[:3].mean(), rtol=1e-5)
    np.testing.assert_allclose(mean_of("lovasz", over_batch=True, classes="all"), lovasz.mean(), rtol=1e-5)
    general = values_of(losses.generalised_dice_loss)
    np.testing.assert_allclose(mean_of("generalised_dice"), general.mean(), rtol=1e-5)

    def boundary(logits, labels, **options):
        return losses.boundary_loss(logits, signed_class_distances(labels, K, **options))

    maps = values_of(boundary)
    np.testing.assert_allclose(mean_of("boundary"), maps[known].mean(), rtol=1e-4)
    entropy = values_of(losses.cross_entropy_loss, class_weights=WEIGHTS)
    hard = values_of(losses.hard_pixels, threshold=0.4, min_kept=3)
    weights = np.asarray(WEIGHTS)[np.where(known, LABELS, 0)]
    np.testing.assert_allclose(
        mean_of("ohem", class_weights=WEIGHTS, ohem_threshold=0.4, ohem_share=0.1),
        entropy[hard].sum() / weights[hard].sum(),
        rtol=1e-5,
    )


def test_options_reach_their_losses():
    def of(function, **options):
        present = np.asarray(losses.present_classes(LABELS, K, **VOID))
        return values_of(function, **options)[present].mean()

    prices = {"alpha": 0.9, "beta": 0.2}
    options = {"tversky_alpha": 0.9, "tversky_beta": 0.2, "focal_tversky_gamma": 2.0}
    np.testing.assert_allclose(mean_of("tversky", **options), of(losses.tversky_loss, **prices), rtol=1e-5)
    expected = of(losses.focal_tversky_loss, gamma=2.0, **prices)
    np.testing.assert_allclose(mean_of("focal_tversky", **options), expected, rtol=1e-5)
    np.testing.assert_allclose(mean_of("jaccard"), of(losses.jaccard_loss), rtol=1e-5)
    np.testing.assert_allclose(mean_of("log_cosh_dice"), of(losses.log_cosh_dice_loss), rtol=1e-5)


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_padded_images_and_void_batches_count_for_nothing(name):
    options = {"over_batch": name in ("lovasz", "generalised_dice")}
    loss = segmentation_loss({name: 2.0}, **options)

    @jax.jit
    def run(x, labels, where):
        def mean(x):
            term = loss(x, labels, where)[name]
            return term.mean(), term

        gradient, term = jax.grad(mean, has_aux=True)(x)
        return term, gradient

    padded, gradient = run(LOGITS.at[2].set(jnp.nan), LABELS, jnp.array([True, True, False]))
    assert np.isfinite(gradient).all() and not gradient[2].any()
    void, _ = run(LOGITS, LABELS.at[2].set(255), ALL)
    np.testing.assert_allclose(padded, void, rtol=1e-5)
    assert float(void.weight) > 0
    term, gradient = run(LOGITS, jnp.full_like(LABELS, 255), ALL)
    assert (float(term.total), float(term.mean())) == (0.0, 0.0)
    np.testing.assert_array_equal(gradient, 0.0)
    wrong, _ = run(LOGITS.at[0, 0, 0].set(jnp.nan), LABELS.at[0, 0, 0].set(1), ALL)
    assert np.isnan(wrong.mean())


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({}, {}, "got none"),
        ({"hausdorff": 1.0}, {}, "got hausdorff, expected some of cross_entropy, dice, focal"),
        ({"dice": -1.0}, {}, "dice: expected a factor >= 0, got -1"),
        ({"dice": float("nan")}, {}, "dice: expected a factor >= 0, got nan"),
        ({"dice": 1.0}, {"label_smoothing": 2.0}, "label_smoothing"),
        ({"dice": 1.0}, {"focal_gamma": -1.0}, "focal_gamma"),
        ({"dice": 1.0}, {"ohem_threshold": 0.0}, "ohem_threshold"),
        ({"dice": 1.0}, {"ohem_share": 1.5}, "ohem_share"),
        ({"dice": 1.0}, {"tversky_alpha": -0.1}, "tversky_alpha"),
        ({"dice": 1.0}, {"tversky_beta": -0.1}, "tversky_beta"),
        ({"dice": 1.0}, {"focal_tversky_gamma": 0.0}, "focal_tversky_gamma"),
        ({"dice": 1.0}, {"classes": "some"}, "expected 'present' or 'all'"),
    ],
)
def test_mistakes_are_named_before_anything_is_traced(weights, options, message):
    with pytest.raises(ValueError, match=message):
        segmentation_loss(weights, **options)


class _Source(list):
    num_classes = 3
    class_names = ("a", "b", "c")


SOURCE = _Source({"mask": np.array([[0, 0, 0, k], [0, 0, 255, k]], np.uint8)} for k in (1, 1, 0))


def test_a_rule_becomes_numbers_that_a_file_keeps():
    options = SegmentationLossOptions(class_weights="inverse")
    seen = []
    resolved = options.resolved(SOURCE, progress=lambda done, total: seen.append(done))
    assert seen == [1, 2, 3]
    np.testing.assert_allclose(resolved.counted_weights, [21 / (2 * 17), 21 / (2 * 4), 0.0], atol=1e-6)
    assert resolved.class_weights == "inverse"
    assert resolved.resolved(SOURCE) == resolved
    other = _Source([{"mask": np.array([[0, 1, 2, 2]], np.uint8)}])
    np.testing.assert_allclose(resolved.resolved(other).counted_weights, [4 / 3, 4 / 3, 4 / 6], atol=1e-6)
    assert resolve_class_weights(resolved, other, resumed=True) is resolved
    assert resolve_class_weights(resolved, other, resumed=False) == resolved.resolved(other)
    without = dataclasses.replace(resolved, class_weights=None)
    assert resolve_class_weights(without, other, resumed=False).counted_weights is None
    assert config_from_dict(SegmentationLossOptions, config_to_dict(resolved)) == resolved
    assert config_from_dict(SegmentationLossOptions, config_to_dict(options)) == options
    few = dataclasses.replace(options, class_weight_images=1).resolved(SOURCE)
    np.testing.assert_allclose(few.counted_weights, [7 / (2 * 5), 7 / (2 * 2), 0.0], atol=1e-6)
    logits, labels = jnp.zeros((1, 1, 2, 3)), jnp.array([[[0, 1]]])
    term = resolved.build(3)(logits, labels, jnp.ones(1, bool))["cross_entropy"]
    np.testing.assert_allclose(term.weight, sum(resolved.counted_weights), rtol=1e-6)


def test_every_rule_takes_its_counts():
    counts = ClassCounts(np.array([90, 10]), np.array([100, 50]), np.array([10, 5]), 0)
    expected = {
        "median": losses.median_frequency_weights(counts.pixels, counts.image_pixels),
        "inverse": losses.inverse_frequency_weights(counts.pixels),
        "log": losses.log_frequency_weights(counts.pixels),
        "effective": losses.effective_number_weights(counts.images),
    }
    for rule, weights in expected.items():
        np.testing.assert_array_equal(weigh_classes(rule, counts), weights)
    assert len({tuple(weights) for weights in expected.values()}) == 4


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0, 2.0), "got 2 weights for 3 classes"),
        ((1.0, -2.0, 1.0), "expected numbers >= 0"),
        ((1.0, float("nan"), 1.0), "expected numbers >= 0"),
        ((0.0, 0.0, 0.0), "one above 0"),
        ("median", r"call resolved\(\) first"),
    ],
)
def test_wrong_class_weights_are_named(weights, message):
    with pytest.raises(ValueError, match=message):
        SegmentationLossOptions(class_weights=weights).build(3)


def test_no_class_in_any_mask():
    void = _Source([{"mask": np.full((2, 2), 255, np.uint8)}])
    with pytest.raises(ValueError, match="no class occurs"):
        SegmentationLossOptions(class_weights="log").resolved(void)
