r"""How much two nodes differ in structure: by the degrees of the nodes around them, ring by ring (struc2vec).

.. math::
    f_k(u, v) = f_{k-1}(u, v) + g(s(R_k(u)), s(R_k(v))), \qquad f_{-1} = 0

with :math:`R_k(u)` the nodes at distance k from u, :math:`s` their degrees in ascending order and :math:`g`
the cost of aligning two such sequences by dynamic time warping. All on the host, in numpy: it is done once.

References:
  Ribeiro, Saverese and Figueiredo 2017, *struc2vec: Learning Node Representations from Structural Identity*,
  sections 3.1 (the distance) and 3.4 (the reductions).
"""

from typing import NamedTuple

import numpy as np

from jaxvision.graph.walk_graph import WalkGraph

__all__ = [
    "DegreeSequences",
    "StructuralDistances",
    "candidate_pairs",
    "degree_rings",
    "dtw_distances",
    "structural_distances",
]

_SOURCES = 512  # whose rings are found at once: memory of that many times the number of nodes
_PAIRS = 1 << 15  # that are aligned at once
_SMOOTHING = 0.5


class StructuralDistances(NamedTuple):
    """Distances of P pairs of nodes in K layers.

    Attributes:
      pairs: int32 ``[P, 2]``, each pair of different nodes at most once, the smaller number first.
      distances: float64 ``[K, P]``, :math:`f_k`, which does not fall from layer to layer; inf where one of
        both has no node at distance k, so that the pair is in no such layer.
    """

    pairs: np.ndarray
    distances: np.ndarray


class DegreeSequences(NamedTuple):
    """Sequences of degrees as runs of equal ones.

    Attributes:
      degrees: float64 ``[N, M]``, ascending; behind a sequence's end, anything.
      counts: float64 ``[N, M]``, how often each comes.
      lengths: int ``[N]``, runs.
    """

    degrees: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray


def structural_distances(
    graph: WalkGraph, *, layers: int | None = None, candidates: int | None = None, compress: bool = True
) -> StructuralDistances:
    """The distances that the layers of struc2vec's context graph are made of.

    Args:
      graph: V nodes; directions count, weights do not.
      layers: at most so many, from k = 0 (the paper's reduction 3); by default as many as the graph is wide.
      candidates: compare each node with so many others of the nearest degrees (reduction 2; the authors'
        program takes ``2 log2(V)``); by default with all.
      compress: align runs of equal degrees instead of single ones (reduction 1), a close estimate in far less
        time.

    Raises:
      ValueError: if a number is below 1.
    """
    for name, value in (("layers", layers), ("candidates", candidates)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: got {value}, expected 1 or more")
    pairs = candidate_pairs(np.asarray(graph.degrees), candidates)
    first, second = pairs.T
    total, found = np.zeros(len(pairs)), []
    for sequences in degree_rings(graph, layers=layers, compress=compress):
        there = (sequences.lengths[first] > 0) & (sequences.lengths[second] > 0)
        total = np.where(there, total, np.inf)
        chosen = np.flatnonzero(there)
        for start in range(0, len(chosen), _PAIRS):
            part = chosen[start : start + _PAIRS]
            total[part] += dtw_distances(_take(sequences, first[part]), _take(sequences, second[part]))
        found.append(total.copy())
    return StructuralDistances(pairs, np.stack(found))


def candidate_pairs(degrees: np.ndarray, candidates: int | None) -> np.ndarray:
    """Pairs to compare: int32 ``[P, 2]``, ascending.

    Args:
      degrees: ``[V]``.
      candidates: of each node, the others whose degrees are nearest; a pair is taken if one of both chose the
        other. None for all pairs.

    >>> candidate_pairs(np.array([1, 5, 2, 6]), 1).tolist()
    [[0, 2], [1, 3]]
    """
    size = len(degrees)
    if candidates is None or candidates >= size - 1:
        return np.stack(np.triu_indices(size, 1), axis=1).astype(np.int32)
    order = np.argsort(degrees, kind="stable")
    # The nearest are among as many places to either side in the order of degrees.
    steps = np.concatenate([np.arange(-candidates, 0), np.arange(1, candidates + 1)])
    places = np.arange(size)[:, None] + steps  # [V, 2 candidates]
    inside = (places >= 0) & (places < size)
    others = order[np.clip(places, 0, size - 1)]
    differences = np.abs(degrees[others] - degrees[order][:, None])
    nearest = np.argsort(np.where(inside, differences, np.inf), axis=1, kind="stable")[:, :candidates]
    chosen = np.take_along_axis(others, nearest, axis=1)
    both = np.stack([np.repeat(order, candidates), chosen.reshape(-1)], axis=1)
    return np.unique(np.sort(both, axis=1), axis=0).astype(np.int32)


def degree_rings(
    graph: WalkGraph, *, layers: int | None = None, compress: bool = True
) -> list[DegreeSequences]:
    """The degrees of the nodes at distance 0, 1, ... from each node, as sequences of V.

    Args:
      graph: V nodes.
      layers: at most so many distances; by default until no node has another.
      compress: runs of equal degrees; else runs of one.
    """
    degrees = np.asarray(graph.degrees)
    kinds, kind_of = np.unique(degrees, return_inverse=True)  # [C], [V]
    parts: list[list[np.ndarray]] = []
    for start in range(0, len(degrees), _SOURCES):
        for k, ring in enumerate(_rings(graph, start, layers)):  # bool [S, V]
            source, node = np.nonzero(ring)
            histogram = np.bincount(source * len(kinds) + kind_of[node], minlength=len(ring) * len(kinds))
            if k == len(parts):
                before = np.zeros((start, len(kinds)), np.int64)
                parts.append([before] if start else [])
            parts[k].append(histogram.reshape(len(ring), -1))
        for later in parts[k + 1 :]:
            later.append(np.zeros((len(ring), len(kinds)), np.int64))
    return [_runs(kinds, np.concatenate(part), compress) for part in parts]


def _rings(graph: WalkGraph, start: int, layers: int | None) -> list[np.ndarray]:
    """For some sources, which nodes are at distance 0, 1, ...: bool ``[S, V]`` each."""
    from scipy.sparse import csr_array

    offsets, neighbours = np.asarray(graph.offsets), np.asarray(graph.neighbours)
    size, edges = len(offsets) - 1, offsets[-1]
    adjacency = csr_array((np.ones(edges, np.float32), neighbours[:edges], offsets), shape=(size, size))
    sources = np.arange(start, min(start + _SOURCES, size))
    ring = np.zeros((len(sources), size), bool)
    ring[np.arange(len(sources)), sources] = True
    rings, seen = [ring], ring
    while layers is None or len(rings) < layers:
        ring = np.asarray(ring.astype(np.float32) @ adjacency > 0) & ~seen
        if not ring.any():
            break
        seen = seen | ring
        rings.append(ring)
    return rings


def _runs(kinds: np.ndarray, histogram: np.ndarray, compress: bool) -> DegreeSequences:
    """Sequences from how often each of C degrees comes, ``[V, C]``."""
    if not compress:
        lengths = histogram.sum(axis=1)
        degrees = np.ones((len(histogram), max(int(lengths.max()), 1)))
        for row, counts in zip(degrees, histogram, strict=True):
            row[: counts.sum()] = np.repeat(kinds, counts)
        return DegreeSequences(degrees, np.ones_like(degrees), lengths)
    lengths = (histogram > 0).sum(axis=1)
    longest = max(int(lengths.max()), 1)
    # A stable sort puts what comes to the front, in the order of degrees.
    front = np.argsort(histogram == 0, axis=1, kind="stable")[:, :longest]
    return DegreeSequences(
        kinds[front].astype(np.float64),
        np.take_along_axis(histogram, front, axis=1).astype(np.float64),
        lengths,
    )


def _take(sequences: DegreeSequences, chosen: np.ndarray) -> DegreeSequences:
    return DegreeSequences(*(array[chosen] for array in sequences))


def dtw_distances(first: DegreeSequences, second: DegreeSequences) -> np.ndarray:
    r"""The least cost of aligning each pair of sequences by dynamic time warping: float64 ``[N]``.

    Two degrees a and b cost

    .. math:: \left(\frac{\max(a, b) + 1/2}{\min(a, b) + 1/2} - 1\right) \max(n_a, n_b)

    with n how often each comes in its run. The halves, which the paper's formula lacks, are of the authors'
    program: without, a node with no edge would be at an infinite distance from all others.

    Args:
      first: N sequences, none empty.
      second: N sequences, none empty.

    References:
      Ribeiro et al. 2017, equations 2 (single degrees) and 5 (runs).
    """
    size = len(first.lengths)
    result = np.zeros(size)
    width = int(second.lengths.max(initial=1))
    last_column = second.lengths - 1
    above = np.full((width + 1, size), np.inf)
    above[0] = 0.0  # only the first pair starts an alignment
    for i in range(int(first.lengths.max(initial=0))):
        row = np.full((width + 1, size), np.inf)
        a, n = first.degrees[:, i], first.counts[:, i]
        for j in range(width):
            b, m = second.degrees[:, j], second.counts[:, j]
            cost = ((np.maximum(a, b) + _SMOOTHING) / (np.minimum(a, b) + _SMOOTHING) - 1) * np.maximum(n, m)
            row[j + 1] = cost + np.minimum(np.minimum(above[j], above[j + 1]), row[j])
        ends = first.lengths == i + 1
        result[ends] = row[last_column[ends] + 1, ends]
        above = row
    return result
