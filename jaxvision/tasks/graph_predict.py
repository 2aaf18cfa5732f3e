"""What a trained graph network says of graphs: classes of nodes or graphs, and which pairs are linked."""

import csv
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvision.core import name_some
from jaxvision.data import FullGraphNodes, GraphSetBatches, NodeGraph, remove_self_loops, symmetrise
from jaxvision.data.graph_edits import edge_keys
from jaxvision.tasks.graph import GraphShape
from jaxvision.tasks.graph_report import name_nodes, write_class_predictions, write_link_predictions
from jaxvision.tasks.graph_setup import (
    GraphConfig,
    make_graph_task,
    make_link_task,
    make_node_task,
    node_loader,
    open_graphs,
    open_nodes,
    shape_of,
)
from jaxvision.training import Task

_MOST_NODES = 2000  # of a graph whose pairs are all scored
_PAIRS_AT_ONCE = 2**17


class TrainedRun(NamedTuple):
    """A trained network and what it was made of.

    Attributes:
      path: of the weights.
      config: the options of the run, its data perhaps other files.
      metadata: that stands beside the weights: ``class_names``, and what :func:`run_metadata` made.
      variables: of the network.
    """

    path: Path
    config: GraphConfig
    metadata: Mapping[str, Any]
    variables: Any


def run_metadata(
    shape: GraphShape, *, feature_names: Sequence[str], encoding: Mapping[str, Any]
) -> dict[str, Any]:
    """What is written beside the weights so that other graphs can be read as those trained on: JSON.

    Args:
      shape: of the graphs.
      feature_names: of the nodes' features, where they have names.
      encoding: of :class:`jaxvision.data.GraphSet`.
    """
    edges = None if shape.edge_shape is None else list(shape.edge_shape)
    return {
        "num_features": shape.num_features,
        "edge_shape": edges,
        "feature_names": list(feature_names),
        "encoding": dict(encoding),
    }


def check_graph_fits(
    path: Path, metadata: Mapping[str, Any], shape: GraphShape, *, feature_names: Sequence[str]
) -> None:
    """Checks that a graph carries what the network was trained on.

    Args:
      path: of the weights, for the message.
      metadata: of the weights, with what :func:`run_metadata` made.
      shape: of the graph.
      feature_names: of the graph.

    Raises:
      ValueError: if nodes or edges have other features, or these are in another order.
    """
    if "num_features" not in metadata:
        raise ValueError(f"{path}: an earlier version wrote it, without what the data was like; train again")
    trained = list(metadata["feature_names"])
    if trained and list(feature_names) != trained:
        raise ValueError(
            f"{path}: trained on the features {name_some(trained)}, but the nodes have "
            f"{name_some(list(feature_names)) or 'features without names'}; give the same columns in the "
            "same order. Nodes without features are known by their names, and only those trained on are known"
        )
    if shape.num_features != metadata["num_features"]:
        raise ValueError(
            f"{path}: trained on nodes of {metadata['num_features']} features, those of the graph have "
            f"{shape.num_features}"
        )
    edges = None if shape.edge_shape is None else list(shape.edge_shape)
    if edges != metadata["edge_shape"]:
        words = [_edge_words(found) for found in (metadata["edge_shape"], edges)]
        raise ValueError(
            f"{path}: trained on edges that carry {words[0]}, those of the graph carry {words[1]}"
        )


def _edge_words(shape: Sequence[int] | None) -> str:
    if shape is None:
        return "nothing"
    return f"{shape[0]} features" if shape else "weights"


def predict_nodes(run: TrainedRun, path: Path) -> int:
    """Writes a CSV line for each node of a graph, and returns how many.

    Raises:
      ValueError: if the graph does not fit the network.
    """
    data = open_nodes(run.config, needs_labels=False)
    _check_nodes(run, data)
    loader = node_loader(run.config, data, shards=1, plan=False)
    names = run.metadata["class_names"]
    task = make_node_task(run.config, loader, len(names))
    logits = _predict(task, run.variables, loader.ordered_batches("all"))
    write_class_predictions(path, name_nodes(data), logits, None, names, columns={})
    return len(logits)


def predict_graphs(run: TrainedRun, path: Path) -> int:
    """Writes a CSV line for each graph, and returns how many.

    Raises:
      ValueError: if the graphs do not fit the network.
    """
    config, names = run.config, run.metadata["class_names"]
    found = config.data.open_graphs(needs_labels=False, encoding=run.metadata.get("encoding"))
    graphs = open_graphs(config, found)
    check_graph_fits(run.path, run.metadata, shape_of(graphs.graphs[0]), feature_names=())
    loader = GraphSetBatches(graphs, batch_size=config.data.batch_size)
    task = make_graph_task(config, graphs, len(names))
    logits = _predict(task, run.variables, loader.ordered_batches(graphs))
    rows = [str(index) for index in range(len(graphs))]
    write_class_predictions(path, rows, logits, None, names, columns={})
    return len(logits)


def predict_links(run: TrainedRun, path: Path, *, pairs: Path | None, top: int) -> int:
    """Writes a CSV line for each pair of nodes, and returns how many; messages run over all edges.

    Args:
      run: of ``--task link``.
      path: of the CSV file.
      pairs: CSV file of the pairs; None for those of all pairs without an edge that are most probable.
      top: how many of these.

    Raises:
      ValueError: if the graph does not fit the network, a pair is none of its nodes, or all pairs are asked
        for in a graph of more than 2000 nodes.
    """
    data = open_nodes(run.config, needs_labels=False)
    _check_nodes(run, data)
    data = dataclasses.replace(data, graph=symmetrise(remove_self_loops(data.graph)))  # as in training
    names, size = name_nodes(data), len(data.labels)
    known = edge_keys(data.graph.senders, data.graph.receivers, size)
    if pairs is None and size > _MOST_NODES:
        raise ValueError(
            f"the graph has {size} nodes, and all pairs are looked at up to {_MOST_NODES}; name pairs by "
            "--pairs FILE.csv, with columns source and target"
        )
    if pairs is None:
        chosen = np.stack(np.triu_indices(size, 1), axis=1)
        chosen = chosen[~np.isin(edge_keys(chosen[:, 0], chosen[:, 1], size), known)]
        logits = _pair_logits(run, data, chosen)
        best = np.argsort(-logits, kind="stable")[:top]
        chosen, logits = chosen[best], logits[best]
    else:
        chosen = read_pairs(pairs, names)
        logits = _pair_logits(run, data, chosen)
    is_edge = np.isin(edge_keys(chosen[:, 0], chosen[:, 1], size), known)
    write_link_predictions(path, chosen, logits, is_edge, names)
    return len(logits)


def _check_nodes(run: TrainedRun, data: NodeGraph) -> None:
    check_graph_fits(run.path, run.metadata, shape_of(data.graph), feature_names=data.feature_names)


def _predict(task: Task, variables: Any, batches: Iterable[Any]) -> np.ndarray:
    """What a network says of all that batches hold, in order: ``[N, K]``."""
    predict = jax.jit(task.predict)
    return np.concatenate([np.asarray(predict(variables, batch))[batch["where"]] for batch in batches])


def _pair_logits(run: TrainedRun, data: NodeGraph, pairs: np.ndarray) -> np.ndarray:
    """Logits ``[M]``, in blocks of one size, so that the network is compiled once."""
    predict = jax.jit(make_link_task(run.config, data.graph).predict)
    whole = FullGraphNodes(data).batch("all")
    block = min(_PAIRS_AT_ONCE, max(len(pairs), 1))
    found = [np.zeros(0, np.float32)]
    for start in range(0, len(pairs), block):
        own = pairs[start : start + block]
        padded = np.zeros((1, block, 2), np.int32)
        padded[0, : len(own)] = own
        batch = {**whole, "pairs": padded, "labels": np.zeros((1, block), np.int32)}
        found.append(np.asarray(predict(run.variables, batch))[0, : len(own)])
    return np.concatenate(found)


def read_pairs(path: Path, names: Sequence[str]) -> np.ndarray:
    """Reads pairs of nodes from a CSV file with columns ``source`` and ``target``: integers ``[M, 2]``.

    Args:
      path: the file, in UTF-8.
      names: of the nodes.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: with the line, if a column is missing, or a name is that of no node.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    number = {name: index for index, name in enumerate(names)}
    pairs: list[list[int]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [end for end in ("source", "target") if end not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(f"{path}, line 1: no column {' and no column '.join(map(repr, missing))}")
            for row in reader:
                ends = [(row[end] or "").strip() for end in ("source", "target")]
                unknown = [end for end in ends if end not in number]
                if unknown:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {unknown[0]!r} is no node of the graph"
                    )
                pairs.append([number[end] for end in ends])
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}; expected a CSV file in UTF-8") from error
    return np.array(pairs, np.int64).reshape(-1, 2)
