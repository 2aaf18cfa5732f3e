"""Graphs on the host, from edge lists, NetworkX and SciPy: every index is checked before JAX sees it.

JAX clips an index that is out of range, or drops it, and says nothing. So whatever makes a
:class:`jaxvision.core.Graph` here checks its edges, its features and their sizes, and names the first edge
that is wrong. All arrays are numpy; edges are sorted by their receiver.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from jaxvision.core import Graph

__all__ = [
    "check_host_graph",
    "graph_from_networkx",
    "graph_from_pairs",
    "graph_from_scipy",
    "make_graph",
    "unpad_graph",
]


HostGraph: TypeAlias = Any
"""A :class:`jaxvision.core.Graph` of numpy arrays, which its annotations, of JAX arrays, do not say."""


def host_graph(**arrays: Any) -> HostGraph:
    """A graph of numpy arrays by the names of its fields."""
    return Graph(**arrays)


def make_graph(
    senders: Any,
    receivers: Any,
    *,
    num_nodes: int | None = None,
    nodes: Any = None,
    edges: Any = None,
    name: str = "graph",
) -> HostGraph:
    """Makes one graph of directed edges; give an undirected edge twice, or see ``symmetrise``.

    Args:
      senders: integers ``[E]``, the node where each edge starts.
      receivers: integers ``[E]``, the node where each edge ends.
      num_nodes: V, where there are no features; a node without any edge cannot be guessed from the edges.
      nodes: features ``[V, F]``, kept as float32; by default one feature of value 1.
      edges: weights ``[E]`` or features ``[E, D]``, kept as float32; or None.
      name: of the graph, for messages.

    Returns:
      The graph, numpy arrays, edges in the order of their receivers (edges of one receiver as they came).

    Raises:
      ValueError: if there are not as many senders as receivers, an index is negative or not below V, a
        feature is nan or infinite, or a shape does not fit.

    >>> graph = make_graph([0, 1, 2], [1, 0, 0], num_nodes=3)
    >>> graph.senders.tolist(), graph.receivers.tolist(), graph.nodes.shape
    ([1, 2, 0], [0, 0, 1], (3, 1))
    """
    sent, received = _index_array(senders, f"{name}: senders"), _index_array(receivers, f"{name}: receivers")
    if len(sent) != len(received):
        raise ValueError(
            f"{name}: {len(sent)} senders and {len(received)} receivers, expected one of both an edge"
        )
    if nodes is None:
        if num_nodes is None:
            raise ValueError(f"{name}: give nodes or num_nodes: a node without an edge is not in any edge")
        features = np.ones((num_nodes, 1), np.float32)  # [V, 1]
    else:
        features = _features(nodes, f"{name}: nodes")
        if features.ndim != 2:
            raise ValueError(f"{name}: nodes {list(features.shape)}, expected features [V, F]")
        if num_nodes is not None and num_nodes != len(features):
            raise ValueError(f"{name}: features of {len(features)} nodes, but num_nodes is {num_nodes}")
    check_indices(sent, received, len(features), name=name)
    carried = None if edges is None else _features(edges, f"{name}: edges")
    if carried is not None and (carried.ndim not in (1, 2) or len(carried) != len(sent)):
        raise ValueError(f"{name}: edges {list(carried.shape)} for {len(sent)} edges, expected [E] or [E, D]")
    order = np.argsort(received, kind="stable")
    return host_graph(
        nodes=features,
        senders=sent[order].astype(np.int32),
        receivers=received[order].astype(np.int32),
        where_nodes=np.ones(len(features), bool),
        where_edges=np.ones(len(sent), bool),
        graph_ids=np.zeros(len(features), np.int32),
        where_graphs=np.ones(1, bool),
        edges=None if carried is None else carried[order],
    )


def graph_from_pairs(
    pairs: Any,
    *,
    num_nodes: int | None = None,
    nodes: Any = None,
    edges: Any = None,
    name: str = "graph",
) -> HostGraph:
    """Makes a graph from an edge list.

    Args:
      pairs: integers ``[E, 2]``: sender and receiver of each edge. No edge at all may be ``[]``.
      num_nodes: as in :func:`make_graph`.
      nodes: as in :func:`make_graph`.
      edges: as in :func:`make_graph`.
      name: as in :func:`make_graph`.

    Raises:
      ValueError: if it is no list of pairs, and as :func:`make_graph`.

    >>> graph_from_pairs([(0, 1), (2, 1)], num_nodes=3).senders.tolist()
    [0, 2]
    """
    table = np.asarray(pairs)
    if table.size == 0:
        table = np.zeros((0, 2), np.int64)
    if table.ndim != 2 or table.shape[1] != 2:
        raise ValueError(
            f"{name}: pairs {list(table.shape)}, expected [E, 2]: sender and receiver of each edge"
        )
    return make_graph(table[:, 0], table[:, 1], num_nodes=num_nodes, nodes=nodes, edges=edges, name=name)


def graph_from_scipy(matrix: Any, *, nodes: Any = None, name: str = "graph") -> HostGraph:
    """Makes a graph from a sparse adjacency matrix of SciPy: entry ``[i, j]`` is an edge from i to j.

    Args:
      matrix: sparse ``[V, V]``; its values become weights. Entries that are stored as 0 are edges too, and
        entries stored twice are two edges.
      nodes: features ``[V, F]``, as in :func:`make_graph`.
      name: as in :func:`make_graph`.

    Raises:
      ValueError: if the matrix is not square or not sparse, and as :func:`make_graph`.

    >>> import scipy.sparse
    >>> graph = graph_from_scipy(scipy.sparse.coo_array([[0.0, 2.0], [0.0, 0.0]]))
    >>> graph.senders.tolist(), graph.receivers.tolist(), graph.edges.tolist()
    ([0], [1], [2.0])
    """
    if not hasattr(matrix, "tocoo"):
        raise ValueError(
            f"{name}: got {type(matrix).__name__}, expected a sparse matrix of SciPy; wrap a dense one in "
            "scipy.sparse.coo_array"
        )
    coo = matrix.tocoo()
    if coo.ndim != 2 or coo.shape[0] != coo.shape[1]:
        raise ValueError(f"{name}: matrix {list(coo.shape)}, expected an adjacency matrix [V, V]")
    return make_graph(coo.row, coo.col, num_nodes=coo.shape[0], nodes=nodes, edges=coo.data, name=name)


def graph_from_networkx(
    graph: Any,
    *,
    node_attribute: str | None = None,
    edge_attribute: str | None = None,
    name: str = "graph",
) -> tuple[HostGraph, tuple[Any, ...]]:
    """Makes a graph from one of NetworkX (the extra ``graph`` installs it); parallel edges are kept.

    Args:
      graph: ``networkx.Graph``, ``DiGraph``, ``MultiGraph`` or ``MultiDiGraph``. An undirected edge becomes
        two, an undirected self loop one.
      node_attribute: attribute of every node that holds its features: a number or a sequence of F numbers.
      edge_attribute: attribute of every edge that holds its weight or its features, such as ``"weight"``.
      name: as in :func:`make_graph`.

    Returns:
      The graph, and the nodes of NetworkX in the order of their new numbers.

    Raises:
      ValueError: if a node or an edge lacks the attribute, and as :func:`make_graph`.
    """
    names = tuple(graph.nodes)
    number = {node: index for index, node in enumerate(names)}
    listed = list(graph.edges(data=True))
    if not graph.is_directed():
        listed += [(end, start, data) for start, end, data in listed if start != end]
    edges = None
    if edge_attribute is not None:
        titles = [f"{start!r} - {end!r}" for start, end, _ in listed]
        edges = _attributes([data for _, _, data in listed], edge_attribute, titles, f"{name}: edge")
    nodes = None
    if node_attribute is not None:
        values = [data for _, data in graph.nodes(data=True)]
        nodes = _attributes(values, node_attribute, [repr(node) for node in names], f"{name}: node")
        nodes = nodes.reshape(len(names), -1)  # [V, F]
    senders = np.array([number[start] for start, _, _ in listed], np.int64)
    receivers = np.array([number[end] for _, end, _ in listed], np.int64)
    return make_graph(senders, receivers, num_nodes=len(names), nodes=nodes, edges=edges, name=name), names


def check_host_graph(graph: HostGraph, *, name: str = "graph") -> None:
    """Checks a graph of numpy arrays from elsewhere, before it goes to a device.

    Args:
      graph: padded or not.
      name: of the graph, for messages.

    Raises:
      ValueError: if sizes do not fit, an index is negative or out of range, edges are not in the order of
        their receivers, or a feature of what is real is nan or infinite.
    """
    num_nodes, num_edges = len(graph.nodes), len(graph.senders)
    sizes = {
        "receivers": (graph.receivers, num_edges, "senders"),
        "where_edges": (graph.where_edges, num_edges, "senders"),
        "edges": (graph.edges, num_edges, "senders"),
        "where_nodes": (graph.where_nodes, num_nodes, "nodes"),
        "graph_ids": (graph.graph_ids, num_nodes, "nodes"),
    }
    for field, (array, size, other) in sizes.items():
        if array is not None and len(array) != size:
            raise ValueError(f"{name}: {len(array)} {field} and {size} {other}, expected as many of both")
    check_indices(np.asarray(graph.senders), np.asarray(graph.receivers), num_nodes, name=name)
    if np.any(np.diff(graph.receivers) < 0):
        raise ValueError(f"{name}: edges are not in the order of their receivers; see sort_by_receiver")
    ids = np.asarray(graph.graph_ids)
    if num_nodes and (ids.min() < 0 or ids.max() >= len(graph.where_graphs) or np.any(np.diff(ids) < 0)):
        raise ValueError(
            f"{name}: graph_ids from {ids.min()} to {ids.max()}, expected ascending numbers in "
            f"0..{len(graph.where_graphs) - 1}"
        )
    check_finite(np.asarray(graph.nodes)[graph.where_nodes], f"{name}: nodes")
    if graph.edges is not None:
        check_finite(np.asarray(graph.edges)[graph.where_edges], f"{name}: edges")


def unpad_graph(graph: HostGraph) -> HostGraph:
    """The graph without its padding: real nodes, edges and graphs, numbered anew.

    Raises:
      ValueError: if a real edge ends at a node that is none, or a real node is of a graph that is none.

    >>> graph = make_graph([0], [1], num_nodes=3)._replace(where_nodes=np.array([True, True, False]))
    >>> len(unpad_graph(graph).nodes)
    2
    """
    where_nodes, where_edges = np.asarray(graph.where_nodes), np.asarray(graph.where_edges)
    where_graphs = np.asarray(graph.where_graphs)
    _check_masks(graph, where_nodes, where_edges, where_graphs)
    number = np.cumsum(where_nodes) - 1
    graph_number = np.cumsum(where_graphs) - 1
    return host_graph(
        nodes=np.asarray(graph.nodes)[where_nodes],
        senders=number[np.asarray(graph.senders)[where_edges]].astype(np.int32),
        receivers=number[np.asarray(graph.receivers)[where_edges]].astype(np.int32),
        where_nodes=np.ones(where_nodes.sum(), bool),
        where_edges=np.ones(where_edges.sum(), bool),
        graph_ids=graph_number[np.asarray(graph.graph_ids)[where_nodes]].astype(np.int32),
        where_graphs=np.ones(where_graphs.sum(), bool),
        edges=None if graph.edges is None else np.asarray(graph.edges)[where_edges],
        graphs=None if graph.graphs is None else np.asarray(graph.graphs)[where_graphs],
    )


def _check_masks(
    graph: HostGraph, where_nodes: np.ndarray, where_edges: np.ndarray, where_graphs: np.ndarray
) -> None:
    """Checks that what is real hangs on nothing that is padding: it would be numbered as something else."""
    for field, ends in (("sender", graph.senders), ("receiver", graph.receivers)):
        wrong = np.flatnonzero(where_edges & ~where_nodes[np.asarray(ends)])
        if len(wrong):
            raise ValueError(
                f"where_edges: edge {wrong[0]} from {graph.senders[wrong[0]]} to "
                f"{graph.receivers[wrong[0]]} is real, but its {field} is padding ({len(wrong)} such edges); "
                "mask the edges of masked nodes too, or take subgraph"
            )
    lost = np.flatnonzero(where_nodes & ~where_graphs[np.asarray(graph.graph_ids)])
    if len(lost):
        raise ValueError(
            f"where_nodes: node {lost[0]} is real, but its graph {graph.graph_ids[lost[0]]} is padding "
            f"({len(lost)} such nodes); mask the nodes of masked graphs too"
        )


def check_indices(senders: np.ndarray, receivers: np.ndarray, num_nodes: int, *, name: str) -> None:
    """Checks that both ends of every edge are nodes.

    Raises:
      ValueError: naming the first edge whose end is negative, or not below the number of nodes.
    """
    for field, ends in (("sender", senders), ("receiver", receivers)):
        wrong = np.flatnonzero((ends < 0) | (ends >= num_nodes))
        if len(wrong):
            first = wrong[0]
            reason = "is negative" if ends[first] < 0 else f"is not one of {num_nodes} nodes"
            raise ValueError(
                f"{name}: edge {first} from {senders[first]} to {receivers[first]}: its {field} {reason} "
                f"({len(wrong)} such edges), expected 0..{num_nodes - 1}; numbers start at 0"
            )


def check_finite(values: np.ndarray, name: str) -> None:
    """Checks that no feature is nan or infinite.

    Raises:
      ValueError: naming the first that is.
    """
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        place = ", ".join(str(index) for index in wrong[0])
        raise ValueError(
            f"{name}: [{place}] is {values[tuple(wrong[0])]} ({len(wrong)} such values), expected finite "
            "numbers; fill or drop what is missing first"
        )


def _index_array(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: got {array.dtype} {list(array.shape)}, expected integers [E]")
    return array.astype(np.int64)


def _features(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: got {array.dtype}, expected numbers; encode text or categories first")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is named below
        array = array.astype(np.float32)
    check_finite(array, name)
    return array


def _attributes(
    found: Sequence[Mapping[str, Any]], attribute: str, titles: Sequence[str], name: str
) -> np.ndarray:
    for data, title in zip(found, titles, strict=True):
        if attribute not in data:
            raise ValueError(
                f"{name} {title} has no {attribute!r}; it has {', '.join(map(str, data)) or 'none'}"
            )
    try:
        return np.array([data[attribute] for data in found], np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}s: {attribute!r} is not as many numbers everywhere ({error})") from error
