"""Many graphs, each of a class: folders in the format of TU Dortmund, and a generated set."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.core import name_some
from jaxvision.data.classification_sources import check_class_names
from jaxvision.data.graph_edits import degrees, symmetrise
from jaxvision.data.graphs import HostGraph, check_host_graph, make_graph

__all__ = ["GraphSet", "degree_features", "motif_graphs", "read_tu_folder"]

MOTIFS = ("tree", "ring", "ladder", "communities")
"""Classes of the generated set."""


@dataclasses.dataclass(frozen=True)
class GraphSet:
    """Graphs with a class each.

    Attributes:
      graphs: N graphs of numpy arrays, without padding, all with the same features.
      labels: integers ``[N]``, class indices.
      class_names: names by index; none of graphs without classes, whose labels are all -1.
      encoding: how labels and degrees became features, for :func:`read_tu_folder` to read other graphs alike;
        empty where nothing was encoded.

    Raises:
      ValueError: if there is no graph, a size does not fit, or a label is no class.
    """

    graphs: Sequence[HostGraph]
    labels: np.ndarray
    class_names: tuple[str, ...]
    encoding: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.class_names:
            check_class_names(self.class_names, "classes of the graphs")
        labels = np.asarray(self.labels)
        if not len(self.graphs) or labels.shape != (len(self.graphs),) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{len(self.graphs)} graphs and labels {labels.dtype} {list(labels.shape)}, expected N > 0 "
                "graphs and integers [N]"
            )
        least = 0 if self.class_names else -1
        wrong = np.flatnonzero((labels < least) | (labels >= len(self.class_names)))
        if len(wrong):
            raise ValueError(
                f"labels: {labels[wrong[0]]} at graph {wrong[0]} ({len(wrong)} such labels), expected "
                f"0..{len(self.class_names) - 1}"
            )
        for index, graph in enumerate(self.graphs):
            check_host_graph(graph, name=f"graph {index}")

    @property
    def num_features(self) -> int:
        """Features of a node."""
        return int(self.graphs[0].nodes.shape[1])

    def __len__(self) -> int:
        return len(self.graphs)

    def take(self, indices: np.ndarray) -> "GraphSet":
        """The graphs at some positions; classes stay as they are."""
        return dataclasses.replace(
            self, graphs=[self.graphs[int(i)] for i in indices], labels=self.labels[indices]
        )


def degree_features(graph: HostGraph, *, most: int) -> HostGraph:
    """The graph with one-hot in-degrees as features: for graphs that have none.

    Args:
      graph: of numpy arrays.
      most: larger degrees count as this one; F is ``most + 1``.

    References:
      Xu et al. 2019, "How Powerful are Graph Neural Networks?", section 7: social networks.
    """
    return graph._replace(nodes=np.eye(most + 1, dtype=np.float32)[np.minimum(degrees(graph), most)])


def read_tu_folder(
    folder: str | Path,
    *,
    most_degrees: int = 64,
    needs_labels: bool = True,
    encoding: Mapping[str, Any] | None = None,
) -> GraphSet:
    """Reads a folder ``DS`` of files ``DS_A.txt``, ``DS_graph_indicator.txt``, ``DS_graph_labels.txt``.

    ``A`` holds an edge a line, "sender, receiver", numbered from 1 over all graphs; ``graph_indicator`` the
    graph of each node, numbered from 1 and ascending; ``graph_labels`` an integer class of each graph.
    Optional: ``node_attributes`` and ``node_labels`` (one-hot, one a column) become the features of nodes,
    side by side; where both are missing, nodes have one-hot degrees. ``edge_attributes`` and ``edge_labels``
    (one-hot) become the features of edges.

    Args:
      folder: holds the files; their names start with the folder's name, or all with the same word.
      most_degrees: of one-hot degrees; larger ones count as this.
      needs_labels: whether ``graph_labels`` is read; else the graphs have no classes, to predict them.
      encoding: ``GraphSet.encoding`` of the graphs that a network was trained on: labels and degrees become
        the same columns here. By default it is made of this folder.

    Raises:
      FileNotFoundError: if the folder or a file is missing.
      ValueError: if a line does not hold the numbers expected, a file has another number of lines than there
        are nodes, edges or graphs, a label is none of the encoding's, a node is in no graph, an edge runs
        between two graphs, or an index is out of range; the file and the line are named.

    References:
      Morris et al. 2020, "TUDataset: A collection of benchmark datasets for learning with graphs".
    """
    folder = Path(folder)
    start = _common_start(folder)

    def path(part: str) -> Path:
        return folder / f"{start}_{part}.txt"

    graph_of = _read_integers(path("graph_indicator"))[:, 0] - 1  # [V]
    classes = _read_integers(path("graph_labels"))[:, 0] if needs_labels else None  # [N]
    ends = _read_integers(path("A"), columns=2) - 1  # [E, 2]
    num_nodes = len(graph_of)
    num_graphs = int(graph_of.max(initial=-1)) + 1 if classes is None else len(classes)
    _check_lines(
        path("graph_indicator"), (graph_of < 0) | (graph_of >= num_graphs), f"no graph of {num_graphs}"
    )
    falls = np.concatenate([np.zeros(1, bool), np.diff(graph_of) < 0])
    _check_lines(
        path("graph_indicator"), falls, "below the line before, expected ascending numbers of graphs"
    )
    outside = ((ends < 0) | (ends >= num_nodes)).any(axis=1)
    _check_lines(path("A"), outside, f"an end that is no node of 1..{num_nodes}")
    crossing = graph_of[ends[:, 0]] != graph_of[ends[:, 1]]
    _check_lines(path("A"), crossing, "an edge between two graphs")
    encoding = {} if encoding is None else dict(encoding)
    nodes = _optional_features(path, "node", num_nodes, encoding)
    edges = _optional_features(path, "edge", len(ends), encoding)
    graphs = _divide(graph_of, ends, nodes, edges, num_graphs)
    if nodes is None:
        largest = max((int(degrees(graph).max(initial=0)) for graph in graphs), default=0)
        most = encoding.setdefault("most_degree", min(largest, most_degrees))
        graphs = [degree_features(graph, most=most) for graph in graphs]
    values, labels = np.unique(classes, return_inverse=True) if classes is not None else ((), None)
    labels = np.full(num_graphs, -1) if labels is None else labels
    try:
        return GraphSet(graphs, labels.astype(np.int32), tuple(map(str, map(int, values))), encoding)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _common_start(folder: Path) -> str:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    starts = sorted(path.name.removesuffix("_A.txt") for path in folder.glob("*_A.txt"))
    if folder.name in starts:
        return folder.name
    if len(starts) != 1:
        raise FileNotFoundError(
            f"{folder}: {len(starts)} files that end in _A.txt, expected one: {folder.name}_A.txt"
        )
    return starts[0]


def _read_numbers(path: Path, *, columns: int | None = None) -> np.ndarray:
    """float64 ``[lines, columns]``: a file of numbers between commas."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {error}; expected a text file of numbers") from error
    rows: list[list[float]] = []
    for index, line in enumerate(lines):
        try:
            row = [float(word) for word in line.split(",")]
        except ValueError as error:
            raise ValueError(
                f"{path}, line {index + 1}: {line!r}, expected numbers between commas"
            ) from error
        width = columns or len(rows[0] if rows else row)
        if len(row) != width:
            raise ValueError(f"{path}, line {index + 1}: {len(row)} numbers, expected {width}")
        rows.append(row)
    return np.array(rows, np.float64).reshape(len(rows), -1 if rows else (columns or 1))


def _read_integers(path: Path, *, columns: int | None = 1) -> np.ndarray:
    values = _read_numbers(path, columns=columns)
    broken = ~np.isfinite(values) | (values != np.round(values))
    _check_lines(path, broken.any(axis=1), "no integer")
    return values.astype(np.int64)


def _check_lines(path: Path, wrong: Any, what: str) -> None:
    found = np.flatnonzero(wrong)
    if len(found):
        raise ValueError(f"{path}, line {found[0] + 1}: {what} ({len(found)} such lines)")


def _optional_features(
    path: Callable[[str], Path], kind: str, count: int, encoding: dict[str, Any]
) -> np.ndarray | None:
    """Attributes and one-hot labels of all nodes, or all edges, side by side; None if there are neither.

    Labels are encoded as ``encoding`` says, which learns of them if it does not.
    """
    parts = []
    for name, read in ((f"{kind}_attributes", _read_numbers), (f"{kind}_labels", _read_integers)):
        file = path(name)
        if not file.is_file():
            continue
        values = read(file, columns=None)
        if len(values) != count:
            raise ValueError(f"{file}: {len(values)} lines, expected {count}, one for each {kind}")
        _check_lines(file, ~np.isfinite(values).all(axis=1), "nan or infinite, expected finite numbers")
        if name.endswith("labels"):
            kinds = encoding.setdefault(name, [np.unique(column).tolist() for column in values.T])
            values = _one_hot(file, values, kinds)
        parts.append(values.astype(np.float32))
    return np.concatenate(parts, axis=1) if parts else None


def _one_hot(file: Path, values: np.ndarray, kinds: Sequence[Sequence[int]]) -> np.ndarray:
    """Integers ``[lines, columns]``, each column as one number a kind, side by side."""
    if values.shape[1] != len(kinds):
        raise ValueError(f"{file}: {values.shape[1]} columns, expected {len(kinds)} as of the encoding")
    parts = []
    for column, known in zip(values.T, kinds, strict=True):
        is_kind = column[:, None] == np.array(known)[None]  # [lines, kinds]
        _check_lines(
            file, ~is_kind.any(axis=1), f"a label that is none of {name_some(list(map(str, known)))}"
        )
        parts.append(is_kind)
    return np.concatenate(parts, axis=1)


def _divide(
    graph_of: np.ndarray,
    ends: np.ndarray,
    nodes: np.ndarray | None,
    edges: np.ndarray | None,
    num_graphs: int,
) -> list[HostGraph]:
    """The graphs one by one, nodes numbered from 0 in each."""
    starts = np.searchsorted(graph_of, np.arange(num_graphs + 1))
    order = np.argsort(graph_of[ends[:, 0]], kind="stable")
    edge_starts = np.searchsorted(graph_of[ends[order, 0]], np.arange(num_graphs + 1))
    graphs = []
    for index in range(num_graphs):
        first, last = starts[index : index + 2]
        own = order[edge_starts[index] : edge_starts[index + 1]]
        graphs.append(
            make_graph(
                ends[own, 0] - first,
                ends[own, 1] - first,
                num_nodes=int(last - first),
                nodes=None if nodes is None else nodes[first:last],
                edges=None if edges is None else edges[own],
                name=f"graph {index + 1}",
            )
        )
    return graphs


def motif_graphs(count: int, *, rng: np.random.Generator, least: int = 10, most: int = 30) -> GraphSet:
    """Draws graphs of four kinds, as many of each: trees, rings with chords, ladders, and two communities.

    All are connected and have one to one and a half edges a node, so that their sizes tell little; features
    are one-hot degrees.

    Args:
      count: graphs.
      rng: draws them.
      least: nodes of the smallest graph, at least 6.
      most: nodes of the largest.

    Raises:
      ValueError: if there are fewer graphs than kinds, or the sizes do not fit.
    """
    if count < len(MOTIFS) or not 6 <= least <= most:
        raise ValueError(
            f"count {count}, sizes {least} to {most}: expected {len(MOTIFS)} graphs or more, of 6 nodes on"
        )
    labels = np.arange(count, dtype=np.int32) % len(MOTIFS)
    draw = (_tree, _ring, _ladder, _communities)
    graphs = []
    for label in labels:
        size = int(rng.integers(least, most + 1))
        pairs = np.array(draw[label](size, rng))
        order = rng.permutation(size)
        graph = symmetrise(make_graph(order[pairs[:, 0]], order[pairs[:, 1]], num_nodes=size))
        graphs.append(degree_features(graph, most=6))
    return GraphSet(graphs, labels, MOTIFS)


def _tree(size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    return [(int(rng.integers(0, node)), node) for node in range(1, size)]


def _ring(size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    ring = [(node, (node + 1) % size) for node in range(size)]
    chords = [(int(node), int((node + size // 2) % size)) for node in rng.permutation(size)[: size // 6]]
    return ring + chords


def _ladder(size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    half = size // 2
    rails = [(node, node + 1) for node in range(half - 1)]
    rails += [(half + node, half + node + 1) for node in range(half - 1)]
    rungs = [(node, half + node) for node in range(half)]
    return rails + rungs + ([(size - 1, 0)] if size % 2 else [])


def _communities(size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    half = size // 2
    trees = _tree(half, rng) + [(half + one, half + other) for one, other in _tree(size - half, rng)]
    hubs = [(0, node) for node in range(2, half, 2)] + [
        (half, half + node) for node in range(2, size - half, 2)
    ]
    return [*trees, *hubs, (0, half)]
