"""Semantic segmentation: a network meets its losses and its confusion matrix."""

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import Term
from jaxvision.losses import (
    cross_entropy_loss,
    cross_entropy_weights,
    dice_loss,
    focal_loss,
    present_classes,
    sum_term,
)
from jaxvision.metrics import (
    confusion_matrix,
    frequency_weighted_iou,
    iou,
    mean_iou,
    mean_pixel_accuracy,
    pixel_accuracy,
)
from jaxvision.tasks.networks import apply_in_training, initial_variables
from jaxvision.training import Batch, Task, Variables

VOID = 255
"""Label of pixels that belong to no class: without loss, and not counted."""

SegmentationLoss: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], dict[str, Term]]
"""``(logits [N, H, W, K], labels [N, H, W], where [N]) -> terms``."""

LOSS_NAMES = ("cross_entropy", "dice", "focal")


def segmentation_loss(
    weights: Mapping[str, float],
    *,
    class_weights: jax.Array | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 2.0,
) -> SegmentationLoss:
    """A weighted sum of losses, each averaged over what it counts.

    Args:
      weights: factor of each loss by name, e.g. ``{"cross_entropy": 1.0, "dice": 0.5}``. Cross entropy and
        focal loss are averaged over the pixels that are not void, Dice over the classes that each image
        contains.
      class_weights: float ``[K]`` for cross entropy and focal loss.
      label_smoothing: for cross entropy.
      focal_gamma: exponent of the focal loss.

    Raises:
      ValueError: for an unknown name, or none, or an option out of its range.

    >>> loss = segmentation_loss({"cross_entropy": 1.0})
    >>> terms = loss(jnp.zeros((1, 2, 2, 4)), jnp.zeros((1, 2, 2), jnp.int32), jnp.ones(1, bool))
    >>> round(float(terms["cross_entropy"].mean()), 4)  # the logarithm of 4
    1.3863
    """
    _check_loss_options(tuple(weights), label_smoothing, focal_gamma)

    def cross_entropy(logits: jax.Array, labels: jax.Array, where: jax.Array) -> Term:
        losses = cross_entropy_loss(
            logits,
            labels,
            ignore_index=VOID,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
            where=where,
        )
        counted = cross_entropy_weights(labels, ignore_index=VOID, class_weights=class_weights, where=where)
        return sum_term(losses, weights=counted)

    def dice(logits: jax.Array, labels: jax.Array, where: jax.Array) -> Term:
        present = present_classes(labels, logits.shape[-1], ignore_index=VOID, where=where)  # [N, K]
        return sum_term(dice_loss(logits, labels, ignore_index=VOID, where=where), where=present)

    def focal(logits: jax.Array, labels: jax.Array, where: jax.Array) -> Term:
        losses = focal_loss(
            logits, labels, gamma=focal_gamma, ignore_index=VOID, class_weights=class_weights, where=where
        )
        counted = cross_entropy_weights(labels, ignore_index=VOID, class_weights=class_weights, where=where)
        return sum_term(losses, weights=counted)

    functions = {"cross_entropy": cross_entropy, "dice": dice, "focal": focal}

    def loss(logits: jax.Array, labels: jax.Array, where: jax.Array) -> dict[str, Term]:
        terms = {}
        for name, factor in weights.items():
            term = functions[name](logits, labels, where)
            terms[name] = Term(factor * term.total, term.weight)
        return terms

    return loss


def _check_loss_options(names: tuple[str, ...], label_smoothing: float, focal_gamma: float) -> None:
    """Here and not only when the loss is traced: a script has made the folder of its run by then."""
    unknown = sorted(set(names) - set(LOSS_NAMES))
    if unknown or not names:
        raise ValueError(
            f"losses: got {', '.join(unknown) or 'none'}, expected some of {', '.join(LOSS_NAMES)}"
        )
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing: expected a number in [0, 1], got {label_smoothing}")
    if focal_gamma < 0:
        raise ValueError(f"focal_gamma: expected a number >= 0, got {focal_gamma}")


def segmentation_task(
    model: nn.Module,
    loss: SegmentationLoss,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    frozen: Sequence[str] = (),
    aux_weight: float = 0.5,
) -> Task:
    """Makes a network into a :class:`jaxvision.training.Task`.

    A batch holds ``images`` float ``[N, H, W, 3]``, ``labels`` int32 ``[N, H, W]`` with 255 for void, and
    ``where`` bool ``[N]``. Predictions are labels, int32 ``[N, H, W]``.

    Args:
      model: called as ``model.apply(variables, images, train=...)``, gives logits ``[N, H, W, K]``. What it
        writes to the collection ``aux_logits`` in training are the logits of auxiliary heads.
      loss: see :func:`segmentation_loss`.
      num_classes: K.
      image_size: (H, W) of the images that the parameters are initialised with; any other works later.
      frozen: path patterns of parameters that are not trained; their norms' statistics stay as well.
      aux_weight: factor of the loss of each auxiliary head, where the network has any: torchvision's recipes
        have 0.5, PSPNet's paper 0.4 (Zhao et al. 2017, section 5.1).
    """

    def init(key: jax.Array) -> Variables:
        return initial_variables(model, key, image_size)

    def train_loss(
        params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, Term], Any]:
        logits, auxiliary, model_state = apply_in_training(
            model, params, model_state, batch["images"], key, frozen=frozen
        )
        terms = loss(logits, batch["labels"], batch["where"])
        sides = [loss(side, batch["labels"], batch["where"]) for side in auxiliary]
        return terms | _auxiliary_terms(sides, aux_weight), model_state

    def logits_of(variables: Variables, images: jax.Array) -> jax.Array:
        return typing.cast(jax.Array, model.apply(variables, images, train=False))

    def predict(variables: Variables, images: jax.Array) -> jax.Array:
        return jnp.argmax(logits_of(variables, images), axis=-1)

    def counts(variables: Variables, batch: Batch) -> dict[str, Any]:
        logits = logits_of(variables, batch["images"])
        matrix = confusion_matrix(
            batch["labels"],
            jnp.argmax(logits, axis=-1),
            num_classes,
            ignore_index=VOID,
            where=batch["where"],
        )
        return {"confusion": matrix, "loss": loss(logits, batch["labels"], batch["where"])}

    return Task(init, train_loss, predict, counts, segmentation_scores)


def _auxiliary_terms(sides: Sequence[dict[str, Term]], aux_weight: float) -> dict[str, Term]:
    """The losses of auxiliary heads, added by name and weighted; all count the same pixels."""
    terms: dict[str, Term] = {}
    for side in sides:
        for name, term in side.items():
            before = terms.get(f"auxiliary_{name}")
            total = aux_weight * term.total + (0.0 if before is None else before.total)
            terms[f"auxiliary_{name}"] = Term(total, term.weight)
    return terms


def segmentation_scores(counts: Mapping[str, Any]) -> dict[str, float]:
    """Scores of the summed counts of :func:`segmentation_task`.

    Returns:
      ``loss``, ``mean_iou``, ``pixel_accuracy``, ``mean_pixel_accuracy``, ``frequency_weighted_iou``.
    """
    matrix = counts["confusion"]
    losses = [term.total / max(term.weight, 1e-9) for term in counts["loss"].values()]
    return {
        "loss": float(np.sum(losses)),
        "mean_iou": float(mean_iou(matrix)),
        "pixel_accuracy": float(pixel_accuracy(matrix)),
        "mean_pixel_accuracy": float(mean_pixel_accuracy(matrix)),
        "frequency_weighted_iou": float(frequency_weighted_iou(matrix)),
    }


def class_scores(matrix: np.ndarray, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row a class: name, IoU, pixels of the truth and of the prediction.

    Args:
      matrix: counts ``[K, K]``, rows truth, columns prediction.
      class_names: K names.
    """
    scores = np.asarray(iou(matrix))
    return [
        {
            "class": name,
            "iou": float(scores[index]),
            "true_pixels": int(matrix[index].sum()),
            "predicted_pixels": int(matrix[:, index].sum()),
        }
        for index, name in enumerate(class_names)
    ]
