"""A summary of a network as text, as a table for other programs, and as a picture."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxvision.core import write_atomically
from jaxvision.inspect.summary import Layer, total
from jaxvision.inspect.trace import Field, Shape

_HEADER = ("layer", "type", "output", "parameters", "MACs", "memory", "field")


def format_table(layers: Iterable[Layer]) -> str:
    """An aligned table of text, one line a layer and one for the total.

    Products are given in thousands, millions or billions, memory in KiB, MiB or GiB, receptive fields in
    pixels; ``-`` is a field of the whole image.

    Args:
      layers: as :func:`jaxvision.inspect.summarize` gives them.

    Raises:
      ValueError: if there are no layers.

    >>> shapes = ((1, 8, 8, 3),), ((1, 8, 8, 4),)
    >>> print(format_table([Layer("conv", "Conv", *shapes, 112, 6912, (3, 3), 1024)]))
    layer  type  output   parameters    MACs   memory  field
    conv   Conv  1x8x8x4         112  6.91 K  1.0 KiB    3x3
    total                        112  6.91 K  1.0 KiB    3x3
    """
    layers = tuple(layers)
    rows = [_HEADER, *(_cells(layer) for layer in layers), _cells(total(layers)._replace(outputs=()))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        words = [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        lines.append("  ".join([*words, *numbers]).rstrip())
    return "\n".join(lines)


def write_csv(path: str | Path, layers: Iterable[Layer]) -> Path:
    """Writes exact numbers, one line a layer, without a total.

    Columns: ``layer, type, inputs, outputs, parameters, macs, flops, activation_bytes, receptive_field``. A
    shape is ``1x8x8x4``, several are separated by a space; a receptive field is ``3x3``, or empty where it is
    the whole image.

    Args:
      path: of the file; folders on the way are made.
      layers: as :func:`jaxvision.inspect.summarize` gives them.

    Returns:
      The path.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["layer", "type", "inputs", "outputs", "parameters", "macs", "flops", "activation_bytes"]
    writer.writerow([*columns, "receptive_field"])
    for layer in layers:
        shapes = (_shapes(layer.inputs), _shapes(layer.outputs))
        numbers = (layer.parameters, layer.macs, layer.flops, layer.activation_bytes)
        writer.writerow([layer.path, layer.kind, *shapes, *numbers, _field(layer.receptive_field, "")])
    return write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def plot_summary(path: str | Path, layers: Iterable[Layer], *, title: str = "") -> Path:
    """Draws parameters, products and memory of each layer as bars, and its receptive field as a line.

    Layers without products (normalisations, dropout) are left out, if there are others.

    Args:
      path: of the PNG; folders on the way are made.
      layers: as :func:`jaxvision.inspect.summarize` gives them.
      title: above the picture; the totals are added to it.

    Returns:
      The path.

    Raises:
      ValueError: if there are no layers.
    """
    from matplotlib.figure import Figure

    layers = tuple(layers)
    whole = total(layers)
    shown = [layer for layer in layers if layer.macs] or list(layers)
    figure = Figure(figsize=(15, min(2.0 + 0.2 * len(shown), 60)), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True)
    rows = range(len(shown))
    for axes, name, colour, values in zip(panels, *_bars(shown), strict=False):
        axes.barh(rows, values, color=colour)
        axes.set_title(name)
    _draw_fields(panels[3], [layer.receptive_field for layer in shown])
    panels[0].set_yticks(rows, [layer.path or layer.kind for layer in shown], fontsize=8)
    panels[0].set_ylim(len(shown) - 0.5, -0.5)  # the first layer on top
    for axes in panels:
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    memory = _memory(whole.activation_bytes)
    sums = f"{whole.parameters:,} parameters, {_amount(whole.macs)}MACs, {memory} of activations"
    figure.suptitle(f"{title}: {sums}" if title else sums)
    return write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def _bars(layers: Sequence[Layer]) -> tuple[Sequence[str], Sequence[str], Sequence[list[float]]]:
    """Name, colour and values of each panel of bars."""
    return (
        ("parameters (millions)", "MACs (millions)", "activations (MiB)"),
        ("#3b6ea8", "#c8553d", "#5a8f4f"),
        (
            [layer.parameters / 1e6 for layer in layers],
            [layer.macs / 1e6 for layer in layers],
            [layer.activation_bytes / 2**20 for layer in layers],
        ),
    )


def _draw_fields(axes: Any, fields: Sequence[Field]) -> None:
    """One line for each axis of the image; axes with the same numbers share one."""
    rank = max((len(field) for field in fields if field is not None), default=0)
    lines: dict[tuple[float, ...], list[str]] = {}
    names = {1: ("time",), 2: ("height", "width"), 3: ("time", "height", "width")}.get(rank, ())
    for axis, name in enumerate(names):
        values = tuple(float("nan") if field is None else float(field[axis]) for field in fields)
        lines.setdefault(tuple(-1.0 if value != value else value for value in values), []).append(name)
    for values, shared in lines.items():
        pixels = [float("nan") if value < 0 else value for value in values]
        axes.plot(
            pixels, range(len(pixels)), marker="o", markersize=3, linewidth=1.2, label=", ".join(shared)
        )
    for row, field in enumerate(fields):
        if field is None:
            axes.text(0.02, row, "whole image", transform=axes.get_yaxis_transform(), va="center", fontsize=7)
    axes.set_title("receptive field (pixels)")
    axes.set_xlim(left=0)
    if len(lines) > 1:
        axes.legend(fontsize=8)


def _cells(layer: Layer) -> tuple[str, ...]:
    return (
        layer.path or "(network)",
        layer.kind,
        _shapes(layer.outputs),
        f"{layer.parameters:,}",
        _amount(layer.macs).strip(),
        _memory(layer.activation_bytes),
        _field(layer.receptive_field, "-"),
    )


def _shapes(shapes: Iterable[Shape]) -> str:
    return " ".join("x".join(map(str, shape)) or "scalar" for shape in shapes)


def _field(field: Field, nothing: str) -> str:
    return nothing if field is None else "x".join(map(str, field))


def _amount(number: int) -> str:
    """``1.85 G``; a space also where there is no letter, for a unit to follow."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= size:
            return f"{number / size:.2f} {letter}"
    return f"{number} "


def _memory(size: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"
