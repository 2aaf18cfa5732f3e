"""The curve of a learning-rate range test as a PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxvision.core import write_atomically

__all__ = ["plot_rate_range"]


def plot_rate_range(
    path: str | Path,
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    *,
    suggestion: float | None,
) -> Path:
    """Draws the losses over the learning rate, with the suggestion marked.

    Args:
      path: the PNG to be written.
      rates: rising, positive.
      losses: one a rate.
      smoothed: one a rate.
      suggestion: a rate, or None for no mark.

    Returns:
      The path.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color="tab:blue", alpha=0.3, linewidth=1, label="loss of a batch")
    axes.plot(rates, smoothed, color="tab:blue", linewidth=1.8, label="smoothed")
    axes.set_xscale("log")
    least, start = min(smoothed), smoothed[0]
    top = max(float(np.quantile(losses, 0.95)), start)  # the explosion at the end would flatten all else
    axes.set_ylim(least - 0.1 * (top - least + 1e-9), top + 0.1 * (top - least + 1e-9))
    if suggestion is not None:
        axes.axvline(suggestion, color="tab:red", linestyle="--", label=f"suggestion {suggestion:.2g}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.grid(alpha=0.3)
    axes.legend()
    return write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))
