"""What networks make of the degrees of a whole graph, carried by its edges: in parts they are cut."""

from typing import Literal

import numpy as np

from jaxvision.data.graph_edits import add_self_loops, degrees, remove_self_loops
from jaxvision.data.graphs import HostGraph, unpad_graph

__all__ = ["WholeGraphEdges", "whole_graph_edges"]

WholeGraphEdges = Literal["gcn", "chebyshev", "degrees"]
"""What :func:`whole_graph_edges` can make."""


def whole_graph_edges(graph: HostGraph, what: WholeGraphEdges) -> HostGraph:
    r"""Gives edges what a network makes of degrees, so that a part of the graph has the degrees of all of it.

    Args:
      graph: of numpy arrays; its edges carry weights ``[E]`` or ``[E, 1]``, or nothing, which counts as 1
        each. For "degrees" they are not read.
      what: "gcn": the weights of :math:`D^{-1/2} (A + I) D^{-1/2}`, with the loops among the edges, for
        ``GCNConv(normalize=False)``. "chebyshev": those of :math:`D^{-1/2} A D^{-1/2}` without loops, with
        degrees of outgoing edges, for ``ChebConv(normalization="given")``. "degrees": the pseudo-coordinates
        ``[E, 2]`` of ``degree_coordinates``, for a network of ``GMMConv``.

    Returns:
      The graph without its padding, edges in the order of their receivers. A degree of zero or less counts as
      infinite, as in the layers.

    Raises:
      ValueError: if edges carry features where weights are needed, or ``what`` is another word.

    >>> from jaxvision.data.graphs import make_graph
    >>> whole_graph_edges(make_graph([0, 1], [1, 0], num_nodes=2), "gcn").edges.tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    if what not in ("gcn", "chebyshev", "degrees"):
        raise ValueError(f"what: expected 'gcn', 'chebyshev' or 'degrees', got {what!r}")
    graph = unpad_graph(graph)
    if what == "degrees":
        roots = 1 / np.sqrt(np.maximum(degrees(graph), 1))
        places = np.stack([roots[graph.receivers], roots[graph.senders]], axis=1)  # [E, 2]
        return graph._replace(edges=places.astype(np.float32))
    graph = _weighted(graph)
    graph = remove_self_loops(graph) if what == "chebyshev" else add_self_loops(_with_last_loops(graph))
    weights = np.asarray(graph.edges, np.float64)
    ends = graph.receivers if what == "gcn" else graph.senders
    degree = np.bincount(ends, weights=weights, minlength=len(graph.nodes))
    scale = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0)
    scaled = weights * scale[graph.senders] * scale[graph.receivers]
    return graph._replace(edges=scaled.astype(np.float32))


def _weighted(graph: HostGraph) -> HostGraph:
    if graph.edges is None:
        return graph._replace(edges=np.ones(len(graph.senders), np.float32))
    if graph.edges.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"edges carry features {list(graph.edges.shape)}, expected a weight [E] each, or nothing"
        )
    return graph._replace(edges=graph.edges.reshape(-1))


def _with_last_loops(graph: HostGraph) -> HostGraph:
    """Of the loops of each node the last one, the one that ``GCNConv`` takes."""
    is_loop = graph.senders == graph.receivers
    last = np.full(len(graph.nodes), -1)
    last[graph.senders[is_loop]] = np.flatnonzero(is_loop)  # of equal indices the last value stays
    kept = ~is_loop | (last[graph.receivers] == np.arange(len(is_loop)))
    return graph._replace(
        senders=graph.senders[kept],
        receivers=graph.receivers[kept],
        where_edges=graph.where_edges[kept],
        edges=graph.edges[kept],
    )
