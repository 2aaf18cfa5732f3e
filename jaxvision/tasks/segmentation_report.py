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

from jaxvision.pictures import confusion_picture, contact_sheet, overlay, write_png
from jaxvision.tasks.report_files import print_table, write_scores, write_table
from jaxvision.tasks.segmentation import class_scores
from jaxvision.tasks.segmentation_evaluation import (
    SegmentationEvaluation,
    evaluate_images,
    evaluate_whole_images,
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

    @property
    def outline_ratio(self) -> float | None:
        """The width of outlines, None where they are not scored."""
        return self.boundary_ratio if self.boundary_iou else None


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
    show = functools.partial(segmented_examples, segment, source, data=data)
    write_evaluation(folder, evaluation, source, show, palette=data.palette(), part=part)


def write_whole_report(
    folder: Path,
    segment: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]],
    source: Any,
    *,
    data: SegmentationData,
    options: ReportOptions,
    part: str,
) -> None:
    """As :func:`write_report`, of images at their own size, on one device of the first process.

    Args:
      folder: of the files.
      segment: such as :meth:`jaxvision.tasks.segmentation_predict.Segmenter.labels`.
      source: records with ``image`` and ``mask``, with ``num_classes`` and ``class_names``.
      data: of the batches and the colours.
      options: what is looked at.
      part: of the data set, for the title.
    """
    if not is_first_process():
        return
    evaluation = evaluate_whole_images(
        segment,
        source,
        boundary_ratio=options.outline_ratio,
        batch_size=data.batch_size,
        worst=options.worst,
    )

    def show(positions: Iterable[int]) -> Iterator[Example]:
        for position in positions:
            record = source[position]
            yield record["image"], record["mask"], segment([record["image"]])[0]

    write_evaluation(folder, evaluation, source, show, palette=data.palette(), part=part)


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
        boundary_ratio=options.outline_ratio,
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
    show: Callable[[Iterable[int]], Iterable[Example]],
    *,
    palette: np.ndarray,
    part: str,
) -> None:
    """Writes ``scores.json``, ``classes.csv`` and three pictures, and prints the table.

    Args:
      folder: of the files.
      evaluation: of the source.
      source: records with ``image`` and ``mask``, with ``class_names``.
      show: positions in the source -> what the network makes of these images.
      palette: uint8 [256, 3].
      part: of the data set, for the title.
    """
    names = tuple(source.class_names)
    rows = class_scores(evaluation.confusion, names, boundary=evaluation.boundary)
    write_table(folder / "classes.csv", rows)
    write_scores(folder / "scores.json", evaluation.scores)
    confusion_picture(evaluation.confusion, folder / "confusion.png", class_names=names, in_percent=True)
    if evaluation.worst:
        worst = list(show([position for _, position in evaluation.worst]))
        captions = [
            f"{source[position].get('name', f'image {position}')}: mean IoU {score:.3f} of the classes in it"
            for score, position in evaluation.worst
        ]
        write_contact_sheet(
            folder / "worst.png", worst, class_names=names, palette=palette, captions=captions
        )
    # Spread over the source: neighbouring images are often frames of one video.
    chosen = np.linspace(0, len(source) - 1, min(6, len(source))).round().astype(int).tolist()
    examples = list(show(chosen))
    write_contact_sheet(folder / "predictions.png", examples, class_names=names, palette=palette)
    headings = {name: heading for name, heading in HEADINGS.items() if name in rows[0]}
    print_table(f"{folder}: {len(source)} {part} images", rows, evaluation.scores, headings=headings)
    print(f"scores, tables and pictures are in {folder}")


def segmented_examples(
    segment: Callable[[jax.Array], jax.Array],
    source: Any,
    positions: Iterable[int],
    *,
    data: SegmentationData,
) -> Iterator[Example]:
    """Images of a source at the network's size, with their truth and what the network makes of them.

    Args:
      segment: compiled, ``[1, H, W, 3]`` float32 -> ``[1, H, W]`` labels.
      source: records with ``image`` and ``mask``.
      positions: of the images.
      data: how images are prepared.
    """
    rng = np.random.default_rng(0)  # neither transform draws from it
    fit, normalize = data.fit(), data.normalize()
    for position in positions:
        record = fit(source[position], rng)
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
