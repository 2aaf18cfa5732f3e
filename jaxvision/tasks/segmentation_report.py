"""The picture that a segmentation run leaves behind."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.pictures import contact_sheet, overlay, write_png

HEADINGS = {
    "class": "class",
    "iou": "IoU",
    "true_pixels": "true pixels",
    "predicted_pixels": "predicted pixels",
}
"""Headings of the table of :func:`jaxvision.tasks.class_scores`."""


def write_contact_sheet(
    path: Path,
    examples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
) -> None:
    """Draws image | ground truth | prediction | overlay, one example a row, with a legend.

    Args:
      path: of the PNG.
      examples: (image uint8 [H, W, 3], truth uint8 [H, W], prediction [H, W]).
      class_names: by index.
      palette: uint8 [256, 3].
    """
    rows = [
        (image, truth, prediction.astype(np.uint8), overlay(image, prediction, palette=palette))
        for image, truth, prediction in examples
    ]
    titles = ("image", "ground truth", "prediction", "overlay")
    write_png(path, contact_sheet(rows, class_names=class_names, palette=palette, titles=titles))
