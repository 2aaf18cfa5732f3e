"""Graphs of any size in arrays of a fixed size: joined, then padded to a bucket, so that a step compiles once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvision.core import Graph
from jaxvision.data.graphs import unpad_graph

__all__ = [
    "Bucket",
    "BucketError",
    "batch_bucket",
    "batch_graph",
    "graph_arrays",
    "join_graphs",
    "pad_graph",
    "rounded_bucket",
    "stack_graphs",
]


class Bucket(NamedTuple):
    """The sizes that a graph, or a batch of graphs, is padded to.

    Attributes:
      nodes: V.
      edges: E.
      graphs: G.
    """

    nodes: int
    edges: int
    graphs: int = 1

    def __str__(self) -> str:
        return f"{self.nodes} nodes, {self.edges} edges, {self.graphs} graphs"


class BucketError(ValueError):
    """A graph, or a batch of graphs, that is larger than the bucket that it should go into."""


def join_graphs(graphs: Sequence[Graph]) -> Graph:
    """Joins graphs into one that holds them side by side, without padding.

    Args:
      graphs: of numpy arrays, of one number of features; all with edge features or none.

    Raises:
      ValueError: if there is none, or they do not carry the same features.

    >>> from jaxvision.data.graphs import make_graph
    >>> pair = join_graphs([make_graph([0], [1], num_nodes=2), make_graph([1], [0], num_nodes=2)])
    >>> pair.senders.tolist(), pair.graph_ids.tolist()
    ([0, 3], [0, 0, 1, 1])
    """
    if not graphs:
        raise ValueError("join_graphs: no graph to join")
    parts = [unpad_graph(graph) for graph in graphs]
    for field in ("nodes", "edges", "graphs"):
        kinds = {None if (x := getattr(part, field)) is None else x.shape[1:] for part in parts}
        if len(kinds) > 1:
            raise ValueError(
                f"join_graphs: {field} of different kinds ({', '.join(map(str, kinds))}), expected the same "
                "features in every graph"
            )
    node_starts = np.cumsum([0] + [len(part.nodes) for part in parts[:-1]])
    graph_starts = np.cumsum([0] + [len(part.where_graphs) for part in parts[:-1]])

    def joined(field: str, starts: np.ndarray | None = None) -> Any:
        arrays = [getattr(part, field) for part in parts]
        if arrays[0] is None:
            return None
        if starts is not None:
            arrays = [array + np.int32(start) for array, start in zip(arrays, starts, strict=True)]
        return np.concatenate(arrays)

    return Graph(
        nodes=joined("nodes"),
        senders=joined("senders", node_starts),
        receivers=joined("receivers", node_starts),
        where_nodes=joined("where_nodes"),
        where_edges=joined("where_edges"),
        graph_ids=joined("graph_ids", graph_starts),
        where_graphs=joined("where_graphs"),
        edges=joined("edges"),
        graphs=joined("graphs"),
    )


def pad_graph(graph: Graph, bucket: Bucket, *, name: str = "graph") -> Graph:
    """Pads a graph, or several joined ones, to the sizes of a bucket.

    Padded edges run from the last node to itself, padded nodes belong to the last graph, features of padding
    are 0, and the masks are False there.

    Args:
      graph: of numpy arrays.
      bucket: the sizes.
      name: of the graph, for the message.

    Raises:
      BucketError: if the graph has more nodes, edges or graphs than the bucket.

    >>> from jaxvision.data.graphs import make_graph
    >>> padded = pad_graph(make_graph([0], [1], num_nodes=2), Bucket(4, 3, 2))
    >>> padded.receivers.tolist(), padded.where_edges.tolist(), padded.graph_ids.tolist()
    ([1, 3, 3], [True, False, False], [0, 0, 1, 1])
    """
    size = Bucket(len(graph.nodes), len(graph.senders), len(graph.where_graphs))
    if any(have > room for have, room in zip(size, bucket, strict=True)):
        raise BucketError(
            f"{name}: {size}; the bucket has {bucket}. Give a larger bucket, or fewer graphs a batch"
        )
    more = Bucket(*(room - have for have, room in zip(size, bucket, strict=True)))

    def padded(array: Any, count: int, value: Any) -> Any:
        if array is None:
            return None
        return np.concatenate([array, np.full((count, *array.shape[1:]), value, array.dtype)])

    return Graph(
        nodes=padded(graph.nodes, more.nodes, 0),
        senders=padded(graph.senders, more.edges, bucket.nodes - 1),
        receivers=padded(graph.receivers, more.edges, bucket.nodes - 1),
        where_nodes=padded(graph.where_nodes, more.nodes, False),
        where_edges=padded(graph.where_edges, more.edges, False),
        graph_ids=padded(graph.graph_ids, more.nodes, bucket.graphs - 1),
        where_graphs=padded(graph.where_graphs, more.graphs, False),
        edges=padded(graph.edges, more.edges, 0),
        graphs=padded(graph.graphs, more.graphs, 0),
    )


def batch_bucket(graphs: Iterable[Graph], batch_size: int, *, multiple: int = 8) -> Bucket:
    """The bucket into which every batch of that many of these graphs fits: one compiled program for all.

    Its nodes are those of the ``batch_size`` graphs that have most, its edges likewise: the worst batch.

    Args:
      graphs: all that batches are drawn from.
      batch_size: graphs a batch.
      multiple: nodes and edges are rounded up to a multiple of this.

    Raises:
      ValueError: if there is no graph, or a number is below 1.

    >>> from jaxvision.data.graphs import make_graph
    >>> sizes = [make_graph([0], [0], num_nodes=n) for n in (3, 9, 5)]
    >>> batch_bucket(sizes, 2)
    Bucket(nodes=16, edges=8, graphs=2)
    """
    if batch_size < 1 or multiple < 1:
        raise ValueError(f"batch_size, multiple: got {batch_size} and {multiple}, expected 1 or more")
    sizes = np.array([(len(graph.nodes), len(graph.senders)) for graph in graphs]).reshape(-1, 2)
    if not len(sizes):
        raise ValueError("batch_bucket: no graph")
    worst = np.sort(sizes, axis=0)[-batch_size:].sum(axis=0)
    nodes, edges = (max(-(-int(size) // multiple), 1) * multiple for size in worst)
    return Bucket(nodes, edges, batch_size)


def rounded_bucket(graph: Graph, *, least: int = 16) -> Bucket:
    """The graph's sizes, each rounded up to ``least`` times a power of 2: few programs for graphs of all sizes.

    Args:
      graph: padded or not.
      least: nodes and edges of the smallest bucket.

    >>> from jaxvision.data.graphs import make_graph
    >>> rounded_bucket(make_graph([0], [1], num_nodes=40))
    Bucket(nodes=64, edges=16, graphs=1)
    """

    def rounded(size: int) -> int:
        return least * 2 ** max(int(np.ceil(np.log2(max(size, 1) / least))), 0)

    return Bucket(rounded(len(graph.nodes)), rounded(len(graph.senders)), len(graph.where_graphs))


def stack_graphs(graphs: Sequence[Graph]) -> Graph:
    """Stacks padded graphs of equal sizes: ``nodes [D, V, F]`` and so on, one for each of D devices."""
    return Graph(
        *(
            None if arrays[0] is None else np.stack(arrays)
            for arrays in zip(*graphs, strict=True)
        )
    )


def graph_arrays(graph: Graph) -> dict[str, Any]:
    """The arrays of a graph by name, those that it has: entries of a batch."""
    return {name: array for name, array in graph._asdict().items() if array is not None}


def batch_graph(batch: Mapping[str, Any]) -> Graph:
    """The graph among the arrays of a batch: the reverse of :func:`graph_arrays`."""
    return Graph(**{name: batch.get(name) for name in Graph._fields})  # type: ignore[arg-type]
