"""Classifies image files with a trained network, and writes what it finds."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.core import write_atomically
from jaxvision.data import eval_transform
from jaxvision.tasks.image_inputs import read_or_name
from jaxvision.tasks.report_files import write_table
from jaxvision.weights import Preprocessing

Prediction = tuple[Path | str, np.ndarray]
"""A file, or what is classified itself, and the probability of each class, float [K]."""


def classify_files(
    logits: Callable[[np.ndarray], Any],
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    *,
    temperature: float,
    batch_size: int,
) -> list[Prediction]:
    """Classifies files in batches of one size, so that the network is compiled once.

    Args:
      logits: compiled, ``[batch_size, H, W, 3]`` float32 -> ``[batch_size, K]``.
      paths: of the images. One that cannot be read or prepared is named on standard error and left out.
      preprocessing: that of the training.
      temperature: that the logits are divided by; 1 leaves the probabilities as the network gives them.
      batch_size: images at once.

    Returns:
      A prediction for each image that could be read, in order.

    Raises:
      ValueError: if ``batch_size`` is less than 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, expected 1 or more")
    transform, rng = eval_transform(preprocessing), np.random.default_rng(0)  # nothing is drawn from it

    def prepare(image: np.ndarray) -> np.ndarray:
        return transform({"image": image}, rng)["image"]

    found: list[Prediction] = []
    for start in range(0, len(paths), batch_size):
        read = [(path, read_or_name(path, prepare=prepare)) for path in paths[start : start + batch_size]]
        good = [(path, image) for path, image in read if image is not None]
        if not good:
            continue
        images = np.stack([image for _, image in good])
        padding = [(0, batch_size - len(good)), (0, 0), (0, 0), (0, 0)]
        scores = np.asarray(logits(np.pad(images, padding)))[: len(good)]  # [n, K]
        found += [(path, row) for (path, _), row in zip(good, softmax(scores / temperature), strict=True)]
    return found


def write_predictions(
    folder: Path,
    predictions: Sequence[Prediction],
    class_names: Sequence[str],
    *,
    top: int,
    kind: str = "image",
) -> list[Path]:
    """Writes the most probable classes of each image as JSON and as CSV.

    Args:
      folder: made if it is missing.
      predictions: of :func:`classify_files`.
      class_names: K names.
      top: classes to list, the most probable first; all of them if there are fewer.
      kind: what is classified, the name of its field.

    Returns:
      The files: ``predictions.json``, and ``predictions.csv`` unless there is no prediction.

    Raises:
      ValueError: if ``top`` is less than 1.
    """
    if top < 1:
        raise ValueError(f"top: got {top}, expected 1 or more")
    listed: list[tuple[str, list[tuple[str, float]]]] = []
    for path, probabilities in predictions:
        best = np.argsort(-probabilities, kind="stable")[:top]
        listed.append((str(path), [(class_names[index], float(probabilities[index])) for index in best]))
    records = [
        {kind: image, "classes": [{"class": name, "probability": p} for name, p in classes]}
        for image, classes in listed
    ]
    text = json.dumps(records, indent=2, ensure_ascii=False)
    written = [write_atomically(folder / "predictions.json", lambda file: file.write(text.encode()))]
    rows: list[dict[str, Any]] = []
    for image, classes in listed:
        row: dict[str, Any] = {kind: image}
        for rank, (name, probability) in enumerate(classes, start=1):
            row |= {f"class{rank}": name, f"probability{rank}": probability}
        rows.append(row)
    if rows:
        write_table(folder / "predictions.csv", rows)
        written.append(folder / "predictions.csv")
    return written


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities of numpy logits, over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
