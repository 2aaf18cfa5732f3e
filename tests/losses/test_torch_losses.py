"""Every loss, and its gradient, against what PyTorch computes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.record_losses import IGNORED, REFERENCE, inputs, torch_outputs

from jaxvision import losses

Case = tuple[str, Callable[[Any, dict[str, Any]], Any]]


def entropy(x: jax.Array, data: dict[str, jax.Array], **options: Any) -> jax.Array:
    return losses.cross_entropy_loss(x, data["labels"], ignore_index=IGNORED, **options)


def mean_entropy(x: jax.Array, data: dict[str, jax.Array], weights: Any, **options: Any) -> jax.Array:
    values = entropy(x, data, class_weights=weights, **options)
    counts = losses.cross_entropy_weights(data["labels"], ignore_index=IGNORED, class_weights=weights)
    return losses.sum_term(values, weights=counts).mean()


CASES: dict[str, Case] = {
    "entropy": ("logits", entropy),
    "entropy_extreme": ("extreme", entropy),
    "entropy_weighted": ("logits", lambda x, d: entropy(x, d, class_weights=d["class_weights"])),
    "entropy_smooth": ("logits", lambda x, d: entropy(x, d, label_smoothing=0.1)),
    "entropy_weighted_smooth": (
        "logits",
        lambda x, d: entropy(x, d, class_weights=d["class_weights"], label_smoothing=0.3),
    ),
    "entropy_mean": ("logits", lambda x, d: mean_entropy(x, d, None)),
    "entropy_weighted_smooth_mean": (
        "logits",
        lambda x, d: mean_entropy(x, d, d["class_weights"], label_smoothing=0.3),
    ),
    "soft_entropy": ("logits", lambda x, d: losses.soft_cross_entropy_loss(x, d["distribution"])),
    "soft_entropy_extreme": ("extreme", lambda x, d: losses.soft_cross_entropy_loss(x, d["distribution"])),
    "soft_entropy_weighted_smooth": (
        "logits",
        lambda x, d: losses.soft_cross_entropy_loss(
            x, d["soft"], class_weights=d["class_weights"], label_smoothing=0.3
        ),
    ),
    "soft_entropy_weighted_smooth_mean": (
        "logits",
        lambda x, d: losses.soft_cross_entropy_loss(
            x, d["distribution"], class_weights=d["class_weights"], label_smoothing=0.3
        ).mean(),
    ),
    "bce": ("logits", lambda x, d: losses.binary_cross_entropy_loss(x, d["binary"])),
    "bce_extreme": ("extreme", lambda x, d: losses.binary_cross_entropy_loss(x, d["binary"])),
    "bce_soft_weighted": (
        "logits",
        lambda x, d: losses.binary_cross_entropy_loss(x, d["soft"], positive_weight=2.5),
    ),
    "focal": ("logits", lambda x, d: losses.binary_focal_loss(x, d["binary"])),
    "focal_unweighted": (
        "logits",
        lambda x, d: losses.binary_focal_loss(x, d["binary"], alpha=None, gamma=1.5),
    ),
    "focal_extreme": ("extreme", lambda x, d: losses.binary_focal_loss(x, d["binary"])),
    "dice": ("logits", lambda x, d: losses.dice_loss(x, d["labels"], ignore_index=IGNORED)),
    "dice_squared_batch": (
        "logits",
        lambda x, d: losses.dice_loss(
            x, d["labels"], ignore_index=IGNORED, smooth=0.0, squared=True, over_batch=True
        ),
    ),
    "binary_dice": ("logits", lambda x, d: losses.binary_dice_loss(x, d["binary"])),
    "l1": ("logits", lambda x, d: losses.l1_loss(x, d["targets"])),
    "l2": ("logits", lambda x, d: losses.l2_loss(x, d["targets"])),
    "huber": ("logits", lambda x, d: losses.huber_loss(x, d["targets"], delta=1.5)),
    "kl": ("logits", lambda x, d: losses.kl_divergence_loss(jax.nn.log_softmax(x), d["distribution"])),
}


def our_outputs(name: str) -> tuple[np.ndarray, np.ndarray]:
    argument, function = CASES[name]
    data = {key: jnp.asarray(value) for key, value in inputs().items()}

    def total(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = function(x, data)
        return values.sum(), values

    gradient, values = jax.jit(jax.grad(total, has_aux=True))(data[argument])
    return np.asarray(values), np.asarray(gradient)


def compare(name: str, expected: Any) -> None:
    values, gradient = our_outputs(name)
    assert values.dtype == np.float32
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(values, expected[name], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, expected[f"{name}_gradient"], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_recorded(name: str) -> None:
    with np.load(REFERENCE / "losses.npz") as recorded:
        compare(name, recorded)


def test_every_recorded_case_is_compared() -> None:
    with np.load(REFERENCE / "losses.npz") as recorded:
        names = {name for name in recorded.files if name != "header" and not name.endswith("_gradient")}
    assert names == set(CASES)


@pytest.mark.parity
def test_live() -> None:
    pytest.importorskip("torch")
    expected = torch_outputs()
    for name in CASES:
        compare(name, expected)
