"""What a segmentation run leaves behind: scores, a table of the classes, pictures."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.data import Resize
from jaxvision.pictures import confusion_picture, contact_sheet, overlay, write_png
from jaxvision.tasks.report_files import print_table, write_scores, write_table
from jaxvision.tasks.segmentation import class_scores
from jaxvision.tasks.segmentation_evaluation import (
    SegmentationEvaluation,
    evaluate_images,
    make_image_counts,
)
from jaxvision.tasks.segmentation_losses import SegmentationLoss
from jaxvision.tasks.segmentation_options import SegmentationData
from jaxvision.training import Placement, Variables, is_first_process

HEADINGS = {
    "class": "class",
    "iou": "IoU",
    "boundary_iou": "boundary IoU",
    "precision": "precision",
    "recall": "recall",
    "true_pixels": "true pixels",
    "predicted_pixels": "predicted pixels",
}
"""Headings of the table of :func:`jaxvision.tasks.class_scores`."""

Example = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image uint8 [H, W, 3], truth uint8 [H, W], prediction integer [H, W]."""


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """The last evaluation, on the test images."""

    boundary_iou: bool = True
    """Score the outlines of the classes too."""
    boundary_ratio: float = 0.02
    """Width of an outline as a share of the image's diagonal."""
    worst: int = 8
    """How many of the images with the lowest IoU are shown in worst.png."""

    def __post_init__(self) -> None:
        if not 0 < self.boundary_ratio < 1:
            raise ValueError(
                f"--report.boundary-ratio: expected a share in (0, 1), got {self.boundary_ratio}"
            )
        if self.worst < 0:
            raise ValueError(f"--report.worst: expected 0 or more, got {self.worst}")


def write_report(
    folder: Path,
    model: nn.Module,
    loss: SegmentationLoss,
    variables: Variables,
    source: Any,
    placement: Placement,
    *,
    data: SegmentationData,
    options: ReportOptions,
    part: str,
) -> None:
    """Evaluates on a part of the data; the first process writes scores, tables and pictures into a folder.

    Args:
      folder: of the files.
      model: gives logits ``[N, H, W, K]``.
      loss: of the run.
      variables: on the host.
      source: records with ``image`` and ``mask``, with ``num_classes`` and ``class_names``.
      placement: the devices.
      data: how images are prepared.
      options: what is looked at.
      part: of the data set, for the title.
    """
    evaluation = evaluate_source(model, loss, variables, source, placement, data=data, options=options)
    if not is_first_process():
        return

    @jax.jit
    def predict(variables: Variables, images: jax.Array) -> jax.Array:
        logits = model.apply(variables, images, train=False)
        assert isinstance(logits, jax.Array)
        return jnp.argmax(logits, axis=-1)

    segment = functools.partial(predict, jax.device_put(variables))
    names = source.class_names
    write_evaluation(folder, evaluation, source, segment, data=data, class_names=names, part=part)
    # Spread over the source: neighbouring images are often frames of one video.
    chosen = np.linspace(0, len(source) - 1, min(6, len(source))).round()
    examples = list(segmented_examples(segment, source, chosen, data=data))
    write_contact_sheet(folder / "predictions.png", examples, class_names=names, palette=data.palette())
    print(f"scores, tables and pictures are in {folder}")


def evaluate_source(
    model: nn.Module,
    loss: SegmentationLoss,
    variables: Variables,
    source: Any,
    placement: Placement,
    *,
    data: SegmentationData,
    options: ReportOptions,
) -> SegmentationEvaluation:
    """Scores a network on every image of a source.

    Args:
      model: gives logits ``[N, H, W, K]``.
      loss: of the run.
      variables: on the host.
      source: records with ``image`` and ``mask``.
      placement: the devices.
      data: how images are prepared.
      options: what is looked at.
    """
    count = make_image_counts(
        model,
        loss,
        num_classes=source.num_classes,
        boundary_ratio=options.boundary_ratio if options.boundary_iou else None,
        axis_name=placement.axis_name,
    )
    return evaluate_images(
        placement.compile_count(count),
        placement.place(variables),
        data.ordered_batches(source),
        placement,
        worst=options.worst,
    )


def write_evaluation(
    folder: Path,
    evaluation: SegmentationEvaluation,
    source: Any,
    segment: Callable[[jax.Array], jax.Array],
    *,
    data: SegmentationData,
    class_names: Sequence[str],
    part: str,
) -> None:
    """Writes ``scores.json``, ``classes.csv``, ``confusion.png`` and ``worst.png``, and prints the table.

    Args:
      folder: of the files.
      evaluation: of the source.
      source: records with ``image`` and ``mask``.
      segment: compiled, ``[1, H, W, 3]`` float32 -> ``[1, H, W]`` labels.
      data: how images are prepared.
      class_names: by index.
      part: of the data set, for the title.
    """
    names = tuple(class_names)
    rows = class_scores(evaluation.confusion, names, boundary=evaluation.boundary)
    write_table(folder / "classes.csv", rows)
    write_scores(folder / "scores.json", evaluation.scores)
    confusion_picture(evaluation.confusion, folder / "confusion.png", class_names=names, in_percent=True)
    if evaluation.worst:
        positions = [position for _, position in evaluation.worst]
        captions = [
            f"{source[position].get('name', f'image {position}')}: mean IoU {score:.3f} of the classes in it"
            for score, position in evaluation.worst
        ]
        write_contact_sheet(
            folder / "worst.png",
            list(segmented_examples(segment, source, positions, data=data)),
            class_names=names,
            palette=data.palette(),
            captions=captions,
        )
    headings = {name: heading for name, heading in HEADINGS.items() if name in rows[0]}
    print_table(f"{folder}: {len(source)} {part} images", rows, evaluation.scores, headings=headings)


def segmented_examples(
    segment: Callable[[jax.Array], jax.Array],
    source: Any,
    positions: Iterable[int],
    *,
    data: SegmentationData,
) -> Iterator[Example]:
    """Images of a source at the network's size, with their truth and what the network makes of them."""
    rng = np.random.default_rng(0)  # neither transform draws from it
    resize, normalize = Resize(data.size), data.normalize()
    for position in positions:
        record = resize(source[int(position)], rng)
        labels = np.asarray(segment(normalize(record, rng)["image"][None]))[0]
        yield record["image"], record["mask"], labels


def write_contact_sheet(
    path: Path,
    examples: Sequence[Example],
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    captions: Sequence[str] = (),
) -> None:
    """Draws image | ground truth | prediction | overlay, one example a row, with a legend.

    Args:
      path: of the PNG.
      examples: of :func:`segmented_examples`.
      class_names: by index.
      palette: uint8 [256, 3].
      captions: a line above each row; none by default.
    """
    rows = [
        (image, truth, prediction.astype(np.uint8), overlay(image, prediction, palette=palette))
        for image, truth, prediction in examples
    ]
    titles = ("image", "ground truth", "prediction", "overlay")
    sheet = contact_sheet(rows, class_names=class_names, palette=palette, titles=titles, captions=captions)
    write_png(path, sheet)
