"""The neighbours of every node as compressed sparse rows: what walks are drawn from."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from jaxvision.core import Graph

__all__ = ["WalkGraph", "draw_neighbours", "is_neighbour", "walk_graph", "walk_graph_of"]


class WalkGraph(struct.PyTreeNode):
    """V nodes and the E edges that leave them, one row of neighbours a node; goes through ``jit`` whole.

    Attributes:
      offsets: int32 ``[V + 1]``: the row of node i is ``neighbours[offsets[i]:offsets[i + 1]]``.
      neighbours: int32 ``[E]``, ascending within a row; a single 0 that no row holds where there is no edge.
      weights: float32 ``[E]``, of the edges; None where all weigh the same.
      cumulative: float32 ``[E]``: of the weights in a row, the share of those up to this one, so 1 at its
        end; None without weights.
      search_steps: halvings that find a place in the longest row; a constant of the compiled program.
    """

    offsets: jax.Array
    neighbours: jax.Array
    weights: jax.Array | None = None
    cumulative: jax.Array | None = None
    search_steps: int = struct.field(pytree_node=False, default=1)

    @property
    def num_nodes(self) -> int:
        """V."""
        return self.offsets.shape[0] - 1

    @property
    def degrees(self) -> jax.Array:
        """Edges that leave each node, int32 ``[V]``."""
        return self.offsets[1:] - self.offsets[:-1]


def walk_graph(
    senders: np.ndarray, receivers: np.ndarray, *, num_nodes: int, weights: np.ndarray | None = None
) -> WalkGraph:
    """Sorts edges into rows, on the host.

    A walk goes from sender to receiver; an undirected edge stands twice. An edge that is given n times is n
    times as likely; one of weight 0 is no edge.

    Args:
      senders: integers ``[E]``, 0 to ``num_nodes - 1``.
      receivers: integers ``[E]``.
      num_nodes: V.
      weights: ``[E]``, 0 or more; None for equal ones.

    Raises:
      ValueError: if there is no node, an edge's end is no node, the arrays are not ``[E]``, or a weight is
        negative or not finite.

    >>> graph = walk_graph(np.array([0, 1, 2, 1]), np.array([1, 0, 1, 2]), num_nodes=3)
    >>> graph.offsets, graph.neighbours
    (Array([0, 1, 3, 4], dtype=int32), Array([1, 0, 2, 1], dtype=int32))
    """
    senders, receivers = np.asarray(senders), np.asarray(receivers)
    _check_edges(senders, receivers, num_nodes)
    if weights is not None:
        weights = np.asarray(weights, np.float64)
        _check_weights(weights, len(senders))
        senders, receivers, weights = (array[weights > 0] for array in (senders, receivers, weights))
    order = np.lexsort((receivers, senders))
    degrees = np.bincount(senders, minlength=num_nodes)
    offsets = np.concatenate([[0], np.cumsum(degrees)])
    neighbours = receivers[order] if len(order) else np.zeros(1, np.int32)
    graph = WalkGraph(
        jnp.asarray(offsets, jnp.int32),
        jnp.asarray(neighbours, jnp.int32),
        # A row of n entries has n + 1 places where a search can end.
        search_steps=max(int(degrees.max()).bit_length(), 1),
    )
    if weights is None or not len(order):
        return graph
    shares = _row_shares(weights[order], senders[order], offsets)
    return graph.replace(
        weights=jnp.asarray(weights[order], jnp.float32), cumulative=jnp.asarray(shares, jnp.float32)
    )


def walk_graph_of(graph: Graph) -> WalkGraph:
    """The rows of a :class:`jaxvision.core.Graph`, padding left out; its ``edges`` are weights if ``[E]``.

    Raises:
      ValueError: as :func:`walk_graph`; or if the graph has no node that is real.
    """
    real = np.asarray(graph.where_edges)
    edges = None if graph.edges is None or graph.edges.ndim != 1 else np.asarray(graph.edges)[real]
    # Real nodes come first: padding is at the end.
    return walk_graph(
        np.asarray(graph.senders)[real],
        np.asarray(graph.receivers)[real],
        num_nodes=int(np.asarray(graph.where_nodes).sum()),
        weights=edges,
    )


def _check_edges(senders: np.ndarray, receivers: np.ndarray, num_nodes: int) -> None:
    if num_nodes < 1:
        raise ValueError(f"num_nodes: got {num_nodes}, expected 1 or more: an empty graph has no walk")
    if senders.ndim != 1 or senders.shape != receivers.shape:
        raise ValueError(
            f"senders, receivers: got {list(senders.shape)} and {list(receivers.shape)}, expected one of "
            "each an edge, [E] and [E]"
        )
    for name, ends in (("senders", senders), ("receivers", receivers)):
        if len(ends) and ends.dtype.kind not in "iu":
            raise ValueError(f"{name}: got {ends.dtype}, expected integers, the numbers of nodes")
        wrong = np.flatnonzero((ends < 0) | (ends >= num_nodes))
        if len(wrong):
            raise ValueError(
                f"{name}: node {ends[wrong[0]]} at edge {wrong[0]}, expected 0 to {num_nodes - 1}; "
                "number the nodes from 0, or give the graph more of them"
            )


def _check_weights(weights: np.ndarray, num_edges: int) -> None:
    if weights.shape != (num_edges,):
        raise ValueError(f"weights: got {list(weights.shape)}, expected [{num_edges}], one an edge")
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise ValueError(
            f"weights: {weights[wrong[0]]} at edge {wrong[0]}, expected finite numbers of 0 or more: a walk "
            "takes an edge with a probability in proportion to its weight"
        )


def _row_shares(weights: np.ndarray, rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Running sums within each row, divided by the row's sum; exactly 1 at its end."""
    totals = np.bincount(rows, weights, minlength=len(offsets) - 1)
    # Shares first, so that a row of small weights is not lost behind rows of large ones.
    running = np.cumsum(weights / totals[rows])
    before = np.concatenate([[0.0], running])[offsets[:-1]]
    shares = running - before[rows]
    ends = offsets[1:][np.diff(offsets) > 0] - 1
    shares[ends] = 1.0
    return shares


def draw_neighbours(graph: WalkGraph, nodes: jax.Array, draws: jax.Array) -> jax.Array:
    """A neighbour of each node by its probability: that of its edge's weight in the node's row.

    Args:
      graph: V nodes.
      nodes: int32 ``[N]``.
      draws: float32 ``[N]``, uniform in [0, 1).

    Returns:
      int32 ``[N]``; of a node without edges, something that is to be masked.
    """
    start, end = _rows(graph, nodes)
    if graph.cumulative is None:
        degree = end - start
        # The largest draw times a large degree may be rounded up to the degree.
        place = start + jnp.minimum((draws * degree).astype(jnp.int32), degree - 1)
    else:
        cumulative = graph.cumulative
        place = _first_place(graph, start, end, lambda place: cumulative[place] > draws)
    return graph.neighbours.at[place].get(mode="clip")


def is_neighbour(graph: WalkGraph, nodes: jax.Array, others: jax.Array) -> jax.Array:
    """Whether an edge goes from each node to the other, bool ``[N]``: a binary search in the node's row.

    Args:
      graph: V nodes.
      nodes: int32 ``[N]``.
      others: int32 ``[N]``.
    """
    start, end = _rows(graph, nodes)
    neighbours = graph.neighbours
    place = _first_place(graph, start, end, lambda place: neighbours[place] >= others)
    return (place < end) & (neighbours.at[place].get(mode="clip") == others)


def _rows(graph: WalkGraph, nodes: jax.Array) -> tuple[jax.Array, jax.Array]:
    return graph.offsets[nodes], graph.offsets[nodes + 1]


def _first_place(
    graph: WalkGraph, start: jax.Array, end: jax.Array, reached: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """The first place of each row where a condition, False and then True, is met; its end if nowhere."""

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) // 2
        right = (low < high) & ~reached(middle)
        return jnp.where(right, middle + 1, low), jnp.where(right, high, middle)

    return lax.fori_loop(0, graph.search_steps, halve, (start, end))[0]
