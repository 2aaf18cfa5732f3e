r"""struc2vec's context graph, one layer a distance, and its walks: contexts of nodes alike in structure.

In layer k two nodes are joined with the weight :math:`w_k(u, v) = e^{-f_k(u, v)}`, and a node is joined with
itself in the layers beside, upward with :math:`\log(\Gamma_k(u) + e)` and downward with 1, where
:math:`\Gamma_k(u)` counts the edges of u that weigh more than the layer's mean.

References:
  Ribeiro, Saverese and Figueiredo 2017, *struc2vec: Learning Node Representations from Structural Identity*,
  sections 3.2 (the context graph) and 3.3 (the walks).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from jaxvision.graph.structural_distance import StructuralDistances
from jaxvision.graph.walk_graph import WalkGraph, draw_neighbours, walk_graph
from jaxvision.graph.walks import Walks, check_starts, check_walk

__all__ = ["ContextGraph", "context_graph", "structural_walks"]


class ContextGraph(struct.PyTreeNode):
    """K layers of V nodes.

    Attributes:
      edges: of K V nodes, that of node i in layer k at ``k V + i``; no edge leaves a layer.
      up: float32 ``[K V]``, the probability that a change of layer goes upward.
      changes: bool ``[K V]``, whether there is a layer to change to.
      num_nodes: V; a constant of the compiled program.
    """

    edges: WalkGraph
    up: jax.Array
    changes: jax.Array
    num_nodes: int = struct.field(pytree_node=False, default=0)


def context_graph(found: StructuralDistances, *, num_nodes: int) -> ContextGraph:
    """The layers that distances make.

    The means are over the pairs that a layer holds, as in the authors' program; where all pairs are compared
    these are those of the paper.

    Args:
      found: distances of pairs.
      num_nodes: V.

    Raises:
      ValueError: if no two nodes are compared: there is no context then.
    """
    layers = len(found.distances)
    if not len(found.pairs):
        raise ValueError(f"found: no pair of nodes, expected 2 nodes or more, got {num_nodes}")
    ends = np.concatenate([found.pairs, found.pairs[:, ::-1]]).astype(np.int64)  # [2 P, 2]
    senders, receivers, weights = [], [], []
    up, there = np.zeros((layers, num_nodes)), np.zeros((layers, num_nodes), bool)
    for k, distances in enumerate(np.concatenate([found.distances, found.distances], axis=1)):
        inside = np.isfinite(distances)
        if not inside.any():
            up, there = up[:k], there[:k]
            break
        source, target = ends[inside].T
        near = distances[inside]
        plain = np.exp(-near)
        strong = np.bincount(source, plain > plain.mean(), minlength=num_nodes)
        weight = np.log(strong + np.e)
        up[k] = weight / (weight + (k > 0))  # downward 1, but for the lowest layer
        there[k] = np.bincount(source, minlength=num_nodes) > 0
        # A node's probabilities do not change with a common factor, which keeps large distances off zero.
        least = np.full(num_nodes, np.inf)
        np.minimum.at(least, source, near)
        senders.append(source + k * num_nodes)
        receivers.append(target + k * num_nodes)
        weights.append(np.exp(least[source] - near))
    above = np.concatenate([there[1:], np.zeros((1, num_nodes), bool)])
    below = np.concatenate([np.zeros((1, num_nodes), bool), there[:-1]])
    edges = walk_graph(
        np.concatenate(senders),
        np.concatenate(receivers),
        num_nodes=there.size,
        weights=np.concatenate(weights),
    )
    return ContextGraph(
        edges,
        jnp.asarray(np.where(above, up, 0.0).reshape(-1), jnp.float32),
        jnp.asarray((above | below).reshape(-1)),
        num_nodes,
    )


class _Lanes(NamedTuple):
    """Walks under way, each at a step of its own.

    Attributes:
      trial: int32 [].
      size: int32 ``[N]``, nodes of each walk so far.
      place: int32 ``[N]``, layer and node.
      nodes: int32 ``[N, L]``.
    """

    trial: jax.Array
    size: jax.Array
    place: jax.Array
    nodes: jax.Array


def structural_walks(
    key: jax.Array, graph: ContextGraph, starts: jax.Array, *, length: int, stay: float = 0.3
) -> Walks:
    """Walks in the lowest layer at first, that step to a node alike, or change the layer.

    Only steps to another node are in the walk. Goes through ``jit`` and ``vmap``, with ``length`` and
    ``stay`` constants.

    Args:
      key: a JAX key.
      graph: of V nodes.
      starts: int32 ``[N]``, 0 to V - 1; as in :func:`jaxvision.graph.random_walks`.
      length: L, nodes of a walk with its start.
      stay: probability of a step in the layer, instead of a change of it; 0.3 in the authors' program.

    Returns:
      The walks. A node that is alone in all layers stays, masked.

    Raises:
      ValueError: as :func:`jaxvision.graph.random_walks`, or if ``stay`` is no probability above 0.
    """
    check_walk(length)
    check_starts(starts, graph.num_nodes)
    if not 0 < stay <= 1:
        raise ValueError(f"stay: got {stay}, expected a probability above 0, at most 1")
    starts = jnp.asarray(starts, jnp.int32)
    valid = (starts >= 0) & (starts < graph.num_nodes)
    starts = jnp.where(valid, starts, 0)
    lanes, degrees, size = jnp.arange(len(starts)), graph.edges.degrees, graph.num_nodes
    # Whoever is in the lowest layer is joined with others in each layer that it comes to.
    valid_walk = degrees[starts] > 0

    def going(state: _Lanes) -> jax.Array:
        return valid_walk & (state.size < length)

    def draw(state: _Lanes) -> _Lanes:
        choice, chance, direction = jax.random.uniform(jax.random.fold_in(key, state.trial), (3, len(starts)))
        found = draw_neighbours(graph.edges, state.place, choice)
        steps = (chance < stay) | ~graph.changes[state.place]
        layer = jnp.where(direction < graph.up[state.place], size, -size)
        place = jnp.where(steps, found, state.place + layer)
        taken = going(state)
        index = jnp.where(taken & steps, state.size, length)  # behind the end: not written
        return _Lanes(
            state.trial + 1,
            state.size + (taken & steps),
            jnp.where(taken, place, state.place),
            state.nodes.at[lanes, index].set(found % max(size, 1), mode="drop"),
        )

    nodes = jnp.zeros((len(starts), length), jnp.int32).at[:, 0].set(starts)
    state = _Lanes(jnp.int32(0), jnp.ones_like(starts), starts, nodes)
    done = lax.while_loop(lambda state: going(state).any(), draw, state)
    where = jnp.arange(length)[None, :] < done.size[:, None]
    nodes = jnp.where(where, done.nodes, (done.place % max(size, 1))[:, None])
    return Walks(nodes, where & valid[:, None])
