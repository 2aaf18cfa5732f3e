"""Sums over the neighbours of nodes: the sparse product that most graph layers are made of."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import Graph, check_floating
from jaxvision.ops.gather_plans import GatherPlan, plan_segments, plan_size, reduce_by_plan
from jaxvision.ops.segments import segment_sum


class Neighbours(NamedTuple):
    """The edges of one graph in the order of its nodes, so that sums over neighbours and their gradients
    gather.

    Made on the host by :func:`plan_neighbours`; layers take it as ``neighbours=``. It is what makes a CPU
    fast; the result is that without it but for the order of sums. As its shapes are those of one graph,
    it is for graphs that are trained on whole, not for batches that differ.

    Attributes:
      incoming: plan of the edges by receiver.
      outgoing: plan of the edges by sender.
      senders: sender of each entry of the first level of ``incoming``, tables of its shapes, int32.
      receivers: receiver of each entry of the first level of ``outgoing``, tables of its shapes, int32.
      in_degrees: number of edges to each node ``[V]``, float32.
      last_loops: the last edge from each node to itself ``[V]``, int32; -1 where there is none.
      loop_counts: number of edges from each node to itself ``[V]``, float32.
    """

    incoming: GatherPlan
    outgoing: GatherPlan
    senders: tuple[jax.Array, ...]
    receivers: tuple[jax.Array, ...]
    in_degrees: jax.Array
    last_loops: jax.Array
    loop_counts: jax.Array


def plan_neighbours(graph: Graph) -> Neighbours:
    """Prepares a graph's edges for sums over neighbours, on the host.

    Args:
      graph: the graph, or a padded batch, of numpy or JAX arrays; nodes are not read but for their number.

    Returns:
      The plan. Make it once, put it on the device (``jax.device_put``) and pass it beside the graph.

    Raises:
      ValueError: if an edge ends outside of the graph.

    >>> from jaxvision.core import Graph
    >>> true = np.ones(3, bool)
    >>> graph = Graph(np.zeros((3, 1)), np.array([0, 1, 2]), np.array([1, 2, 2]), true, true,
    ...               np.zeros(3, np.int32), np.ones(1, bool))
    >>> plan_neighbours(graph).in_degrees.tolist()
    [0.0, 1.0, 2.0]
    """
    count = graph.nodes.shape[0]
    senders, receivers, where = (
        np.asarray(array) for array in (graph.senders, graph.receivers, graph.where_edges)
    )
    incoming = plan_segments(receivers, count, where=where)
    outgoing = plan_segments(senders, count, where=where)
    loops = np.flatnonzero(where & (senders == receivers))
    last_loops = np.full(count, -1, np.int32)
    last_loops[senders[loops]] = loops  # of equal indices the last value stays
    return Neighbours(
        incoming,
        outgoing,
        tuple(senders[table].astype(np.int32) for table in incoming.levels[0]) if incoming.levels else (),
        tuple(receivers[table].astype(np.int32) for table in outgoing.levels[0]) if outgoing.levels else (),
        np.bincount(receivers[where], minlength=count).astype(np.float32),  # type: ignore[arg-type]
        last_loops,  # type: ignore[arg-type]  # numpy until used, as all the plan
        np.bincount(senders[loops], minlength=count).astype(np.float32),  # type: ignore[arg-type]
    )


def neighbour_sum(
    rows: jax.Array,
    weights: jax.Array | None,
    senders: jax.Array,
    receivers: jax.Array,
    *,
    where: jax.Array | None = None,
    neighbours: Neighbours | None = None,
) -> jax.Array:
    """Sums, at every node, the rows of the nodes that have an edge to it, each times the edge's weight.

    .. math:: y_v = \\sum_{e: u \\to v} w_e \\, x_u

    That is ``segment_sum(weights * rows[senders], receivers, V)``, but only ``rows`` and ``weights`` are kept
    for the gradient, not one row an edge; and with ``neighbours`` neither the sum nor its gradient
    ever makes one row an edge.

    Args:
      rows: ``[V, ..., F]``, floating.
      weights: ``[E, ...]``, floating: one number a row's ``F``, such as one a head; None for ones.
      senders: start of each edge ``[E]``, integers in ``0 .. V - 1``.
      receivers: end of each edge ``[E]``, integers in ``0 .. V - 1``.
      where: True where an edge counts ``[E]``, bool; None for everywhere.
      neighbours: of the same edges; None for a scatter. See :func:`check_neighbours` for that of another
        graph.

    Returns:
      ``[V, ..., F]`` in the dtype of ``rows``; summed in float32 at least. Nodes without edges have zeros.
      Reverse mode differentiates it any number of times, forward mode does not.

    Raises:
      ValueError: if the shapes of rows and weights do not fit, or the plan is seen to be another graph's.

    >>> neighbour_sum(jnp.array([[1.0], [2.0]]), jnp.array([3.0, 4.0]), jnp.array([0, 1]), jnp.array([1, 1]))
    Array([[ 0.],
           [11.]], dtype=float32)
    """
    check_floating(rows=rows)
    if weights is not None:
        check_floating(weights=weights)
        if weights.shape != (senders.shape[0], *rows.shape[1:-1]):
            raise ValueError(
                f"weights: expected {[senders.shape[0], *rows.shape[1:-1]]}, one a row of {list(rows.shape)} "
                f"and edge, got {list(weights.shape)}"
            )
    if neighbours is None:
        return _neighbour_sum(rows, weights, _Edges(senders, receivers, where, None, None))
    check_neighbours(neighbours, senders, receivers, rows.shape[0])
    there = neighbours.incoming, neighbours.senders
    back = neighbours.outgoing, neighbours.receivers
    return _neighbour_sum(rows, weights, _Edges(senders, receivers, where, there, back))


def check_neighbours(neighbours: Neighbours, senders: Any, receivers: Any, num_nodes: int) -> None:
    """Checks that a plan is that of a graph, as far as it can be seen.

    Compared are the numbers of nodes and of edges, of which the graph may have more for padding; and the
    edges themselves where all arrays are numpy. Inside of ``jit`` edges have no values, and what lies on a
    device is not fetched: there, the plan of another graph of the same sizes gives that graph's sums.

    Args:
      neighbours: the plan.
      senders: of the graph, integers ``[E]``.
      receivers: of the graph, integers ``[E]``.
      num_nodes: of the graph, V.

    Raises:
      ValueError: if it is another graph's.
    """
    remedy = "make it with plan_neighbours of the graph that it is used with"
    found = neighbours.in_degrees.shape[0], plan_size(neighbours.incoming)
    if found[0] != num_nodes or found[1] > senders.shape[0]:
        raise ValueError(
            f"neighbours: the plan is of {found[0]} nodes and {found[1]} edges, the graph has {num_nodes} "
            f"and {senders.shape[0]}; {remedy}"
        )
    ways = (
        (neighbours.incoming, neighbours.senders, senders),
        (neighbours.outgoing, neighbours.receivers, receivers),
    )
    for plan, others, ends in ways:
        for table, other in zip(plan.levels[0] if plan.levels else (), others, strict=True):
            arrays = (table, other, ends)
            if all(isinstance(array, np.ndarray) for array in arrays) and np.any(ends[table] != other):
                raise ValueError(f"neighbours: the plan is of other edges than the graph's; {remedy}")


Planned = tuple[GatherPlan, tuple[jax.Array, ...]]


class _Edges(NamedTuple):
    """Edges with their plans by end and, for the gradient, by start, each with the other ends."""

    senders: jax.Array
    receivers: jax.Array
    where: jax.Array | None
    there: Planned | None
    back: Planned | None

    def turned(self) -> "_Edges":
        return _Edges(self.receivers, self.senders, self.where, self.back, self.there)


@jax.custom_vjp
def _neighbour_sum(rows: jax.Array, weights: jax.Array | None, edges: _Edges) -> jax.Array:
    wide = jnp.promote_types(rows.dtype, jnp.float32)
    if rows.shape[0] == 0:
        return rows
    if edges.there is None:
        messages = _weigh(rows[edges.senders], weights, wide)  # [E, ..., F]
        total = segment_sum(messages, edges.receivers, rows.shape[0], where=edges.where)
        return total.astype(rows.dtype)
    plan, senders = edges.there

    def take(edge: jax.Array, sender: jax.Array) -> jax.Array:
        scale = None if weights is None else weights.at[edge].get(mode="promise_in_bounds")
        return _weigh(rows.at[sender].get(mode="promise_in_bounds"), scale, wide)

    return reduce_by_plan(plan, take, jnp.add, 0, extra=(senders,)).astype(rows.dtype)


def _weigh(rows: jax.Array, weights: jax.Array | None, dtype: Any) -> jax.Array:
    rows = rows.astype(dtype)
    if weights is None:
        return rows
    return rows * jnp.broadcast_to(weights[..., None].astype(dtype), rows.shape)


def _forward(rows: jax.Array, weights: jax.Array | None, edges: _Edges) -> tuple[jax.Array, Any]:
    return _neighbour_sum(rows, weights, edges), (rows, weights, edges)


def _backward(kept: Any, cotangent: jax.Array) -> tuple[jax.Array, jax.Array | None, None]:
    rows, weights, edges = kept
    of_rows = _neighbour_sum(cotangent, weights, edges.turned())
    if weights is None:
        return of_rows, None, None
    return of_rows, _edge_products(rows, cotangent, edges).astype(weights.dtype), None


_BLOCK_ELEMENTS = 2**20
"""Products of edges are made of as many elements at a time: no array of one row an edge is ever there."""


def _edge_products(rows: jax.Array, others: jax.Array, edges: _Edges) -> jax.Array:
    """Product of the rows at each edge's two ends, ``[E, ...]``: what the weights' gradient is."""
    wide = jnp.promote_types(rows.dtype, jnp.float32)
    count, width = edges.senders.shape[0], math.prod(rows.shape[1:])

    def products(ends: tuple[jax.Array, jax.Array]) -> jax.Array:
        return (rows[ends[0]].astype(wide) * others[ends[1]].astype(wide)).sum(-1)

    block = max(1, _BLOCK_ELEMENTS // max(width, 1))
    if count <= 2 * block:
        product = products((edges.senders, edges.receivers))
    else:
        number = -(-count // block)
        ends = (jnp.pad(ids, (0, number * block - count)) for ids in (edges.senders, edges.receivers))
        senders, receivers = (ids.reshape(number, block) for ids in ends)
        product = lax.map(products, (senders, receivers))  # [number, block, ...]
        product = product.reshape(number * block, *product.shape[2:])[:count]
    if edges.where is None:
        return product
    there = edges.where.reshape(-1, *(1,) * (product.ndim - 1))
    return jnp.where(jnp.broadcast_to(there, product.shape), product, 0)


_neighbour_sum.defvjp(_forward, _backward)
