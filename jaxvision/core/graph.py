"""One graph, or a batch of graphs, as arrays of fixed sizes."""

from typing import NamedTuple

import jax


class Graph(NamedTuple):
    """Graphs joined into one: V nodes, E directed edges, G graphs, padding included.

    An edge carries a message from its sender to its receiver; an undirected edge stands twice. Graphs of a
    batch have their nodes and edges one after the other, padding comes last: padded edges run from the last
    node to itself, padded nodes belong to the last graph, and the masks are False there. Whatever the padding
    holds must not change a result.

    Attributes:
        nodes: Features ``[V, F]``, floating.
        senders: Node of each edge's start ``[E]``, int32 in ``0 .. V - 1``.
        receivers: Node of each edge's end ``[E]``, int32 in ``0 .. V - 1``.
        where_nodes: True where a node is real ``[V]``, bool.
        where_edges: True where an edge is real ``[E]``, bool.
        graph_ids: Graph of each node ``[V]``, int32 in ``0 .. G - 1``, ascending.
        where_graphs: True where a graph is real ``[G]``, bool; its length is the number of graphs.
        edges: Features ``[E, D]`` (or weights ``[E]``), or None.
        graphs: Features ``[G, ...]``, or None.
    """

    nodes: jax.Array
    senders: jax.Array
    receivers: jax.Array
    where_nodes: jax.Array
    where_edges: jax.Array
    graph_ids: jax.Array
    where_graphs: jax.Array
    edges: jax.Array | None = None
    graphs: jax.Array | None = None
