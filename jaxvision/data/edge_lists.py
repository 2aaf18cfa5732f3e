"""Graphs of one's own as lists of edges and of labels; and the barbell graph, whose nodes have twins."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxvision.core import Graph, name_some
from jaxvision.data.graph_edits import symmetrise
from jaxvision.data.graphs import make_graph

__all__ = ["EdgeList", "barbell_graph", "read_edge_list", "read_node_labels"]

_HEADERS = ("source", "target", "weight", "id", "label", "node")


@dataclasses.dataclass(frozen=True)
class EdgeList:
    """A graph, the names of its nodes, and the classes of some.

    Attributes:
      graph: numpy arrays, without padding; weights ``[E]``, if any, as ``edges``.
      node_names: V different names.
      labels: int32 ``[V]``, class indices; -1 where the class is not known.
      class_names: names by index; none where nothing is known.
    """

    graph: Graph
    node_names: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...] = ()


def read_edge_list(path: str | Path, *, directed: bool = False) -> EdgeList:
    """Reads a text file of one edge a line: two names of nodes, and a weight or none.

    Blanks, tabs, commas or semicolons stand between them; what follows a ``#`` is left out, and so is a
    header ``source,target``. Nodes are numbered as they come, or by value where all names are integers.

    Args:
      path: the file, in UTF-8.
      directed: whether an edge runs from the first node to the second alone; by default both ways, and equal
        edges are merged.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: with the line, if one has another number of fields than the first, a weight is no finite
        number of 0 or more, the file is not UTF-8 or holds no edge.
    """
    path = Path(path)
    ends: list[tuple[str, str]] = []
    weights: list[float] = []
    size = 0
    for number, fields in _fields(path):
        size = size or len(fields)
        if len(fields) != size or size not in (2, 3):
            raise ValueError(
                f"{path}, line {number}: {len(fields)} fields, expected two names of nodes"
                f"{' and a weight' if size == 3 else ', and perhaps a weight, in every line'}"
            )
        ends.append((fields[0], fields[1]))
        if size == 3:
            weights.append(_weight(path, number, fields[2]))
    if not ends:
        raise ValueError(f"{path}: no edge, expected a line with two names of nodes for each")
    names = _ordered(list(dict.fromkeys(name for pair in ends for name in pair)))
    number_of = {name: index for index, name in enumerate(names)}
    pairs = np.array([[number_of[first], number_of[second]] for first, second in ends])
    graph = make_graph(
        pairs[:, 0], pairs[:, 1], num_nodes=len(names), edges=weights if size == 3 else None, name=str(path)
    )
    return EdgeList(graph if directed else symmetrise(graph), tuple(names), np.full(len(names), -1, np.int32))


def read_node_labels(path: str | Path, edges: EdgeList) -> EdgeList:
    """Reads the classes of nodes: one node a line, its name and its label, as in :func:`read_edge_list`.

    Args:
      path: the file.
      edges: the graph; a node that the file lacks has no label.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: with the line, if it has not two fields, or names a node that is not in the graph or was
        there already.
    """
    path = Path(path)
    number_of = {name: index for index, name in enumerate(edges.node_names)}
    found: dict[int, str] = {}
    for line, fields in _fields(path):
        if len(fields) != 2:
            raise ValueError(
                f"{path}, line {line}: {len(fields)} fields, expected a node's name and its label"
            )
        if fields[0] not in number_of:
            raise ValueError(
                f"{path}, line {line}: no edge has the node {fields[0]!r}, expected one of "
                f"{name_some(edges.node_names)}"
            )
        if number_of[fields[0]] in found:
            raise ValueError(f"{path}, line {line}: the node {fields[0]!r} has a label already")
        found[number_of[fields[0]]] = fields[1]
    if not found:
        raise ValueError(f"{path}: no label, expected a line with a node's name and its label for each")
    names = _ordered(sorted(set(found.values())))
    labels = np.full(len(edges.node_names), -1, np.int32)
    labels[list(found)] = [names.index(name) for name in found.values()]
    return dataclasses.replace(edges, labels=labels, class_names=tuple(names))


def barbell_graph(clique: int, path: int) -> EdgeList:
    """Two complete graphs joined by a path; labels tell which nodes are alike in structure.

    The nodes of the first clique come first, that which the path starts from last; then the path; then the
    second clique, that which the path ends in first. Class 0 are the nodes within the cliques, class 1 the
    two that the path ends in, and each class after that two nodes of the path as far from its ends.

    Args:
      clique: nodes of each complete graph, 2 or more.
      path: nodes between, 0 or more.

    Raises:
      ValueError: if a number is too small.

    References:
      Ribeiro et al. 2017, *struc2vec*, section 4.1: B(10, 10).
    """
    if clique < 2 or path < 0:
        raise ValueError(f"clique {clique}, path {path}: expected 2 or more and 0 or more nodes")
    size = 2 * clique + path
    first, second = np.triu_indices(clique, 1)
    chain = np.arange(clique - 1, clique + path)
    graph = make_graph(
        np.concatenate([first, chain, first + clique + path]),
        np.concatenate([second, chain + 1, second + clique + path]),
        num_nodes=size,
    )
    labels = np.zeros(size, np.int32)
    middle = np.arange(clique - 1, clique + path + 1)
    depth = np.arange(path + 2)
    labels[middle] = 1 + np.minimum(depth, depth[::-1])
    names = ("clique", "end", *(f"path {step}" for step in range(1, (path + 1) // 2 + 1)))
    return EdgeList(symmetrise(graph), tuple(map(str, range(size))), labels, names)


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with path.open(encoding="utf-8-sig") as file:  # spreadsheets put a mark at the start
            is_first = True
            for number, line in enumerate(file, start=1):
                text = line.partition("#")[0]
                for separator in ",;":
                    text = text.replace(separator, " ")
                fields = text.split()
                if not fields:  # a comment or a blank line, which may stand above the header too
                    continue
                is_header = is_first and all(field.lower() in _HEADERS for field in fields)
                is_first = False
                if not is_header:
                    yield number, fields
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); convert it") from error


def _weight(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{path}, line {line}: the weight {text!r}, expected a finite number of 0 or more")
    return value


def _ordered(names: list[str]) -> list[str]:
    """By value where all are integers, else as they are."""
    if all(name.removeprefix("-").isdecimal() for name in names):
        return sorted(names, key=int)
    return names
