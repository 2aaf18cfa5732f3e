"""Nodes of a graph on a plane: where they lie, and a map of them coloured by class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from jaxvision.core import write_atomically

__all__ = ["force_layout", "plot_node_map", "principal_plane"]

_MOST_EDGES = 6000  # lines drawn; more would hide the nodes
_UNKNOWN = (0.75, 0.75, 0.75, 1.0)


def force_layout(
    senders: np.ndarray, receivers: np.ndarray, num_nodes: int, *, steps: int = 100, seed: int = 0
) -> np.ndarray:
    """Places nodes so that those with an edge are near, and all others keep apart.

    Compares all pairs of nodes at each step: for up to about a thousand.

    Args:
      senders: integers ``[E]``.
      receivers: integers ``[E]``.
      num_nodes: V.
      steps: of ever smaller moves.
      seed: of the places to start from.

    Returns:
      float64 ``[V, 2]``, from 0 to 1.

    References:
      Fruchterman and Reingold 1991, "Graph Drawing by Force-directed Placement".

    >>> places = force_layout(np.array([0, 2]), np.array([1, 3]), 4)
    >>> distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    >>> bool(distance[0, 1] < distance[0, 2])
    True
    """
    if num_nodes == 0:
        return np.zeros((0, 2))
    places = np.random.default_rng(seed).random((num_nodes, 2))
    wanted = np.sqrt(1 / num_nodes)  # distance of neighbours
    for step in range(steps):
        apart = places[:, None] - places[None]  # [V, V, 2]
        squared = np.maximum((apart**2).sum(axis=-1), 1e-6)
        forces = (apart * (wanted**2 / squared)[..., None]).sum(axis=1)  # [V, 2]
        along = places[receivers] - places[senders]  # [E, 2]
        pull = along * np.linalg.norm(along, axis=1, keepdims=True) / wanted
        np.add.at(forces, senders, pull)
        np.add.at(forces, receivers, -pull)
        forces -= 0.5 * (places - 0.5)  # parts without an edge between them stay in the picture
        length = np.maximum(np.linalg.norm(forces, axis=1, keepdims=True), 1e-9)
        places = places + forces / length * np.minimum(length, 0.1 * (1 - step / steps))
    return _unit(places)


def principal_plane(vectors: np.ndarray) -> np.ndarray:
    """Coordinates on the two axes along which vectors, or what a network gives, differ most.

    Each axis points to where its largest coordinate is positive, so that the map is the same on any machine.

    Args:
      vectors: floating ``[N, D]``.

    Returns:
      float64 ``[N, 2]``, with mean 0; zeros where there is no second axis.

    >>> principal_plane(np.array([[0.0, 0.0, 1.0], [4.0, 0.0, 1.0], [5.0, 0.0, 1.0]]))[:, 0].round(6).tolist()
    [3.0, -1.0, -2.0]
    """
    vectors = np.asarray(vectors, np.float64)
    points = np.zeros((len(vectors), 2))
    if vectors.size == 0:
        return points
    left, sizes, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    axes = left[:, :2] * sizes[:2]  # [N, 1 or 2]
    points[:, : axes.shape[1]] = axes
    largest = points[np.abs(points).argmax(axis=0), np.arange(2)]
    return points * np.where(largest < 0, -1.0, 1.0)


def plot_node_map(
    path: str | Path,
    places: np.ndarray,
    *,
    labels: np.ndarray,
    predictions: np.ndarray,
    class_names: Sequence[str],
    senders: np.ndarray,
    receivers: np.ndarray,
    where: np.ndarray | None = None,
) -> Path:
    """Draws nodes twice, coloured by their class and by what was predicted; mistakes have a black ring.

    Args:
      path: the PNG to be written.
      places: floating ``[V, 2]``.
      labels: integers ``[V]``; a node of a negative one is grey.
      predictions: integers ``[V]``.
      class_names: names by index.
      senders: integers ``[E]``; of very many edges some are left out.
      receivers: integers ``[E]``.
      where: bool ``[V]``, nodes that are drawn large and with rings, those tested on; by default all.

    Returns:
      The path.

    Raises:
      ValueError: if the sizes do not fit.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if places.shape != (len(labels), 2) or predictions.shape != labels.shape:
        raise ValueError(
            f"places {list(places.shape)}, labels {list(labels.shape)}, predictions "
            f"{list(predictions.shape)}: expected [V, 2], [V] and [V]"
        )
    looked_at = np.ones(len(labels), bool) if where is None else where
    once = senders < receivers
    ends = np.stack([senders[once], receivers[once]], axis=1)
    if len(ends) > _MOST_EDGES:
        ends = ends[np.linspace(0, len(ends) - 1, _MOST_EDGES).astype(int)]
    wrong = looked_at & (labels >= 0) & (labels != predictions)
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, title, classes in ((left, "class", labels), (right, "prediction", predictions)):
        axes.add_collection(LineCollection(places[ends], colors="0.6", linewidths=0.4, alpha=0.4))
        _draw(axes, places, classes, looked_at, len(class_names))
        axes.set_title(title)
    rings = places[wrong]
    right.scatter(rings[:, 0], rings[:, 1], s=26, facecolors="none", edgecolors="black", linewidths=0.8)
    for index, name in enumerate(class_names[:20]):
        left.scatter([], [], color=_colour(index, len(class_names)), label=name)
    right.scatter([], [], facecolors="none", edgecolors="black", label="mistake")
    figure.legend(loc="outside lower center", ncols=8, fontsize=8)
    return write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def _draw(
    axes: Axes, places: np.ndarray, classes: np.ndarray, looked_at: np.ndarray, num_classes: int
) -> None:
    colours = np.array([_colour(int(index), num_classes) for index in classes]).reshape(-1, 4)
    for mask, size, alpha in ((~looked_at, 6, 0.35), (looked_at, 18, 0.9)):
        x, y = places[mask].T
        axes.scatter(x, y, s=size, c=colours[mask], alpha=alpha, linewidths=0, zorder=2)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")


def _colour(index: int, num_classes: int) -> tuple[float, ...]:
    if index < 0:
        return _UNKNOWN
    return colormaps["tab10" if num_classes <= 10 else "tab20"](index % 20)


def _unit(places: np.ndarray) -> np.ndarray:
    """Stretched to the square from 0 to 1; a direction without extent to its middle."""
    low, high = (places.min(axis=0), places.max(axis=0)) if len(places) else (np.zeros(2), np.ones(2))
    extent = high - low
    flat = extent < 1e-9
    return np.where(flat, 0.5, (places - low) / np.where(flat, 1, extent))
