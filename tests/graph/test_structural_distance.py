import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.walk_probabilities import degree_cost, dtw, rings, run_cost, structural_distance, weight_matrix

from jaxvision.graph import (
    DegreeSequences,
    candidate_pairs,
    degree_rings,
    dtw_distances,
    structural_distances,
    walk_graph,
)

runs = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=6)


def _sequences(lists):
    width = max(map(len, lists))
    degrees, counts = np.full((2, len(lists), width), 77.0)
    for row, pairs in enumerate(lists):
        degrees[row, : len(pairs)], counts[row, : len(pairs)] = zip(*pairs, strict=True)
    return DegreeSequences(degrees, counts, np.array([len(pairs) for pairs in lists]))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(runs, runs), min_size=1, max_size=5))
def test_alignments_are_those_of_plain_dynamic_time_warping(pairs):
    first, second = zip(*pairs, strict=True)
    found = dtw_distances(_sequences(first), _sequences(second))
    assert found == pytest.approx([dtw(a, b, run_cost) for a, b in pairs], rel=1e-12)


def test_equal_sequences_cost_nothing_and_runs_cost_their_length():
    same = _sequences([[(3, 2), (5, 1)]])
    assert dtw_distances(same, same).tolist() == [0]
    # (3.5 / 1.5 - 1) * max(2, 4)
    assert dtw_distances(_sequences([[(1, 2)]]), _sequences([[(3, 4)]])) == pytest.approx([16 / 3])
    assert dtw([1, 1], [3, 3, 3, 3], degree_cost) == pytest.approx(16 / 3), "as single degrees do here"


def _graph(seed, size=9, edges=12):
    rng = np.random.default_rng(seed)
    pairs = np.unique(np.sort(rng.integers(0, size, (edges, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    senders, receivers = np.concatenate([pairs, pairs[:, ::-1]]).T
    return senders, receivers, walk_graph(senders, receivers, num_nodes=size)


def test_rings_hold_the_degrees_at_each_distance(monkeypatch):
    senders, receivers, graph = _graph(1)
    matrix = weight_matrix(senders, receivers, 9)
    degrees = (matrix > 0).sum(axis=1)
    for block in (512, 4):  # sources at once
        monkeypatch.setattr("jaxvision.graph.structural_distance._SOURCES", block)
        found = degree_rings(graph, compress=False)
        for node in range(9):
            wanted = [sorted(degrees[ring].tolist()) for ring in rings(matrix, node)]
            ours = [ring.degrees[node, : ring.lengths[node]].tolist() for ring in found]
            assert [ring for ring in ours if ring] == wanted
    compressed = degree_rings(graph)
    for plain, short in zip(found, compressed, strict=True):
        for node in range(9):
            spelled = np.repeat(short.degrees[node], short.counts[node].astype(int))
            assert (
                spelled[: plain.lengths[node]].tolist() == plain.degrees[node, : plain.lengths[node]].tolist()
            )
            assert len(spelled) == plain.lengths[node] or short.counts[node, short.lengths[node] :].sum() == 0
    assert len(degree_rings(graph, layers=2)) == 2


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distances_are_those_of_the_definition(seed, compress):
    senders, receivers, graph = _graph(seed)
    matrix = weight_matrix(senders, receivers, 9)
    found = structural_distances(graph, compress=compress)
    assert len(found.pairs) == 36
    for pair, distances in zip(found.pairs, found.distances.T, strict=True):
        wanted = structural_distance(matrix, *pair, compress)
        assert distances[: len(wanted)] == pytest.approx(wanted, rel=1e-12)
        assert np.all(np.isinf(distances[len(wanted) :]))
    few = structural_distances(graph, compress=compress, layers=2)
    assert np.array_equal(few.distances, found.distances[:2])


def test_nodes_that_a_symmetry_swaps_are_at_no_distance():
    ring = np.arange(6)
    graph = walk_graph(
        np.concatenate([ring, (ring + 1) % 6]), np.concatenate([(ring + 1) % 6, ring]), num_nodes=6
    )
    assert np.all(structural_distances(graph).distances == 0)


def test_candidates_are_the_nearest_degrees():
    degrees = np.random.default_rng(0).integers(0, 30, 40)
    pairs = {tuple(pair) for pair in candidate_pairs(degrees, 6).tolist()}
    for node in range(40):
        mine = sorted(abs(degrees[node] - degrees[sum(pair) - node]) for pair in pairs if node in pair)
        nearest = np.sort(np.abs(np.delete(degrees, node) - degrees[node]))[:6]
        assert mine[:6] == nearest.tolist()
    assert len(candidate_pairs(degrees, None)) == len(candidate_pairs(degrees, 39)) == 40 * 39 // 2
    assert candidate_pairs(np.array([3]), None).shape == (0, 2)


def test_numbers_out_of_range_are_named():
    graph = _graph(0)[2]
    with pytest.raises(ValueError, match="layers: got 0"):
        structural_distances(graph, layers=0)
    with pytest.raises(ValueError, match="candidates: got -1"):
        structural_distances(graph, candidates=-1)
