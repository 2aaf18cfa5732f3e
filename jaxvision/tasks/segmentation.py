"""Semantic segmentation: a network meets its losses and its confusion matrix."""

import typing
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import VOID, Term
from jaxvision.metrics import (
    boundary_iou,
    confusion_matrix,
    frequency_weighted_iou,
    iou,
    mean_iou,
    mean_pixel_accuracy,
    pixel_accuracy,
    precision_recall_f1,
)
from jaxvision.tasks.networks import apply_in_training, initial_variables
from jaxvision.tasks.segmentation_losses import SegmentationLoss
from jaxvision.training import Batch, Task, Variables


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
      loss: see :func:`jaxvision.tasks.segmentation_loss`.
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
      ``mean_iou``, ``pixel_accuracy``, ``mean_pixel_accuracy``, ``frequency_weighted_iou``, and ``loss`` if
      that is among the counts.
    """
    matrix = counts["confusion"]
    scores = {}
    if "loss" in counts:
        losses = [term.total / max(term.weight, 1e-9) for term in counts["loss"].values()]
        scores["loss"] = float(np.sum(losses))
    return scores | {
        "mean_iou": float(mean_iou(matrix)),
        "pixel_accuracy": float(pixel_accuracy(matrix)),
        "mean_pixel_accuracy": float(mean_pixel_accuracy(matrix)),
        "frequency_weighted_iou": float(frequency_weighted_iou(matrix)),
    }


def class_scores(
    matrix: np.ndarray, class_names: tuple[str, ...], *, boundary: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """One row a class: name, IoU, precision, recall, pixels of the truth and of the prediction.

    Args:
      matrix: counts ``[K, K]``, rows truth, columns prediction.
      class_names: K names.
      boundary: counts ``[K + 1, K + 1]`` of :func:`jaxvision.metrics.boundary_counts`, for a boundary IoU.
    """
    scores = {"iou": iou(matrix)}
    if boundary is not None:
        scores["boundary_iou"] = boundary_iou(boundary)
    found = precision_recall_f1(matrix)
    scores |= {"precision": found.precision, "recall": found.recall}
    return [
        {
            "class": name,
            **{score: float(values[index]) for score, values in scores.items()},
            "true_pixels": int(matrix[index].sum()),
            "predicted_pixels": int(matrix[:, index].sum()),
        }
        for index, name in enumerate(class_names)
    ]
