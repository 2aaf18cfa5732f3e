"""Image classification: a network meets its loss, the mixing of its batches, and its counts."""

import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import Term
from jaxvision.losses import (
    cross_entropy_loss,
    cross_entropy_weights,
    soft_cross_entropy_loss,
    sum_term,
)
from jaxvision.metrics import (
    calibration_counts,
    confusion_matrix,
    expected_calibration_error,
    macro_average,
    negative_log_likelihood,
    precision_recall_f1,
    topk_accuracy,
    topk_counts,
)
from jaxvision.ops import cutmix, mixup
from jaxvision.tasks.networks import apply_in_training, initial_variables
from jaxvision.training import Batch, Task, Variables

TOP = 5
"""The larger k of the top-k accuracies."""


class ClassificationLoss(NamedTuple):
    """Cross entropy, and what is done to images and labels before it.

    Attributes:
      label_smoothing: share of each label that is spread over all classes.
      class_weights: [K], or None for equal ones.
      mixup: alpha of mixup's Beta distribution; 0 for none.
      cutmix: alpha of CutMix's; 0 for none. Where both are asked for, each batch gets one of them by chance.
      auxiliary: factor of the loss of each auxiliary classifier, where the network has any.

    References:
      Szegedy et al. 2015, "Going Deeper with Convolutions", section 5: auxiliary losses weigh 0.3.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    auxiliary: float = 0.3


def classification_task(
    model: nn.Module,
    loss: ClassificationLoss,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    frozen: Sequence[str] = (),
) -> Task:
    """Makes a network into a :class:`jaxvision.training.Task`.

    A batch holds ``images`` float ``[N, H, W, 3]``, ``labels`` int32 ``[N]`` and ``where`` bool ``[N]``.
    Predictions are logits, float32 ``[N, K]``.

    Args:
      model: called as ``model.apply(variables, images, train=...)``, gives logits ``[N, K]``. What it writes
        to the collection ``aux_logits`` in training are the logits of auxiliary classifiers.
      loss: of training. Evaluations report the plain cross entropy.
      num_classes: K.
      image_size: (H, W) of the images that the parameters are initialised with; any other works later.
      frozen: path patterns of parameters that are not trained; their norms' statistics stay as well.
    """
    mixes = loss.mixup > 0 or loss.cutmix > 0

    def init(key: jax.Array) -> Variables:
        return initial_variables(model, key, image_size)

    def train_loss(
        params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, Term], Any]:
        images, labels = batch["images"], batch["labels"]
        if mixes:
            key, mix_key = jax.random.split(key)
            targets = jax.nn.one_hot(labels, num_classes)  # [N, K]
            images, labels = mix_batch(mix_key, images, targets, loss)
        logits, auxiliary, model_state = apply_in_training(
            model, params, model_state, images, key, frozen=frozen
        )
        terms = {"cross_entropy": cross_entropy_term(loss, logits, labels, batch["where"])}
        if auxiliary:
            sides = [cross_entropy_term(loss, side, labels, batch["where"]) for side in auxiliary]
            total = sum((side.total for side in sides), start=jnp.float32(0.0))
            terms["auxiliary"] = Term(loss.auxiliary * total, sides[0].weight)
        return terms, model_state

    def predict(variables: Variables, images: jax.Array) -> jax.Array:
        return typing.cast(jax.Array, model.apply(variables, images, train=False))

    def counts(variables: Variables, batch: Batch) -> dict[str, Any]:
        return classification_counts(
            predict(variables, batch["images"]), batch["labels"], where=batch["where"]
        )

    return Task(init, train_loss, predict, counts, classification_scores)


def mix_batch(
    key: jax.Array, images: jax.Array, targets: jax.Array, loss: ClassificationLoss
) -> tuple[jax.Array, jax.Array]:
    """Mixes each image, and its target, with another of the batch: mixup, CutMix, or one of both by chance.

    Args:
      key: of all that is drawn.
      images: [N, H, W, C].
      targets: [N, K], probabilities.
      loss: its ``mixup`` and ``cutmix`` count.
    """
    if loss.cutmix == 0:
        return mixup(key, images, targets, alpha=loss.mixup)
    if loss.mixup == 0:
        return cutmix(key, images, targets, alpha=loss.cutmix)
    choice, key = jax.random.split(key)
    return jax.lax.cond(
        jax.random.bernoulli(choice),
        lambda: mixup(key, images, targets, alpha=loss.mixup),
        lambda: cutmix(key, images, targets, alpha=loss.cutmix),
    )


def cross_entropy_term(
    loss: ClassificationLoss, logits: jax.Array, labels: jax.Array, where: jax.Array
) -> Term:
    """The term of labels [N], or of mixed ones [N, K], which weigh the mixture of their classes' weights.

    Args:
      loss: label smoothing and class weights count.
      logits: floating [N, K].
      labels: integer [N], or probabilities [N, K].
      where: bool [N]; False is not counted.
    """
    weights = None if loss.class_weights is None else jnp.array(loss.class_weights)
    options: dict[str, Any] = {"class_weights": weights, "where": where}
    if labels.ndim == 1:
        losses = cross_entropy_loss(logits, labels, label_smoothing=loss.label_smoothing, **options)
        return sum_term(losses, weights=cross_entropy_weights(labels, **options))
    losses = soft_cross_entropy_loss(logits, labels, label_smoothing=loss.label_smoothing, **options)
    counted = labels.sum(axis=-1) if weights is None else labels @ weights  # [N]
    return sum_term(losses, weights=counted, where=where)


def classification_counts(
    logits: jax.Array, labels: jax.Array, *, where: jax.Array | None = None
) -> dict[str, Any]:
    """What :func:`classification_scores` scores, of one batch; the counts of batches add up.

    Args:
      logits: floating [N, K].
      labels: integer [N].
      where: bool [N]; False is not counted.
    """
    predicted = jnp.argmax(logits, axis=-1)
    return {
        "confusion": confusion_matrix(labels, predicted, logits.shape[-1], where=where),
        "top": topk_counts(logits, labels, k=TOP, where=where),
        "calibration": calibration_counts(logits, labels, where=where),
    }


def classification_scores(counts: Mapping[str, Any]) -> dict[str, float]:
    """Scores of the summed counts of :func:`classification_counts`.

    Returns:
      ``loss`` (plain cross entropy), ``accuracy``, ``top5_accuracy`` (with more than 5 classes),
      ``macro_precision``, ``macro_recall`` (the balanced accuracy), ``macro_f1``, ``calibration_error``.
    """
    matrix = np.asarray(counts["confusion"])
    averages = macro_average(precision_recall_f1(matrix))
    scores = {
        "loss": negative_log_likelihood(counts["calibration"]),
        "accuracy": np.trace(matrix) / max(matrix.sum(), 1),
        "top5_accuracy": topk_accuracy(counts["top"]),
        "macro_precision": averages.precision,
        "macro_recall": averages.recall,
        "macro_f1": averages.f1,
        "calibration_error": expected_calibration_error(counts["calibration"]),
    }
    if len(matrix) <= TOP:
        del scores["top5_accuracy"]
    return {name: float(value) for name, value in scores.items()}


def classification_rows(
    matrix: np.ndarray, class_names: Sequence[str], *, unit: str = "images"
) -> list[dict[str, Any]]:
    """One row a class: name, precision, recall, F1, images of the truth and of the prediction.

    Args:
      matrix: counts ``[K, K]``, rows truth, columns prediction.
      class_names: K names.
      unit: what was counted, in the names of the last two: ``true_images``, ``predicted_images``.
    """
    scores = precision_recall_f1(np.asarray(matrix))
    return [
        {
            "class": name,
            "precision": float(scores.precision[index]),
            "recall": float(scores.recall[index]),
            "f1": float(scores.f1[index]),
            f"true_{unit}": int(matrix[index].sum()),
            f"predicted_{unit}": int(matrix[:, index].sum()),
        }
        for index, name in enumerate(class_names)
    ]
