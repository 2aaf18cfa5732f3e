"""Exact probabilities of walks, and struc2vec's distances: their definitions in plain loops."""

import numpy as np


def weight_matrix(senders, receivers, num_nodes, weights=None):
    """Sums of the weights from node to node, ``[V, V]``."""
    matrix = np.zeros((num_nodes, num_nodes))
    np.add.at(matrix, (senders, receivers), 1.0 if weights is None else weights)
    return matrix


def second_order(matrix, before, node, p, q):
    """node2vec's probabilities of the next node, ``[V]``."""
    found = np.zeros(len(matrix))
    for following in range(len(matrix)):
        if following == before:
            bias = 1 / p
        elif matrix[before, following] > 0:
            bias = 1.0
        else:
            bias = 1 / q
        found[following] = bias * matrix[node, following]
    return found / found.sum()


def dtw(first, second, cost):
    """Least cost of an alignment of two sequences."""
    table = np.full((len(first) + 1, len(second) + 1), np.inf)
    table[0, 0] = 0
    for i, a in enumerate(first, start=1):
        for j, b in enumerate(second, start=1):
            table[i, j] = cost(a, b) + min(table[i - 1, j], table[i, j - 1], table[i - 1, j - 1])
    return table[-1, -1]


def degree_cost(a, b):
    return (max(a, b) + 0.5) / (min(a, b) + 0.5) - 1


def run_cost(a, b):
    """Of runs ``(degree, count)``."""
    return degree_cost(a[0], b[0]) * max(a[1], b[1])


def rings(matrix, source):
    """Lists of the nodes at distance 0, 1, ..."""
    found, seen = [[source]], {source}
    while True:
        ring = sorted({int(x) for node in found[-1] for x in np.flatnonzero(matrix[node]) if x not in seen})
        if not ring:
            return found
        seen |= set(ring)
        found.append(ring)


def structural_distance(matrix, first, second, compress):
    """f_0, f_1, ... of two nodes as long as both have such rings."""
    degrees = (matrix > 0).sum(axis=1)
    total, found = 0.0, []
    for one, other in zip(rings(matrix, first), rings(matrix, second), strict=False):
        a, b = sorted(degrees[one].tolist()), sorted(degrees[other].tolist())
        if compress:
            a, b = ([(d, seq.count(d)) for d in sorted(set(seq))] for seq in (a, b))
            total += dtw(a, b, run_cost)
        else:
            total += dtw(a, b, degree_cost)
        found.append(total)
    return found
