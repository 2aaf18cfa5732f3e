"""What a classification run leaves behind: scores, a table of the classes, pictures."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jaxvision.data import LabelledSource
from jaxvision.metrics import calibration_counts, expected_calibration_error, fit_temperature, reliability
from jaxvision.pictures import (
    confusion_picture,
    mistakes_sheet,
    reliability_picture,
    worst_mistakes,
    write_png,
)
from jaxvision.tasks.classification import (
    classification_counts,
    classification_rows,
    classification_scores,
)
from jaxvision.tasks.report_files import print_table, write_curves, write_scores, write_table
from jaxvision.training import read_json_lines

WriteMistakes = Callable[[Path, LabelledSource, np.ndarray], None]
"""Shows in a run's folder what of a source the network, by its logits [N, K], is most wrong about."""


def class_headings(unit: str) -> dict[str, str]:
    """Headings of the table of :func:`jaxvision.tasks.classification_rows`, of images or of others."""
    headings = {"class": "class", "precision": "precision", "recall": "recall", "f1": "F1"}
    return headings | {f"{kind}_{unit}": f"{kind} {unit}" for kind in ("true", "predicted")}


def write_mistakes_sheet(folder: Path, source: LabelledSource, logits: np.ndarray) -> None:
    """Draws the images whose wrong class the network is surest of, as mistakes.png.

    Args:
      folder: of the run.
      source: of images.
      logits: of its images, [N, K].
    """
    probabilities = np.asarray(jax.nn.softmax(logits))
    chosen = worst_mistakes(probabilities, source.labels)
    images = [source[int(index)]["image"] for index in chosen]
    sheet = mistakes_sheet(
        images, source.labels[chosen], probabilities[chosen], class_names=tuple(source.class_names)
    )
    write_png(folder / "mistakes.png", sheet)


def write_report(
    folder: Path,
    source: LabelledSource,
    logits: np.ndarray,
    *,
    held_out: tuple[np.ndarray, np.ndarray] | None,
    is_tested_apart: bool,
    unit: str = "images",
    write_mistakes: WriteMistakes = write_mistakes_sheet,
) -> float | None:
    """Scores the logits of a test part, and writes and prints all about them.

    Args:
      folder: of the run.
      source: the test part.
      logits: of its images, [N, K].
      held_out: labels and logits of images that were not trained on, for the temperature; None for none.
      is_tested_apart: whether the test part is another than the one that the temperature is fitted on; only
        then the calibration error at that temperature says anything.
      unit: what the source holds.
      write_mistakes: shows the mistakes.

    Returns:
      The temperature, or None without held-out images, or without a mistake on them.
    """
    labels, names = source.labels, tuple(source.class_names)
    counts = jax.device_get(jax.jit(classification_counts)(logits, labels))
    scores = classification_scores(counts)
    temperature = None
    # Without a mistake there is nothing to fit: the surer, the likelier, to no end.
    if held_out is not None and (held_out[1].argmax(axis=1) != held_out[0]).any():
        temperature = fit_temperature(held_out[1], held_out[0])
        scores["temperature"] = temperature
        if is_tested_apart:
            scaled = jax.device_get(jax.jit(calibration_counts)(logits / temperature, labels))
            scores["calibration_error_at_temperature"] = float(expected_calibration_error(scaled))
    rows = classification_rows(counts["confusion"], names, unit=unit)
    write_scores(folder / "scores.json", scores)
    write_table(folder / "classes.csv", rows)
    confusion_picture(counts["confusion"], folder / "confusion.png", class_names=names)
    table, error = reliability(counts["calibration"]), scores["calibration_error"]
    reliability_picture(
        np.asarray(table.confidence),
        np.asarray(table.accuracy),
        np.asarray(table.total),
        folder / "reliability.png",
        error=error,
    )
    write_mistakes(folder, source, logits)
    records = read_json_lines(folder / "metrics.jsonl")
    write_curves(folder / "curves.png", records, title="accuracy", metric="accuracy")
    print_table(f"{folder}: {len(source)} test {unit}", rows, scores, headings=class_headings(unit))
    return temperature
