r"""LINE: vectors of nodes from edges alone, drawn by their weights and told from noise.

An edge from i to j, with noise nodes k, has the loss

.. math:: -\log \sigma(u_i \cdot v_j) - \sum_k \log \sigma(-u_i \cdot v_k)

In the first order :math:`v = u`: nodes that are joined come near each other. In the second order v are
vectors of nodes as contexts: nodes with the same neighbours come near each other. The first order takes an
edge for one of both directions; the second is made for directed edges too.

The updates are sparse: only the rows that a batch touches are read and written, which autodiff through a
look-up of the table would not do. As everywhere here, a row that comes more than once in a batch gets the
sum of its steps, shortened where the sum would overshoot.

References:
  Tang, Qu, Wang, Zhang, Yan and Mei 2015, *LINE: Large-scale Information Network Embedding*, equation 7 and
  section 4.2.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import Term
from jaxvision.graph.walk_graph import WalkGraph
from jaxvision.ops import AliasTable, alias_table, sample_alias

__all__ = ["Line", "LineEdges", "LineResult", "line_chunk", "line_edges", "line_embedding", "line_term"]

Order = Literal["first", "second", "both"]
Tables = dict[str, jax.Array]

NOISE_POWER = 0.75
"""Exponent of the degrees in the noise distribution: section 4.1.3 of the paper."""


@dataclasses.dataclass(frozen=True)
class Line:
    """What is learned.

    Attributes:
      num_nodes: V.
      order: ``"first"``, ``"second"``, or ``"both"``, each with half of the features.
      features: D of a node's vector.
      negatives: noise nodes an edge; 5 in the paper.
      batch_size: edges a batch.

    Raises:
      ValueError: if a number is out of its range.
    """

    num_nodes: int
    order: Order = "both"
    features: int = 128
    negatives: int = 5
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise ValueError(f"order: expected one of {', '.join(get_args(Order))}, got {self.order!r}")
        for name in ("features", "negatives", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 1 or more")
        if self.num_nodes < 2:
            raise ValueError(f"num_nodes: got {self.num_nodes}, expected 2 or more to tell apart")
        if self.order == "both" and self.features % 2:
            raise ValueError(f"features: got {self.features}, expected an even number, half for each order")

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The table of the sources and that of the targets, for each order that is learned."""
        first, second = ("first", "first"), ("second", "context")
        return {"first": (first,), "second": (second,), "both": (first, second)}[self.order]

    def init(self, key: jax.Array) -> Tables:
        """The tables to start from: nodes uniform in ±1/(2 D), contexts 0, as in the authors' program."""
        size = self.features // len(self.parts)
        keys = jax.random.split(key, len(self.parts))
        tables = {}
        for part_key, (nodes, targets) in zip(keys, self.parts, strict=True):
            shape = (self.num_nodes, size)
            tables[targets] = jnp.zeros(shape)
            tables[nodes] = jax.random.uniform(part_key, shape, minval=-0.5 / size, maxval=0.5 / size)
        return tables


class LineEdges(NamedTuple):
    """What edges and noise are drawn from.

    Attributes:
      senders: int32 ``[E]``.
      receivers: int32 ``[E]``.
      by_weight: over the edges.
      noise: over the nodes.
    """

    senders: jax.Array
    receivers: jax.Array
    by_weight: AliasTable
    noise: AliasTable


class LineResult(NamedTuple):
    """What :func:`line_chunk` returns.

    Attributes:
      tables: after the chunk.
      loss: float32 [], summed over the edges and orders, each taken before its batch's update.
      pairs: float32 [], edges times orders.
      finite: bool [], False if a batch's loss was not finite; that batch changed nothing.
    """

    tables: Tables
    loss: jax.Array
    pairs: jax.Array
    finite: jax.Array


class _Update(NamedTuple):
    """Steps of rows ``[n]``, and how much the loss of each bends: bounds of its second derivative, traced."""

    indices: jax.Array
    steps: jax.Array
    curvatures: jax.Array


def line_edges(graph: WalkGraph) -> LineEdges:
    """The edges of a graph, by weight, and noise by the power 3/4 of the nodes' weighted degrees.

    The degree is that of the edges that end in a node: a node that none ends in is no context, and no noise.
    (The paper says out-degree, which is the same where each edge stands twice.)

    Args:
      graph: V nodes and E edges.

    Raises:
      ValueError: if the graph has no edge.
    """
    offsets = np.asarray(graph.offsets)
    num_edges = int(offsets[-1])
    if not num_edges:
        raise ValueError("graph: no edge, expected 1 or more: LINE learns from edges alone")
    senders = np.repeat(np.arange(graph.num_nodes), np.diff(offsets))
    receivers = np.asarray(graph.neighbours)
    weights = np.ones(num_edges) if graph.weights is None else np.asarray(graph.weights, np.float64)
    degrees = np.bincount(receivers, weights, minlength=graph.num_nodes)
    return LineEdges(
        jnp.asarray(senders, jnp.int32),
        jnp.asarray(receivers, jnp.int32),
        alias_table(weights),
        alias_table(degrees**NOISE_POWER),
    )


def line_chunk(
    model: Line,
    tables: Mapping[str, jax.Array],
    edges: LineEdges,
    key: jax.Array,
    learning_rate: jax.Array,
    *,
    batches: int,
    axis_name: str | None = None,
) -> LineResult:
    """Draws batches of edges and noise and trains on one after the other, in one loop on the device.

    Goes through ``jit``; where ``axis_name`` is given, the devices share each batch and all apply the rows of
    all, so that their tables stay equal.

    Args:
      model: what is learned.
      tables: of :meth:`Line.init`.
      edges: of the graph.
      key: of all that is drawn.
      learning_rate: float32 [].
      batches: how many.
      axis_name: the device axis under ``pmap`` or ``shard_map``.

    Raises:
      ValueError: if the devices cannot share a batch equally.
    """
    devices = 1 if axis_name is None else lax.axis_size(axis_name)
    if model.batch_size % devices:
        raise ValueError(f"batch_size: {model.batch_size} edges cannot be shared by {devices} devices")
    share = model.batch_size // devices
    first = 0 if axis_name is None else lax.axis_index(axis_name) * share

    def body(number: jax.Array, result: LineResult) -> LineResult:
        source, targets = _draw(model, edges, jax.random.fold_in(key, number))
        source, targets = (lax.dynamic_slice_in_dim(array, first, share) for array in (source, targets))
        loss, changed = jnp.float32(0.0), dict(result.tables)
        found = []
        for nodes, others in model.parts:
            part_loss, rows = _descend(result.tables[nodes], result.tables[others], source, targets)
            loss += part_loss
            found += list(zip((nodes, others), rows, strict=True))
        if axis_name is not None:
            loss = lax.psum(loss, axis_name)
            found = [(name, lax.all_gather(rows, axis_name, tiled=True)) for name, rows in found]
        finite = jnp.isfinite(loss)
        for name, update in _joined(found).items():
            rate = _limit(update, model.num_nodes, learning_rate)
            places = jnp.where(finite, update.indices, model.num_nodes)  # rows outside are dropped
            changed[name] = changed[name].at[places].add(rate[:, None] * update.steps, mode="drop")
        pairs = jnp.float32(model.batch_size * len(model.parts))
        return LineResult(changed, result.loss + loss, result.pairs + pairs, result.finite & finite)

    start = LineResult(dict(tables), jnp.float32(0.0), jnp.float32(0.0), jnp.bool_(True))
    return lax.fori_loop(0, batches, body, start)


def line_term(model: Line, tables: Mapping[str, jax.Array], edges: LineEdges, key: jax.Array) -> Term:
    """Loss of the first batch that :func:`line_chunk` sees, as a sum over edges; ``jax.grad`` takes it.

    Args:
      model: what is learned.
      tables: of :meth:`Line.init`.
      edges: of the graph.
      key: of all that is drawn.
    """
    source, targets = _draw(model, edges, jax.random.fold_in(key, 0))
    signs = jnp.where(jnp.arange(targets.shape[1]) == 0, 1.0, -1.0)[None, :]
    weights = _weights(targets)
    total = jnp.float32(0.0)
    for nodes, others in model.parts:
        scores = jnp.einsum("nd,nkd->nk", tables[nodes][source], tables[others][targets])
        total += jnp.sum(weights * jax.nn.softplus(-signs * scores))
    return Term(total, jnp.float32(model.batch_size * len(model.parts)))


def line_embedding(tables: Mapping[str, np.ndarray]) -> np.ndarray:
    """The vectors of the nodes, ``[V, D]``: of two orders, each scaled to length 1 and then joined.

    References:
      Tang et al. 2015, section 5.2: "we normalize the concatenated vectors" of LINE(1st+2nd).
    """
    parts = [np.asarray(tables[name]) for name in ("first", "second") if name in tables]
    if len(parts) == 1:
        return parts[0]
    unit = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in parts]
    return np.concatenate(unit, axis=1)


def _draw(model: Line, edges: LineEdges, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sources ``[N]``, and for each its target and then its noise, ``[N, 1 + K]``."""
    edge_key, noise_key = jax.random.split(key)
    edge = sample_alias(edge_key, edges.by_weight, (model.batch_size,))
    noise = sample_alias(noise_key, edges.noise, (model.batch_size, model.negatives))
    return edges.senders[edge], jnp.concatenate([edges.receivers[edge][:, None], noise], axis=1)


def _weights(targets: jax.Array) -> jax.Array:
    """1, but 0 for noise that is the target itself: ``[N, 1 + K]``."""
    noise = jnp.arange(targets.shape[1])[None, :] > 0
    return jnp.where(noise & (targets == targets[:, :1]), 0.0, 1.0)


def _descend(
    nodes: jax.Array, others: jax.Array, source: jax.Array, targets: jax.Array
) -> tuple[jax.Array, tuple[_Update, _Update]]:
    """The loss of a batch, and the steps of its sources and of its targets and noise."""
    u, v = nodes[source], others[targets]  # [N, D], [N, 1 + K, D]
    signs = jnp.where(jnp.arange(targets.shape[1]) == 0, 1.0, -1.0)[None, :]
    weights = _weights(targets)
    scores = signs * jnp.einsum("nd,nkd->nk", u, v)
    loss = jnp.sum(weights * jax.nn.softplus(-scores))
    slope = weights * jax.nn.sigmoid(-scores)
    # The largest second derivative from here on downhill: where a pair is on the wrong side, its own is
    # small, but that on the way to the minimum is not.
    bend = jnp.where(scores < 0, 0.25 * weights, slope * jax.nn.sigmoid(scores))
    pull = signs * slope
    return loss, (
        _Update(source, jnp.einsum("nk,nkd->nd", pull, v), jnp.einsum("nk,nkd->n", bend, v * v)),
        _Update(
            targets.reshape(-1),
            (pull[..., None] * u[:, None]).reshape(-1, u.shape[1]),
            (bend * jnp.sum(u * u, axis=1)[:, None]).reshape(-1),
        ),
    )


def _joined(found: list[tuple[str, _Update]]) -> dict[str, _Update]:
    """One update a table."""
    joined: dict[str, _Update] = {}
    for name, rows in found:
        if name in joined:
            joined[name] = _Update(*(jnp.concatenate(pair) for pair in zip(joined[name], rows, strict=True)))
        else:
            joined[name] = rows
    return joined


def _limit(rows: _Update, size: int, rate: jax.Array) -> jax.Array:
    """The rate of each row, ``[n]``: lower where the sum of a row's steps would go beyond the minimum.

    The sum of the bounds of a row's steps is one of the loss in any direction.
    """
    sums = jnp.zeros(size).at[rows.indices].add(rows.curvatures)
    return rate / jnp.maximum(rate * sums[rows.indices], 1.0)
