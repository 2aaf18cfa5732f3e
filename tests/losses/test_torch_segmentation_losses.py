"""Every loss of segmentation, and its gradient, against what PyTorch computes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.record_segmentation_losses import IGNORED, REFERENCE, inputs, torch_outputs

from jaxvision import losses, ops

Case = tuple[str, Callable[[Any, dict[str, Any]], Any]]


def of_labels(function: Callable[..., jax.Array], **options: Any) -> Callable[[Any, dict[str, Any]], Any]:
    return lambda x, d: function(x, d["labels"], ignore_index=IGNORED, **options)


def of_binary(function: Callable[..., jax.Array], **options: Any) -> Callable[[Any, dict[str, Any]], Any]:
    return lambda x, d: function(x, d["binary"], **options)


def hard_entropy(x: jax.Array, data: dict[str, jax.Array], weights: Any = None, **options: Any) -> jax.Array:
    labels = data["labels"]
    hard = losses.hard_pixels(x, labels, ignore_index=IGNORED, **options)
    entropy = losses.cross_entropy_loss(x, labels, ignore_index=IGNORED, class_weights=weights)
    return jnp.where(hard, entropy, 0.0)


def lovasz_mean_present(x: jax.Array, data: dict[str, jax.Array]) -> jax.Array:
    options = {"ignore_index": IGNORED, "over_batch": True}
    present = losses.present_classes(data["labels"], x.shape[-1], **options)
    return losses.masked_mean(losses.lovasz_softmax_loss(x, data["labels"], **options), where=present)


def boundary(x: jax.Array, data: dict[str, jax.Array]) -> jax.Array:
    return losses.boundary_loss(x, ops.signed_class_distances(data["whole"], x.shape[-1]))


CASES: dict[str, Case] = {
    "jaccard": ("logits", of_labels(losses.jaccard_loss)),
    "jaccard_batch": ("logits", of_labels(losses.jaccard_loss, smooth=1.0, over_batch=True)),
    "jaccard_extreme": ("extreme", of_labels(losses.jaccard_loss)),
    "binary_jaccard": ("scores", of_binary(losses.binary_jaccard_loss)),
    "tversky": ("logits", of_labels(losses.tversky_loss)),
    "tversky_batch": (
        "logits",
        of_labels(losses.tversky_loss, alpha=0.9, beta=0.2, smooth=1.0, over_batch=True),
    ),
    "tversky_extreme": ("extreme", of_labels(losses.tversky_loss)),
    "binary_tversky": ("scores", of_binary(losses.binary_tversky_loss)),
    "focal_tversky": ("logits", of_labels(losses.focal_tversky_loss)),
    "focal_tversky_batch": (
        "logits",
        of_labels(losses.focal_tversky_loss, gamma=2.0, smooth=1.0, over_batch=True),
    ),
    "log_cosh_dice": ("logits", of_labels(losses.log_cosh_dice_loss)),
    "generalised_dice": ("logits", of_labels(losses.generalised_dice_loss)),
    "generalised_dice_batch": ("logits", of_labels(losses.generalised_dice_loss, power=1.0, over_batch=True)),
    "generalised_dice_extreme": ("extreme", of_labels(losses.generalised_dice_loss)),
    "lovasz": ("logits", of_labels(losses.lovasz_softmax_loss)),
    "lovasz_batch": ("logits", of_labels(losses.lovasz_softmax_loss, over_batch=True)),
    "lovasz_mean_present": ("logits", lovasz_mean_present),
    "lovasz_extreme": ("extreme", of_labels(losses.lovasz_softmax_loss)),
    "hinge": ("scores", of_binary(losses.lovasz_hinge_loss)),
    "hinge_batch": ("scores", of_binary(losses.lovasz_hinge_loss, over_batch=True)),
    "hinge_extreme": ("extreme_scores", of_binary(losses.lovasz_hinge_loss)),
    "boundary": ("logits", boundary),
    "boundary_extreme": ("extreme", boundary),
    "hard_by_threshold": ("logits", lambda x, d: hard_entropy(x, d, threshold=0.3, min_kept=1)),
    "hard_by_number": (
        "logits",
        lambda x, d: hard_entropy(x, d, d["class_weights"], threshold=0.01, min_kept=20),
    ),
    "hard_all": ("logits", lambda x, d: hard_entropy(x, d, threshold=0.01, min_kept=1000)),
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
    with np.load(REFERENCE / "segmentation_losses.npz") as recorded:
        compare(name, recorded)


def test_every_recorded_case_is_compared() -> None:
    with np.load(REFERENCE / "segmentation_losses.npz") as recorded:
        names = {name for name in recorded.files if name != "header" and not name.endswith("_gradient")}
    assert names == set(CASES)


@pytest.mark.parity
def test_live() -> None:
    pytest.importorskip("torch")
    expected = torch_outputs()
    for name in CASES:
        compare(name, expected)


@pytest.mark.parity
def test_segmentation_models_pytorch() -> None:
    """Their means over the classes that occur, over the whole batch; they sum absent classes as 0 of K."""
    smp = pytest.importorskip("segmentation_models_pytorch").losses
    import torch

    data = inputs()
    x, labels, whole = (data[name] for name in ("logits", "labels", "whole"))
    first = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    truth, all_truth = torch.from_numpy(labels).long(), torch.from_numpy(whole).long()
    over_batch = {"over_batch": True}
    theirs = {
        "jaccard": smp.JaccardLoss("multiclass", from_logits=True, eps=0.0)(first, all_truth),
        "tversky": smp.TverskyLoss("multiclass", ignore_index=IGNORED, eps=0.0, alpha=0.3, beta=0.7)(
            first, truth
        ),
        "lovasz": smp.LovaszLoss("multiclass", ignore_index=IGNORED)(first, truth),
        "lovasz_image": smp.LovaszLoss("multiclass", per_image=True, ignore_index=IGNORED)(first, truth),
        "hinge": smp.LovaszLoss("binary", per_image=True)(
            torch.from_numpy(data["scores"])[:, None], torch.from_numpy(data["binary"])[:, None]
        ),
    }
    void = {"ignore_index": IGNORED}
    by_image = losses.lovasz_softmax_loss(jnp.asarray(x), jnp.asarray(labels), **void)
    present = losses.present_classes(jnp.asarray(labels), x.shape[-1], **void)
    ours = {
        "jaccard": losses.jaccard_loss(jnp.asarray(x), jnp.asarray(whole), **over_batch).mean(),
        "tversky": losses.tversky_loss(jnp.asarray(x), jnp.asarray(labels), **void, **over_batch).mean(),
        "lovasz": lovasz_mean_present(jnp.asarray(x), {"labels": jnp.asarray(labels)}),
        "lovasz_image": np.mean([row[here].mean() for row, here in zip(by_image, present, strict=True)]),
        "hinge": losses.lovasz_hinge_loss(jnp.asarray(data["scores"]), jnp.asarray(data["binary"])).mean(),
    }
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value.numpy(), rtol=1e-5, err_msg=name)
