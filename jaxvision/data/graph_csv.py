"""A graph in two CSV files of one's own: nodes with features, classes and parts; edges by name."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.core import name_some
from jaxvision.data.graph_edits import symmetrise
from jaxvision.data.graph_splits import split_nodes
from jaxvision.data.graphs import HostGraph, make_graph
from jaxvision.data.node_graphs import PARTS, NodeGraph

__all__ = ["read_graph_csv"]

_MOST_ONE_HOT = 10_000  # nodes without features: [V, V] of float32 would take 400 MB

_LARGEST = float(np.finfo(np.float32).max)

Row = tuple[int, Mapping[str, str]]  # number of the line, text by column


def read_graph_csv(
    nodes_path: str | Path,
    edges_path: str | Path,
    *,
    needs_labels: bool = True,
    directed: bool = False,
    val_share: float = 0.2,
    test_share: float = 0.2,
    split_seed: int = 0,
) -> NodeGraph:
    """Reads nodes and edges from CSV files in UTF-8, each with a header.

    The file of nodes has a column ``id`` (any text); ``label``, the class (empty where it is not known);
    optionally ``split`` with ``train``, ``val``, ``test`` or nothing; every other column is a number, a
    feature. Without any, nodes have one-hot numbers, and a node's feature is named as the node. The file of
    edges has ``source`` and ``target``, ids of nodes, and optionally ``weight``.

    Args:
      nodes_path: the file of nodes.
      edges_path: the file of edges.
      needs_labels: whether classes and parts are read. Else there are none, whatever the file holds, and it
        needs no column ``label``: for links, or to predict.
      directed: whether an edge runs from source to target alone; by default both ways, and equal edges are
        merged.
      val_share: share of each class to validate on, where there is no column ``split``.
      test_share: share of each class to test on, likewise.
      split_seed: of that choice.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if a column is missing, an id is given twice or unknown, a feature or weight is no finite
        number, a part is another word, and as :class:`NodeGraph`; the file and the line are named.
    """
    nodes_path, edges_path = Path(nodes_path), Path(edges_path)
    rows = _read(nodes_path, ("id", "label") if needs_labels else ("id",))
    number: dict[str, int] = {}
    for line, row in rows:
        if not row["id"]:
            raise ValueError(f"{nodes_path}, line {line}: no id, expected a name for each node")
        if row["id"] in number:
            raise ValueError(f"{nodes_path}, line {line}: the id {row['id']!r} is given twice")
        number[row["id"]] = len(number)
    columns = [column for column in rows[0][1] if column not in ("id", "label", "split")] if rows else []
    names: dict[str, Any] = {"node_names": tuple(number), "feature_names": tuple(columns) or tuple(number)}
    graph = _read_edges(edges_path, number, _features(nodes_path, rows, columns))
    graph = graph if directed else symmetrise(graph)
    if not needs_labels:
        none = np.zeros(len(rows), bool)
        return NodeGraph(graph, np.full(len(rows), -1, np.int32), (), none, none, none, **names)
    class_names = sorted({row["label"] for _, row in rows if row["label"]}, key=_class_order)
    index_of = {name: index for index, name in enumerate(class_names)}
    labels = np.array([index_of.get(row["label"], -1) for _, row in rows], np.int32)
    try:
        masks = _masks(nodes_path, rows)
        if masks is None:
            rng = np.random.default_rng(split_seed)
            masks = split_nodes(labels, val_share, test_share, rng=rng)
        return NodeGraph(graph, labels, tuple(class_names), *masks, **names)
    except ValueError as error:
        if str(error).startswith(str(nodes_path)):
            raise
        raise ValueError(f"{nodes_path}: {error}") from error


def _read(path: Path, needed: Sequence[str]) -> list[Row]:
    """The lines below the header, blanks around values left out."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        rows = list(_rows(path, needed))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}; expected a CSV file in UTF-8") from error
    return rows


def _rows(path: Path, needed: Sequence[str]) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark at the start
        reader = csv.reader(file, strict=True)
        header = [column.strip() for column in next(reader, [])]
        missing = [column for column in needed if column not in header]
        if missing:
            raise ValueError(
                f"{path}, line 1: no column {' and no column '.join(map(repr, missing))}, the header holds "
                f"{name_some([repr(column) for column in header]) or 'nothing'}"
            )
        twice = sorted({column for column in header if header.count(column) > 1})
        if twice:
            raise ValueError(f"{path}, line 1: the column {twice[0]!r} is there twice, expected it once")
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(values)} values, expected {len(header)} as in the "
                    "header"
                )
            yield reader.line_num, dict(zip(header, map(str.strip, values), strict=True))


def _features(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> np.ndarray:
    if not rows:
        raise ValueError(f"{path}: no line below the header, expected one a node")
    if not columns:
        if len(rows) > _MOST_ONE_HOT:
            raise ValueError(
                f"{path}: {len(rows)} nodes without a feature, and one-hot numbers are for at most "
                f"{_MOST_ONE_HOT}; add columns of features, such as the degree"
            )
        return np.eye(len(rows), dtype=np.float32)
    values = [[_number(path, line, column, row[column]) for column in columns] for line, row in rows]
    return np.array(values, np.float32)


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not abs(value) <= _LARGEST:  # nan is not either
        raise ValueError(f"{path}, line {line}: {column} is {text!r}, expected a finite number")
    return value


def _class_order(name: str) -> tuple[int, int, str]:
    """Integers in the order of their values, before all other names."""
    is_integer = name.removeprefix("-").isdecimal()
    return (0, int(name), name) if is_integer else (1, 0, name)


def _masks(path: Path, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    if "split" not in rows[0][1]:
        return None
    for line, row in rows:
        if row["split"] not in (*PARTS, ""):
            raise ValueError(
                f"{path}, line {line}: split is {row['split']!r}, expected train, val, test or nothing"
            )
    train, val, test = (np.array([row["split"] == part for _, row in rows]) for part in PARTS)
    return train, val, test


def _read_edges(path: Path, number: Mapping[str, int], features: np.ndarray) -> HostGraph:
    rows = _read(path, ("source", "target"))
    for line, row in rows:
        for end in ("source", "target"):
            if row[end] not in number:
                raise ValueError(f"{path}, line {line}: {end} {row[end]!r} is no id in the file of nodes")
    ends = np.array([[number[row["source"]], number[row["target"]]] for _, row in rows], np.int64)
    senders, receivers = ends.reshape(-1, 2).T
    weights = None
    if rows and "weight" in rows[0][1]:
        weights = [_number(path, line, "weight", row["weight"]) for line, row in rows]
    return make_graph(senders, receivers, nodes=features, edges=weights, name=str(path))
