"""What is done to a graph on the host before it is trained on: loops, directions, degrees, neighbourhoods.

Each function takes a graph of numpy arrays and gives a new one; padding is left out (``pad_graph`` comes last),
and edges stay in the order of their receivers.
"""

from typing import Any, Literal

import numpy as np

from jaxvision.core import Graph
from jaxvision.data.graphs import unpad_graph

__all__ = [
    "add_self_loops",
    "coalesce",
    "degrees",
    "k_hop_nodes",
    "normalise_edges",
    "normalise_rows",
    "remove_self_loops",
    "sort_by_receiver",
    "subgraph",
    "symmetrise",
]


def sort_by_receiver(graph: Graph) -> Graph:
    """Puts edges in the order of their receivers; those of one receiver stay in their order.

    >>> from jaxvision.data.graphs import make_graph
    >>> graph = make_graph([0, 1], [0, 1], num_nodes=2)._replace(receivers=np.array([1, 0]))
    >>> sort_by_receiver(graph).senders.tolist()
    [1, 0]
    """
    graph = unpad_graph(graph)
    return _with_edges(graph, graph.senders, graph.receivers, graph.edges)


def remove_self_loops(graph: Graph) -> Graph:
    """Leaves out edges from a node to itself.

    >>> from jaxvision.data.graphs import make_graph
    >>> remove_self_loops(make_graph([0, 1], [0, 0], num_nodes=2)).senders.tolist()
    [1]
    """
    graph = unpad_graph(graph)
    kept = graph.senders != graph.receivers
    edges = None if graph.edges is None else graph.edges[kept]
    return _with_edges(graph, graph.senders[kept], graph.receivers[kept], edges)


def add_self_loops(graph: Graph, *, fill: float = 1.0) -> Graph:
    """Gives an edge to itself to every node that has none: as ``add_remaining_self_loops`` of PyG.

    Args:
      graph: of numpy arrays.
      fill: weight, or each feature, of a new loop, where edges carry any.

    >>> from jaxvision.data.graphs import make_graph
    >>> add_self_loops(make_graph([0, 1], [0, 0], num_nodes=2)).receivers.tolist()
    [0, 0, 1]
    """
    graph = unpad_graph(graph)
    looped = graph.senders[graph.senders == graph.receivers]
    new = np.setdiff1d(np.arange(len(graph.nodes), dtype=np.int32), looped)
    edges = None
    if graph.edges is not None:
        filled = np.full((len(new), *graph.edges.shape[1:]), fill, np.float32)
        edges = np.concatenate([graph.edges, filled])
    return _with_edges(
        graph, np.concatenate([graph.senders, new]), np.concatenate([graph.receivers, new]), edges
    )


def symmetrise(graph: Graph) -> Graph:
    """Adds to every edge the one that runs back, then merges equal ones: an undirected graph.

    An edge that was there both ways stays once each way; where the two carried different weights or features,
    both ways carry their mean. So do edges that were there several times.

    >>> from jaxvision.data.graphs import make_graph
    >>> graph = symmetrise(make_graph([0, 1, 2], [1, 0, 1], num_nodes=3))
    >>> graph.senders.tolist(), graph.receivers.tolist()
    ([1, 0, 2, 1], [0, 1, 1, 2])
    """
    graph = unpad_graph(graph)
    edges = None if graph.edges is None else np.concatenate([graph.edges, graph.edges])
    both = _with_edges(
        graph,
        np.concatenate([graph.senders, graph.receivers]),
        np.concatenate([graph.receivers, graph.senders]),
        edges,
    )
    return coalesce(both, reduce="mean")


def coalesce(graph: Graph, *, reduce: Literal["sum", "mean", "first"] = "sum") -> Graph:
    """Merges edges of the same sender and receiver; the result is sorted by receiver, then sender.

    Args:
      graph: of numpy arrays.
      reduce: what becomes of the weights or features of merged edges.

    >>> from jaxvision.data.graphs import make_graph
    >>> graph = make_graph([0, 0, 1], [1, 1, 0], num_nodes=2, edges=[1.0, 2.0, 5.0])
    >>> coalesce(graph).edges.tolist()
    [5.0, 3.0]
    """
    if reduce not in ("sum", "mean", "first"):
        raise ValueError(f"reduce: expected 'sum', 'mean' or 'first', got {reduce!r}")
    graph = unpad_graph(graph)
    keys = edge_keys(graph.receivers, graph.senders, len(graph.nodes))
    unique, first, place = np.unique(keys, return_index=True, return_inverse=True)
    edges = None
    if graph.edges is not None and reduce == "first":
        edges = graph.edges[first]
    elif graph.edges is not None:
        edges = np.zeros((len(unique), *graph.edges.shape[1:]), np.float64)
        np.add.at(edges, place, graph.edges)
        if reduce == "mean":
            counts = np.bincount(place, minlength=len(unique)).astype(np.float64)
            edges = edges / counts.reshape(-1, *[1] * (edges.ndim - 1))
        edges = edges.astype(np.float32)
    return _with_edges(graph, graph.senders[first], graph.receivers[first], edges)


def degrees(graph: Graph, *, direction: Literal["in", "out"] = "in", weighted: bool = False) -> np.ndarray:
    """Number of real edges that end (or start) at each node.

    Args:
      graph: padded or not.
      direction: "in" for edges that end there.
      weighted: add the weights instead of counting; each edge weighs 1 where there are none.

    Returns:
      ``[V]``, int64, or float64 if ``weighted``; 0 at padding.

    Raises:
      ValueError: if ``weighted`` and edges carry features instead of a weight.

    >>> from jaxvision.data.graphs import make_graph
    >>> degrees(make_graph([0, 1, 2], [1, 0, 0], num_nodes=4)).tolist()
    [2, 1, 0, 0]
    """
    real = np.asarray(graph.where_edges)
    ends = np.asarray(graph.receivers if direction == "in" else graph.senders)[real]
    if not weighted:
        return np.bincount(ends, minlength=len(graph.nodes))
    return np.bincount(ends, weights=_weights(graph)[real], minlength=len(graph.nodes))


def normalise_edges(graph: Graph, *, how: Literal["symmetric", "receiver", "sender"] = "symmetric") -> Graph:
    r"""Gives each edge its weight in a normalised adjacency matrix.

    .. math:: \hat w_{ij} = w_{ij} / \sqrt{d_i d_j}, \quad w_{ij} / d_j, \quad w_{ij} / d_i

    for an edge from i to j: ``symmetric``, ``receiver`` (each node averages what it receives) and ``sender``
    (each node shares out what it sends: a random walk). The degree is the sum of the weights that arrive, for
    ``sender`` of those that leave. Add self loops first where the network wants them.

    Args:
      graph: its edges carry weights ``[E]`` or nothing, which counts as 1 each.
      how: which of the three.

    Raises:
      ValueError: if edges carry features, a degree is negative, or ``how`` is another word.

    References:
      Kipf and Welling 2017, "Semi-Supervised Classification with Graph Convolutional Networks", equation 2.

    >>> from jaxvision.data.graphs import make_graph
    >>> normalise_edges(make_graph([0, 1, 2], [1, 0, 0], num_nodes=3), how="receiver").edges.tolist()
    [0.5, 0.5, 1.0]
    """
    if how not in ("symmetric", "receiver", "sender"):
        raise ValueError(f"how: expected 'symmetric', 'receiver' or 'sender', got {how!r}")
    graph = unpad_graph(graph)
    weights = _weights(graph)
    degree = degrees(graph, direction="out" if how == "sender" else "in", weighted=True)
    if np.any(degree < 0):
        raise ValueError("normalise_edges: a node has a negative degree; expected weights that are not negative")
    power = -0.5 if how == "symmetric" else -1.0
    scale = np.where(degree > 0, np.where(degree > 0, degree, 1.0) ** power, 0.0)
    if how != "receiver":
        weights = weights * scale[graph.senders]
    if how != "sender":
        weights = weights * scale[graph.receivers]
    return graph._replace(edges=weights.astype(np.float32))


def normalise_rows(features: np.ndarray) -> np.ndarray:
    """Divides each row by its sum, as bags of words are for the GCN; a row that adds up to 0 stays.

    >>> normalise_rows(np.array([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    features = np.asarray(features, np.float32)
    total = features.sum(axis=1, keepdims=True)
    return features / np.where(total == 0, np.float32(1), total)


def k_hop_nodes(
    graph: Graph, seeds: Any, hops: int, *, direction: Literal["in", "out"] = "in"
) -> np.ndarray:
    """Nodes that reach some seed in at most ``hops`` edges: what a network of that many layers sees.

    Args:
      graph: padded or not.
      seeds: integers ``[S]``, nodes.
      hops: 0 or more.
      direction: "out" for nodes that the seeds reach instead.

    Returns:
      int64, ascending; the seeds are among them.

    Raises:
      ValueError: if a seed is no node of the graph.

    >>> from jaxvision.data.graphs import make_graph
    >>> k_hop_nodes(make_graph([0, 1, 2], [1, 2, 3], num_nodes=4), [2], 1).tolist()
    [1, 2]
    """
    seeds = check_nodes(seeds, len(graph.nodes), "seeds")
    real = np.asarray(graph.where_edges)
    ends, starts = np.asarray(graph.receivers)[real], np.asarray(graph.senders)[real]
    if direction == "out":
        ends, starts = starts, ends
    reached = np.zeros(len(graph.nodes), bool)
    reached[seeds] = True
    for _ in range(hops):
        before = reached.sum()
        reached[starts[reached[ends]]] = True
        if reached.sum() == before:
            break
    return np.flatnonzero(reached)


def subgraph(graph: Graph, nodes: Any) -> Graph:
    """The graph of some nodes and all edges between them.

    Args:
      graph: of numpy arrays, without padding.
      nodes: integers ``[n]``, distinct, in the order of their new numbers; ascending where the graph is a batch.

    Raises:
      ValueError: if one is no node of the graph, or is given twice.

    >>> from jaxvision.data.graphs import make_graph
    >>> part = subgraph(make_graph([0, 1, 2], [1, 2, 0], num_nodes=3), [2, 0])
    >>> part.senders.tolist(), part.receivers.tolist()
    ([0], [1])
    """
    nodes = check_nodes(nodes, len(graph.nodes), "nodes")
    if len(np.unique(nodes)) != len(nodes):
        raise ValueError("nodes: the same node is given twice, expected each once")
    number = np.full(len(graph.nodes), -1, np.int64)
    number[nodes] = np.arange(len(nodes))
    senders, receivers = number[graph.senders], number[graph.receivers]
    kept = (senders >= 0) & (receivers >= 0) & np.asarray(graph.where_edges)
    part = graph._replace(
        nodes=graph.nodes[nodes], where_nodes=graph.where_nodes[nodes], graph_ids=graph.graph_ids[nodes]
    )
    edges = None if graph.edges is None else graph.edges[kept]
    return _with_edges(part, senders[kept], receivers[kept], edges)


def edge_keys(first: np.ndarray, second: np.ndarray, num_nodes: int) -> np.ndarray:
    """One int64 a pair of nodes, in the order of ``(first, second)``."""
    return first.astype(np.int64) * num_nodes + second


def check_nodes(nodes: Any, num_nodes: int, name: str) -> np.ndarray:
    """Nodes as int64 ``[n]``.

    Raises:
      ValueError: if one is negative or not below the number of nodes.
    """
    found = np.asarray(nodes)
    found = found.astype(np.int64) if found.size == 0 else found
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ValueError(f"{name}: got {found.dtype} {list(found.shape)}, expected integers [n]")
    if len(found) and (found.min() < 0 or found.max() >= num_nodes):
        raise ValueError(
            f"{name}: got {found.min()} to {found.max()} in a graph of {num_nodes} nodes, expected "
            f"0..{num_nodes - 1}"
        )
    return found.astype(np.int64)


def _weights(graph: Graph) -> np.ndarray:
    if graph.edges is None:
        return np.ones(len(graph.senders))
    if graph.edges.ndim != 1:
        raise ValueError(
            f"edges carry features {list(graph.edges.shape)}, expected a weight [E] each, or nothing; choose "
            "one by graph._replace(edges=graph.edges[:, 0])"
        )
    return np.asarray(graph.edges, np.float64)


def _with_edges(graph: Graph, senders: np.ndarray, receivers: np.ndarray, edges: np.ndarray | None) -> Graph:
    """The graph with other edges, which are put in the order of their receivers."""
    order = np.argsort(receivers, kind="stable")
    return graph._replace(
        senders=senders[order].astype(np.int32),
        receivers=receivers[order].astype(np.int32),
        where_edges=np.ones(len(order), bool),
        edges=None if edges is None else edges[order],
    )
