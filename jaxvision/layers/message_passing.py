"""Message passing: every edge sends a message, every node gathers what it is sent and changes by it.

.. math:: x_v' = update(x_v, aggregate_{e: u \\to v} message(x_u, x_v, e))

:func:`pass_messages` is all of it; the layers of ``graph_*.py`` stand on it. Its three functions are pure:

    def edge_conv(graph, mlp):
        return pass_messages(
            graph,
            message=lambda edges: mlp(jnp.concatenate([edges.received, edges.sent - edges.received], -1)),
            aggregate=max_messages,
            update=lambda nodes, gathered: gathered,
        )

Messages that are just the sender's row times a weight need not be made edge by edge: the message function
then returns :class:`WeightedRows`, and ``sum_messages`` and ``mean_messages`` are sparse products. They give
what the messages written out, ``rows[senders] * weights[:, None]``, would give.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxvision.core import Graph, check_floating, check_integer, check_layout
from jaxvision.ops.neighbours import Neighbours, check_neighbours, neighbour_sum
from jaxvision.ops.segments import segment_max, segment_mean, segment_sum


class WeightedRows(NamedTuple):
    """Messages in two factors: rows of the senders, and a weight an edge.

    Attributes:
      rows: ``[V, ..., F]``.
      weights: ``[E, ...]``, one number a row's ``F``; None for ones.
    """

    rows: jax.Array
    weights: jax.Array | None = None


class Edges(NamedTuple):
    """What message and aggregate functions see: all edges at once.

    Attributes:
      nodes: features of all nodes ``[V, ...]``, zeros in the padding.
      features: of the edges, ``[E, ...]``, zeros in the padding, or None.
      senders: node of each edge's start ``[E]``.
      receivers: node of each edge's end ``[E]``.
      where: True where an edge is real ``[E]``, bool.
      neighbours: the same edges prepared for a CPU, or None.
    """

    nodes: jax.Array
    features: jax.Array | None
    senders: jax.Array
    receivers: jax.Array
    where: jax.Array
    neighbours: Neighbours | None = None

    @property
    def sent(self) -> jax.Array:
        """Features of each edge's sender, ``[E, ...]``."""
        return self.at_senders(self.nodes)

    @property
    def received(self) -> jax.Array:
        """Features of each edge's receiver, ``[E, ...]``."""
        return self.at_receivers(self.nodes)

    def at_senders(self, values: jax.Array) -> jax.Array:
        """Values of nodes ``[V, ...]`` at each edge's sender, ``[E, ...]``."""
        return _gather(values, self.senders, self.where, self.neighbours, by_sender=True)

    def at_receivers(self, values: jax.Array) -> jax.Array:
        """Values of nodes ``[V, ...]`` at each edge's receiver, ``[E, ...]``."""
        return _gather(values, self.receivers, self.where, self.neighbours, by_sender=False)

    def by_receiver(self) -> dict[str, Any]:
        """Arguments of the segment reductions: ``segment_max(messages, **edges.by_receiver())``."""
        return {
            "segment_ids": self.receivers,
            "num_segments": self.nodes.shape[0],
            "where": self.where,
            "plan": None if self.neighbours is None else self.neighbours.incoming,
        }

    def by_sender(self) -> dict[str, Any]:
        """The same for sums over a node's outgoing edges."""
        plan = None if self.neighbours is None else self.neighbours.outgoing
        return {**self.by_receiver(), "segment_ids": self.senders, "plan": plan}


Messages = jax.Array | WeightedRows
Message = Callable[[Edges], Messages]
Aggregate = Callable[[Any, Edges], jax.Array]
Update = Callable[[jax.Array, jax.Array], jax.Array]


def pass_messages(
    graph: Graph,
    *,
    message: Message,
    aggregate: Aggregate,
    update: Update,
    neighbours: Neighbours | None = None,
) -> jax.Array:
    """One round of message passing.

    Args:
      graph: the graph. What its padding holds does not matter.
      message: of all :class:`Edges`, to messages ``[E, ...]`` or :class:`WeightedRows`.
      aggregate: of messages and edges, to one row a node ``[V, ...]``: :func:`sum_messages`,
        :func:`mean_messages`, :func:`max_messages` or one's own.
      update: of the nodes ``[V, F]`` and their aggregates ``[V, ...]``, to the result.
      neighbours: the graph's edges as :func:`jaxvision.ops.plan_neighbours` prepares them, for speed on a
      CPU.

    Returns:
      New features of the nodes ``[V, ...]``, zeros in the padding.

    Raises:
      ValueError: if the graph's arrays do not fit together, or ``neighbours`` is seen to be another graph's
        (:func:`jaxvision.ops.neighbours.check_neighbours`).

    >>> from jaxvision.core import Graph
    >>> true = jnp.ones(2, bool)
    >>> graph = Graph(jnp.array([[1.0], [2.0]]), jnp.array([0, 1]), jnp.array([1, 1]), true, true,
    ...               jnp.zeros(2, int), true[:1])
    >>> pass_messages(graph, message=lambda edges: edges.sent, aggregate=sum_messages,
    ...               update=lambda nodes, gathered: 10 * nodes + gathered)
    Array([[10.],
           [23.]], dtype=float32)
    """
    edges = edges_of(graph, neighbours)
    return mask_rows(update(edges.nodes, aggregate(message(edges), edges)), graph.where_nodes)


def edges_of(graph: Graph, neighbours: Neighbours | None) -> Edges:
    """What message functions see of a graph; arguments and errors as :func:`pass_messages`."""
    check_graph(graph)
    if neighbours is not None:
        check_neighbours(neighbours, graph.senders, graph.receivers, graph.nodes.shape[0])
    nodes = mask_rows(graph.nodes, graph.where_nodes)
    features = None if graph.edges is None else mask_rows(graph.edges, graph.where_edges)
    return Edges(nodes, features, graph.senders, graph.receivers, graph.where_edges, neighbours)


def sum_messages(messages: Messages, edges: Edges) -> jax.Array:
    """Sum of the messages to each node, ``[V, ...]``; zeros without any."""
    if isinstance(messages, WeightedRows):
        return neighbour_sum(
            messages.rows,
            messages.weights,
            edges.senders,
            edges.receivers,
            where=edges.where,
            neighbours=edges.neighbours,
        )
    return segment_sum(messages, **edges.by_receiver())


def mean_messages(messages: Messages, edges: Edges) -> jax.Array:
    """Mean of the messages to each node, ``[V, ...]``; zeros without any."""
    if isinstance(messages, WeightedRows):
        total = sum_messages(messages, edges)
        return scale_rows(total, 1 / jnp.maximum(in_degrees(edges), 1))
    return segment_mean(messages, **edges.by_receiver())


def max_messages(messages: jax.Array, edges: Edges) -> jax.Array:
    """Largest of the messages to each node, element by element, ``[V, ...]``; zeros without any."""
    return segment_max(messages, **edges.by_receiver())


def in_degrees(edges: Edges) -> jax.Array:
    """Number of edges to each node, ``[V]``, float32."""
    if edges.neighbours is not None:
        return edges.neighbours.in_degrees
    return segment_sum(jnp.ones(edges.receivers.shape, jnp.float32), **edges.by_receiver())


def edge_weights(edges: Edges) -> jax.Array | None:
    """The edges' features as weights ``[E]``; None where there are none.

    Raises:
      ValueError: if an edge has several.
    """
    features = edges.features
    if features is None:
        return None
    if features.ndim == 2 and features.shape[1] == 1:
        features = features[:, 0]
    if features.ndim != 1:
        raise ValueError(
            f"edges: expected weights [E] or none for this layer, got {list(features.shape)}; drop them with "
            "graph._replace(edges=None), or take a layer that reads edge features"
        )
    return features


def mask_rows(values: jax.Array, where: jax.Array) -> jax.Array:
    """Rows ``[V, ...]``, zeros where ``where`` ``[V]`` is False, whatever stands there."""
    there = where.reshape(where.shape + (1,) * (values.ndim - 1))
    return jnp.where(jnp.broadcast_to(there, values.shape), values, 0)


def scale_rows(values: jax.Array, factors: jax.Array) -> jax.Array:
    """Rows ``[V, ...]`` times one number each, ``[V]`` or ``[V, H]``, in the dtype of the rows."""
    shaped = factors.reshape(factors.shape + (1,) * (values.ndim - factors.ndim)).astype(values.dtype)
    return values * jnp.broadcast_to(shaped, values.shape)


def check_graph(graph: Graph) -> None:
    """Checks shapes and dtypes of a graph's arrays while a function is traced.

    Raises:
      ValueError: naming the first array that does not fit. Indices out of range are found on the host only.
    """
    check_floating(nodes=graph.nodes)
    if graph.nodes.ndim < 2:
        raise ValueError(f"nodes: expected [V, F], got {list(graph.nodes.shape)}; one feature is [V, 1]")
    check_layout("senders", graph.senders, "E")
    check_integer(senders=graph.senders, receivers=graph.receivers, graph_ids=graph.graph_ids)
    count, edges = graph.nodes.shape[0], graph.senders.shape[0]
    remedy = "nodes, edges and their masks go together"
    check_layout("receivers", graph.receivers, f"{edges}", remedy=remedy)
    check_layout("where_nodes", graph.where_nodes, f"{count}", remedy=remedy)
    check_layout("where_edges", graph.where_edges, f"{edges}", remedy=remedy)
    check_layout("graph_ids", graph.graph_ids, f"{count}", remedy=remedy)
    if graph.edges is not None:
        check_floating(edges=graph.edges)
        if graph.edges.shape[:1] != (edges,):
            raise ValueError(f"edges: expected [{edges}, ...], got {list(graph.edges.shape)}; {remedy}")


def _gather(
    values: jax.Array,
    ids: jax.Array,
    where: jax.Array,
    neighbours: Neighbours | None,
    *,
    by_sender: bool,
) -> jax.Array:
    if values.shape[0] == 0:  # of a graph without nodes there is nothing to index
        return jnp.zeros((ids.shape[0], *values.shape[1:]), values.dtype)
    if neighbours is None:
        return values[ids]
    return _planned_gather(values, ids, where, neighbours.outgoing if by_sender else neighbours.incoming)


@jax.custom_vjp
def _planned_gather(values: jax.Array, ids: jax.Array, where: jax.Array, plan: Any) -> jax.Array:
    return values[ids]


def _gather_forward(
    values: jax.Array, ids: jax.Array, where: jax.Array, plan: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Any]]:
    return values[ids], (ids, where, plan)


def _gather_backward(kept: Any, cotangent: jax.Array) -> tuple[jax.Array, None, None, None]:
    ids, where, plan = kept
    return segment_sum(cotangent, ids, plan.places.shape[0], where=where, plan=plan), None, None, None


_planned_gather.defvjp(_gather_forward, _gather_backward)
