"""Random walks over a graph inside of a compiled program: uniform, by weight, and biased as in node2vec."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import check_integer, check_layout
from jaxvision.graph.walk_graph import WalkGraph, draw_neighbours, is_neighbour

__all__ = ["Walks", "check_starts", "check_walk", "random_walks", "visit_counts"]


class Walks(NamedTuple):
    """N walks of up to L nodes.

    Attributes:
      nodes: int32 ``[N, L]``, the start first. A walk that comes to a node without an edge stays there.
      where: bool ``[N, L]``, True for the nodes that were walked to, False for those of staying.
    """

    nodes: jax.Array
    where: jax.Array


def random_walks(
    key: jax.Array, graph: WalkGraph, starts: jax.Array, *, length: int, p: float = 1.0, q: float = 1.0
) -> Walks:
    r"""Walks from given nodes; at p = q = 1 those of DeepWalk, else node2vec's of second order.

    From node v, reached from t, a walk goes to the neighbour x with a probability in proportion to
    :math:`\alpha(t, x) \, w_{vx}`, where :math:`\alpha` is

    .. math::
        1/p \text{ for } x = t, \qquad 1 \text{ where an edge goes from } t \text{ to } x, \qquad
        1/q \text{ else}

    and the first step by :math:`w_{vx}` alone. Each step of second order draws a neighbour by its weight and
    takes it with probability :math:`\alpha / \max \alpha`, or draws again: exact, in memory of the edges
    alone, where tables of all probabilities would need the sum of the squared degrees. The walks do not wait
    for each other: each goes on with its next step as soon as one is taken. How often a step is drawn depends
    on p and q, and is at most the quotient of the largest and the least :math:`\alpha` on average.

    Goes through ``jit`` and ``vmap`` (over keys, say), with ``length``, ``p`` and ``q`` constants.

    Args:
      key: a JAX key.
      graph: V nodes.
      starts: int32 ``[N]``, 0 to V - 1. Under ``jit``, where no error can be raised, the walk of another
        number is masked as a whole.
      length: L, nodes of a walk with its start, 1 or more.
      p: of returning; above 1, a walk turns back less often.
      q: of going on; above 1, it stays near the node before, as a breadth-first search; below, it goes
        outward, as a depth-first search.

    Returns:
      The walks.

    Raises:
      ValueError: if ``starts`` are no integers ``[N]`` or, outside of ``jit``, no nodes; if ``length`` is
        below 1, or p or q not positive.

    References:
      Perozzi, Al-Rfou and Skiena 2014, *DeepWalk: Online Learning of Social Representations*, section 4.2;
      Grover and Leskovec 2016, *node2vec: Scalable Feature Learning for Networks*, section 3.2; Yang et al.
      2019, *KnightKing: A Fast Distributed Graph Random Walk Engine*, section 4.1 (rejection).
    """
    check_walk(length, p=p, q=q)
    check_starts(starts, graph.num_nodes)
    starts = jnp.asarray(starts, jnp.int32)
    valid = (starts >= 0) & (starts < graph.num_nodes)
    starts = jnp.where(valid, starts, 0)
    if p == q == 1.0 or length <= 2:
        walks = _first_order(key, graph, starts, length)
    else:
        walks = _second_order(key, graph, starts, length, p, q)
    return Walks(walks.nodes, walks.where & valid[:, None])


def check_walk(length: int, *, p: float = 1.0, q: float = 1.0) -> None:
    """Refuses a walk without a node, and p or q that are no positive numbers.

    Raises:
      ValueError: with what came.
    """
    if length < 1:
        raise ValueError(f"length: got {length}, expected 1 or more nodes, the start among them")
    for name, value in (("p", p), ("q", q)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}: got {value}, expected a number above 0; 1 is no bias")


def check_starts(starts: jax.Array, num_nodes: int) -> None:
    """Refuses starts that are no integers ``[N]``, or no nodes as far as their values are known.

    Raises:
      ValueError: with the first that is wrong.
    """
    check_layout("starts", starts, "N")
    check_integer(starts=starts)
    if isinstance(starts, jax.core.Tracer):
        return
    values = np.asarray(starts)
    wrong = values[(values < 0) | (values >= num_nodes)]
    if len(wrong):
        raise ValueError(f"starts: node {wrong[0]}, expected 0 to {num_nodes - 1}")


def _first_order(key: jax.Array, graph: WalkGraph, starts: jax.Array, length: int) -> Walks:
    draws = jax.random.uniform(key, (length - 1, len(starts)))
    degrees = graph.degrees

    def step(
        state: tuple[jax.Array, jax.Array], draw: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], Walks]:
        node, going = state
        going = going & (degrees[node] > 0)
        node = jnp.where(going, draw_neighbours(graph, node, draw), node)
        return (node, going), Walks(node, going)

    first = Walks(starts, jnp.ones_like(starts, bool))
    _, later = lax.scan(step, (first.nodes, first.where), draws)  # [L - 1, N]
    return Walks(*(jnp.concatenate([x[None], xs]).T for x, xs in zip(first, later, strict=True)))


class _Lanes(NamedTuple):
    """Walks under way, each at a step of its own.

    Attributes:
      trial: int32 [], draws so far.
      size: int32 ``[N]``, nodes of each walk so far.
      going: bool ``[N]``, False where a walk has all its nodes, or came to its end.
      before: int32 ``[N]``, the node before the last.
      node: int32 ``[N]``, the last node.
      nodes: int32 ``[N, L]``.
    """

    trial: jax.Array
    size: jax.Array
    going: jax.Array
    before: jax.Array
    node: jax.Array
    nodes: jax.Array


def _second_order(
    key: jax.Array, graph: WalkGraph, starts: jax.Array, length: int, p: float, q: float
) -> Walks:
    lanes = jnp.arange(len(starts))
    back, near, far = (value / max(1 / p, 1.0, 1 / q) for value in (1 / p, 1.0, 1 / q))
    degrees = graph.degrees

    def draw(state: _Lanes) -> _Lanes:
        choice, chance = jax.random.uniform(jax.random.fold_in(key, state.trial), (2, len(starts)))
        found = draw_neighbours(graph, state.node, choice)
        bias = jnp.where(is_neighbour(graph, state.before, found), near, far)
        bias = jnp.where(found == state.before, back, bias)
        # The first step has no node before; where there is one edge, there is nothing to choose.
        free = (state.size == 1) | (degrees[state.node] == 1)
        taken = state.going & (free | (chance < bias))
        place = jnp.where(taken, state.size, length)  # behind the end: not written
        size, node = state.size + taken, jnp.where(taken, found, state.node)
        return _Lanes(
            state.trial + 1,
            size,
            (size < length) & (degrees[node] > 0),
            jnp.where(taken, state.node, state.before),
            node,
            state.nodes.at[lanes, place].set(found, mode="drop"),
        )

    nodes = jnp.zeros((len(starts), length), jnp.int32).at[:, 0].set(starts)
    size = jnp.ones_like(starts)
    state = _Lanes(jnp.int32(0), size, degrees[starts] > 0, starts, starts, nodes)
    done = lax.while_loop(lambda state: state.going.any(), draw, state)
    where = jnp.arange(length)[None, :] < done.size[:, None]
    return Walks(jnp.where(where, done.nodes, done.node[:, None]), where)


def visit_counts(
    key: jax.Array, walk: Callable[[jax.Array, jax.Array], Walks], *, num_nodes: int, batch_size: int = 1024
) -> np.ndarray:
    """How often each node comes in walks, one from each node: int64 ``[V]``, all 1 or more.

    What a skip-gram needs to know before it is trained: the distribution of its noise, or its Huffman tree.

    Args:
      key: a JAX key.
      walk: ``(key, starts) -> walks``, compiled.
      num_nodes: V.
      batch_size: walks at once.
    """
    counts = np.zeros(num_nodes, np.int64)
    for first in range(0, num_nodes, batch_size):
        starts = np.arange(first, first + batch_size, dtype=np.int32)
        inside = starts < num_nodes
        # All calls have one shape; what is behind the last node is not counted.
        walks = walk(jax.random.fold_in(key, first), jnp.asarray(np.where(inside, starts, 0)))
        where = np.asarray(walks.where) & inside[:, None]
        counts += np.bincount(np.asarray(walks.nodes)[where], minlength=num_nodes)
    return counts
