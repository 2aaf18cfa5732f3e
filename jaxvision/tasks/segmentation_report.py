"""What a segmentation run leaves behind: scores, tables and pictures."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.core import write_atomically
from jaxvision.pictures import contact_sheet, overlay, plot_curves, write_png

_COLUMNS = ("class", "iou", "true_pixels", "predicted_pixels")


def write_class_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes the rows of :func:`jaxvision.tasks.class_scores` as CSV; an absent class has an empty IoU."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    for row in rows:
        score = "" if math.isnan(row["iou"]) else f"{row['iou']:.6f}"
        writer.writerow({**row, "iou": score})
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def print_class_table(title: str, rows: Sequence[dict[str, Any]], scores: dict[str, float]) -> None:
    """Shows IoU and pixels of each class, and the scores of all, on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    table.add_column("class")
    for name in ("IoU", "true pixels", "predicted pixels"):
        table.add_column(name, justify="right")
    for row in rows:
        score = "absent" if math.isnan(row["iou"]) else f"{row['iou']:.4f}"
        table.add_row(row["class"], score, f"{row['true_pixels']:,}", f"{row['predicted_pixels']:,}")
    console = Console()
    console.print(table)
    console.print("  ".join(f"{name} {value:.4f}" for name, value in scores.items()), highlight=False)


def write_curves(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Draws loss and mIoU over the steps, from the records of ``metrics.jsonl``."""
    prefixed = [
        {"step": record["step"]}
        | {
            f"{record['kind']}/{name}": value
            for name, value in record.items()
            if name not in ("step", "kind")
        }
        for record in records
    ]
    losses = ("loss", "/loss")
    if any("evaluate/mean_iou" in record for record in prefixed):
        plot_curves(prefixed, path, panels=(losses, ("mIoU", "mean_iou")))
    elif prefixed:
        plot_curves(prefixed, path, panels=(losses,))


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
