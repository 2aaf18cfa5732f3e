"""The last look at a segmentation network: scores of a data set, its outlines, its worst images."""

import functools
import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import VOID
from jaxvision.metrics import boundary_counts, confusion_matrix, iou, mean_boundary_iou
from jaxvision.tasks.segmentation import segmentation_scores
from jaxvision.tasks.segmentation_losses import SegmentationLoss
from jaxvision.training import Batch, Placement, Variables, evaluate


class SegmentationEvaluation(NamedTuple):
    """What a data set says of a network.

    Attributes:
      scores: those of :func:`jaxvision.tasks.segmentation_scores`, and ``mean_boundary_iou`` if it was asked
        for.
      confusion: int64 [K, K], rows = truth, columns = prediction.
      boundary: int64 [K + 1, K + 1] of :func:`jaxvision.metrics.boundary_counts`, or None.
      worst: (mean IoU of the image, its position in the source), the worst first.
    """

    scores: dict[str, float]
    confusion: np.ndarray
    boundary: np.ndarray | None
    worst: list[tuple[float, int]]


def make_image_counts(
    model: nn.Module,
    loss: SegmentationLoss,
    *,
    num_classes: int,
    boundary_ratio: float | None,
    axis_name: str | None = None,
) -> Callable[[Variables, Batch], dict[str, Any]]:
    """Makes the pure function that counts a batch, and scores each of its images.

    Args:
      model: called as ``model.apply(variables, images, train=False)``, gives logits ``[N, H, W, K]``.
      loss: of the run.
      num_classes: K.
      boundary_ratio: width of outlines as a share of the diagonal, or None not to look at them.
      axis_name: the device axis under ``pmap``, over which counts are summed.

    Returns:
      ``(variables, batch) -> {"counts": ..., "image_iou": float32 [N]}``. The IoU of an image is the mean
      over the classes in its truth; nan where nothing is counted.
    """

    def count(variables: Variables, batch: Batch) -> dict[str, Any]:
        logits = model.apply(variables, batch["images"], train=False)
        labels, where = batch["labels"], batch["where"]
        assert isinstance(logits, jax.Array)
        predictions = jnp.argmax(logits, axis=-1)  # [N, H, W]

        def of_image(labels: jax.Array, predictions: jax.Array, where: jax.Array) -> jax.Array:
            return confusion_matrix(labels, predictions, num_classes, ignore_index=VOID, where=where)

        matrices = jax.vmap(of_image)(labels, predictions, where)  # [N, K, K]
        counts = {"confusion": matrices.sum(axis=0), "loss": loss(logits, labels, where)}
        if boundary_ratio is not None:
            counts["boundary"] = boundary_counts(
                labels,
                predictions,
                num_classes,
                dilation_ratio=boundary_ratio,
                ignore_index=VOID,
                where=where,
            )
        if axis_name is not None:
            counts = jax.lax.psum(counts, axis_name)
        return {"counts": counts, "image_iou": jax.vmap(present_iou)(matrices)}

    return count


def present_iou(matrix: jax.Array) -> jax.Array:
    """Mean IoU over the classes that are in the truth: float32 []; nan if nothing was counted.

    Args:
      matrix: integer [K, K], rows = truth.
    """
    present = matrix.sum(axis=1) > 0
    total = jnp.sum(jnp.where(present, iou(matrix), 0.0))
    return total / jnp.sum(present)  # 0 / 0 is nan


def evaluate_images(
    count: Callable[[Variables, Batch], dict[str, Any]],
    variables: Variables,
    batches: Iterable[Batch],
    placement: Placement,
    *,
    worst: int,
) -> SegmentationEvaluation:
    """Runs over a data set once; memory holds a batch, the counts, and a number of each image.

    Args:
      count: of :func:`make_image_counts`, compiled by the placement.
      variables: placed on the devices.
      batches: on the host, each image once: with ``index``, -1 for padding.
      placement: of the variables; batches are placed here.
      worst: how many images to remember; 0 for none.

    Raises:
      ValueError: if there are no batches.
    """
    found: list[tuple[float, int]] = []
    pending: list[tuple[Any, Any]] = []  # looked at one batch late, so that the device never waits

    def remember(index: Any, image_iou: Any) -> None:
        known = placement.unshard({"index": index, "image_iou": image_iou})
        found.extend(zip(known["image_iou"].tolist(), known["index"].tolist(), strict=True))

    def counted(variables: Variables, batch: Batch) -> Any:
        placed = placement.shard(batch)
        index = placed.pop("index")
        result = count(variables, placed)
        if pending:
            remember(*pending.pop())
        pending.append((index, result["image_iou"]))
        return result["counts"]

    scores, counts = evaluate(counted, _scores, variables, batches, placement)
    remember(*pending.pop())
    return SegmentationEvaluation(
        scores, counts["confusion"], counts.get("boundary"), _worst_images(found, worst)
    )


def evaluate_whole_images(
    segment: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]],
    source: Any,
    *,
    boundary_ratio: float | None,
    batch_size: int,
    worst: int,
) -> SegmentationEvaluation:
    """Scores labels of images at their own size against masks that nothing was done to.

    The counts are compiled once for each size of image.

    Args:
      segment: images uint8 ``[H, W, 3]`` of any sizes -> the labels of each, integer ``[H, W]``.
      source: records with ``image`` and ``mask``, with ``num_classes``.
      boundary_ratio: width of outlines as a share of the diagonal, or None not to look at them.
      batch_size: images at once.
      worst: how many images to remember; 0 for none.

    Returns:
      As :func:`evaluate_images`, but without a loss: there are labels, no logits.

    Raises:
      ValueError: if the source is empty.
    """
    if len(source) == 0:
        raise ValueError("there are no images to evaluate")
    totals: dict[str, np.ndarray] = {}
    found: list[tuple[float, int]] = []
    for start in range(0, len(source), batch_size):
        records = [source[position] for position in range(start, min(start + batch_size, len(source)))]
        labels = segment([record["image"] for record in records])
        for position, (record, predictions) in enumerate(zip(records, labels, strict=True), start):
            counts, image_iou = _count_image(
                record["mask"], predictions, num_classes=source.num_classes, boundary_ratio=boundary_ratio
            )
            for name, matrix in counts.items():
                totals[name] = totals.get(name, 0) + np.asarray(matrix, np.int64)
            found.append((float(image_iou), position))
    boundary = totals.get("boundary")
    return SegmentationEvaluation(_scores(totals), totals["confusion"], boundary, _worst_images(found, worst))


@functools.partial(jax.jit, static_argnames=("num_classes", "boundary_ratio"))
def _count_image(
    labels: jax.Array, predictions: jax.Array, *, num_classes: int, boundary_ratio: float | None
) -> tuple[dict[str, jax.Array], jax.Array]:
    """The counts of one image, and its IoU."""
    matrix = confusion_matrix(labels, predictions, num_classes, ignore_index=VOID)
    counts = {"confusion": matrix}
    if boundary_ratio is not None:
        counts["boundary"] = boundary_counts(
            labels, predictions, num_classes, dilation_ratio=boundary_ratio, ignore_index=VOID
        )
    return counts, present_iou(matrix)


def _worst_images(found: Iterable[tuple[float, int]], count: int) -> list[tuple[float, int]]:
    """Those of the lowest IoU; what is no image (position -1), or has nothing that is counted, is none."""
    scored = ((score, position) for score, position in found if position >= 0 and not math.isnan(score))
    return heapq.nsmallest(count, scored)


def _scores(counts: dict[str, Any]) -> dict[str, float]:
    scores = segmentation_scores(counts)
    if "boundary" in counts:
        scores["mean_boundary_iou"] = float(mean_boundary_iou(counts["boundary"]))
    return scores
