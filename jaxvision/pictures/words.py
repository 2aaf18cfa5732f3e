"""A map of words as a PNG: each word where two numbers put it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxvision.core import write_atomically

__all__ = ["plot_word_map"]


def plot_word_map(path: str | Path, words: Sequence[str], points: np.ndarray, *, title: str) -> Path:
    """Draws words at their points; those that come first lie on top and are drawn in a stronger tone.

    Args:
      path: the PNG to be written.
      words: N of them, the most frequent first.
      points: finite, ``[N, 2]``.
      title: above the map.

    Returns:
      The path.

    Raises:
      ValueError: if there is no word, not one point a word, or a point is not finite.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (len(words), 2) or not len(words):
        raise ValueError(f"points: expected [{max(len(words), 1)}, 2], got {list(points.shape)}")
    if not np.isfinite(points).all():
        raise ValueError("points: expected finite numbers; the vectors hold some that are not")
    figure = Figure(figsize=(14, 14), layout="constrained")
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], s=4, color="0.7", linewidths=0)
    for rank, (word, (x, y)) in reversed(list(enumerate(zip(words, points, strict=True)))):
        tone = 0.45 * rank / len(words)
        # Without parse_math=False a dollar sign would start a formula.
        axes.text(x, y, word, fontsize=8, color=str(tone), ha="center", va="center", parse_math=False)
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    return write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=100))
