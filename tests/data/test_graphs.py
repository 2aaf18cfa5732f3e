"""Graphs from edges, SciPy and NetworkX; edits against dense matrices; what is wrong, by name."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.data import (
    add_self_loops,
    check_host_graph,
    coalesce,
    degrees,
    graph_from_networkx,
    graph_from_pairs,
    graph_from_scipy,
    k_hop_nodes,
    make_graph,
    normalise_edges,
    normalise_rows,
    remove_self_loops,
    sort_by_receiver,
    subgraph,
    symmetrise,
    unpad_graph,
)


def dense(graph):
    """The adjacency matrix [V, V], entry [sender, receiver], weights of equal edges added."""
    matrix = np.zeros((len(graph.nodes), len(graph.nodes)))
    weights = np.ones(len(graph.senders)) if graph.edges is None else graph.edges
    np.add.at(matrix, (graph.senders, graph.receivers), weights)
    return matrix


def draw(rng, num_nodes, num_edges, *, weighted=True):
    ends = rng.integers(0, num_nodes, (2, num_edges))
    weights = rng.random(num_edges).astype(np.float32) if weighted else None
    return make_graph(*ends, nodes=rng.normal(size=(num_nodes, 3)), edges=weights)


sizes = st.tuples(st.integers(1, 7), st.integers(0, 20), st.integers(0, 1000))


@settings(max_examples=60, deadline=None)
@given(sizes)
def test_edits_are_those_of_the_dense_matrix(size):
    num_nodes, num_edges, seed = size
    rng = np.random.default_rng(seed)
    graph = draw(rng, num_nodes, num_edges)
    matrix = dense(graph)
    one = np.eye(num_nodes)
    for edited in (
        graph,
        coalesce(graph),
        remove_self_loops(graph),
        add_self_loops(graph),
        symmetrise(graph),
    ):
        check_host_graph(edited)
        assert edited.senders.dtype == edited.receivers.dtype == np.int32
    np.testing.assert_allclose(dense(coalesce(graph)), matrix, rtol=1e-6)
    np.testing.assert_allclose(dense(remove_self_loops(graph)), matrix * (1 - one), rtol=1e-6)
    looped = np.diag(np.bincount(graph.senders[graph.senders == graph.receivers], minlength=num_nodes) > 0)
    np.testing.assert_allclose(dense(add_self_loops(graph, fill=2)), matrix + 2 * (one - looped), rtol=1e-6)
    np.testing.assert_array_equal(degrees(graph), (dense(graph._replace(edges=None))).sum(axis=0))
    np.testing.assert_array_equal(
        degrees(graph, direction="out"), dense(graph._replace(edges=None)).sum(axis=1)
    )
    both = symmetrise(graph)
    np.testing.assert_allclose(dense(both), dense(both).T, rtol=1e-6)
    np.testing.assert_array_equal(dense(both._replace(edges=None)), ((matrix + matrix.T) > 0).astype(float))
    total = degrees(graph, weighted=True)
    np.testing.assert_allclose(total, matrix.sum(axis=0), rtol=1e-6)
    inverse = np.where(total > 0, 1 / np.where(total > 0, total, 1), 0)
    root = np.sqrt(inverse)
    wanted = root[:, None] * matrix * root[None]
    np.testing.assert_allclose(dense(normalise_edges(graph)), wanted, rtol=1e-5)
    np.testing.assert_allclose(dense(normalise_edges(graph, how="receiver")), matrix * inverse, rtol=1e-5)
    leaving = matrix.sum(axis=1, keepdims=True)
    shared = matrix / np.where(leaving > 0, leaving, 1)
    np.testing.assert_allclose(dense(normalise_edges(graph, how="sender")), shared, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(0, 4))
def test_neighbourhoods_are_powers_of_the_dense_matrix(size, hops):
    num_nodes, num_edges, seed = size
    rng = np.random.default_rng(seed)
    graph = draw(rng, num_nodes, num_edges, weighted=False)
    seeds = rng.permutation(num_nodes)[: rng.integers(0, num_nodes + 1)]
    reach = np.linalg.matrix_power((dense(graph) > 0) + np.eye(num_nodes), hops)
    np.testing.assert_array_equal(
        k_hop_nodes(graph, seeds, hops), np.flatnonzero(reach[:, seeds].sum(axis=1))
    )
    outward = np.flatnonzero(reach[seeds].sum(axis=0))
    np.testing.assert_array_equal(k_hop_nodes(graph, seeds, hops, direction="out"), outward)
    part = subgraph(graph, seeds)
    check_host_graph(part)
    np.testing.assert_array_equal(dense(part), dense(graph)[np.ix_(seeds, seeds)])
    np.testing.assert_array_equal(part.nodes, graph.nodes[seeds])


def test_edges_come_in_the_order_of_their_receivers_with_their_features():
    edges = np.arange(8.0).reshape(4, 2)
    graph = graph_from_pairs([(0, 2), (1, 0), (2, 2), (2, 0)], num_nodes=4, edges=edges)
    assert graph.receivers.tolist() == [0, 0, 2, 2]
    assert graph.senders.tolist() == [1, 2, 0, 2]
    assert graph.edges.tolist() == edges[[1, 3, 0, 2]].tolist()
    assert graph.nodes.tolist() == [[1.0]] * 4
    swapped = graph._replace(senders=graph.senders[::-1], receivers=graph.receivers[::-1])
    assert sort_by_receiver(swapped).receivers.tolist() == [0, 0, 2, 2]


def test_merged_edges_add_average_or_keep_the_first():
    graph = make_graph([0, 0, 1], [1, 1, 0], num_nodes=2, edges=[[1.0, 2.0], [3.0, 6.0], [5.0, 5.0]])
    assert coalesce(graph).edges.tolist() == [[5.0, 5.0], [4.0, 8.0]]
    assert coalesce(graph, reduce="mean").edges.tolist() == [[5.0, 5.0], [2.0, 4.0]]
    assert coalesce(graph, reduce="first").edges.tolist() == [[5.0, 5.0], [1.0, 2.0]]
    with pytest.raises(ValueError, match="'sum', 'mean' or 'first', got 'max'"):
        coalesce(graph, reduce="max")


def test_a_graph_without_edges_and_one_without_nodes():
    for num_nodes in (0, 1, 3):
        graph = graph_from_pairs([], num_nodes=num_nodes)
        for edited in (coalesce(graph), symmetrise(graph), normalise_edges(graph), unpad_graph(graph)):
            check_host_graph(edited)
            assert edited.senders.shape == (0,)
        assert len(add_self_loops(graph).senders) == num_nodes
        assert degrees(graph).tolist() == [0] * num_nodes


def test_scipy_matrices_of_every_format():
    matrix = scipy.sparse.random_array((6, 6), density=0.4, rng=np.random.default_rng(0))
    for converted in (matrix.tocsr(), matrix.tocsc(), matrix.tocoo(), scipy.sparse.csr_matrix(matrix)):
        np.testing.assert_allclose(dense(graph_from_scipy(converted)), matrix.toarray(), rtol=1e-6)
    with pytest.raises(ValueError, match=r"matrix \[2, 3\], expected an adjacency matrix"):
        graph_from_scipy(scipy.sparse.coo_array((2, 3)))
    with pytest.raises(ValueError, match="got ndarray, expected a sparse matrix"):
        graph_from_scipy(np.zeros((2, 2)))


@pytest.mark.parametrize("kind", ["Graph", "DiGraph", "MultiGraph", "MultiDiGraph"])
def test_graphs_of_networkx(kind):
    networkx = pytest.importorskip("networkx", reason="networkx is not installed (extra graph)")
    theirs = getattr(networkx, kind)()
    theirs.add_node("alone", x=[0.0, 1.0])
    for node in "abc":
        theirs.add_node(node, x=[1.0, 2.0])
    theirs.add_weighted_edges_from([("a", "b", 2.0), ("b", "c", 3.0), ("c", "c", 4.0), ("a", "b", 5.0)])
    ours, names = graph_from_networkx(theirs, node_attribute="x", edge_attribute="weight")
    check_host_graph(ours)
    assert names == ("alone", "a", "b", "c")
    np.testing.assert_allclose(dense(ours), networkx.to_numpy_array(theirs, nodelist=names))
    assert ours.nodes.tolist() == [[0.0, 1.0]] + [[1.0, 2.0]] * 3
    with pytest.raises(ValueError, match="node 'alone' has no 'y'; it has x"):
        graph_from_networkx(theirs, node_attribute="y")
    with pytest.raises(ValueError, match="edge 'a' - 'b' has no 'length'; it has weight"):
        graph_from_networkx(theirs, edge_attribute="length")


@pytest.mark.parametrize(
    ("senders", "receivers", "options", "message"),
    [
        ([0, 5], [1, 0], {"num_nodes": 3}, "edge 1 from 5 to 0: its sender is not one of 3 nodes"),
        ([0, 1], [1, 3], {"num_nodes": 3}, r"edge 1 from 1 to 3: its receiver is not one of 3 nodes"),
        ([0, -1], [1, 0], {"num_nodes": 3}, "edge 1 from -1 to 0: its sender is negative"),
        ([0], [0, 1], {"num_nodes": 2}, "1 senders and 2 receivers"),
        ([0.0], [1.0], {"num_nodes": 2}, "senders: got float64"),
        ([[0]], [[1]], {"num_nodes": 2}, r"senders: got int64 \[1, 1\]"),
        ([0], [0], {}, "give nodes or num_nodes"),
        ([], [], {"nodes": [[1.0], [np.nan]]}, r"nodes: \[1, 0\] is nan"),
        ([], [], {"nodes": [[1.0], [1e300]]}, r"nodes: \[1, 0\] is inf"),
        ([], [], {"nodes": [1.0, 2.0]}, r"nodes \[2\], expected features \[V, F\]"),
        ([], [], {"nodes": [["a"]]}, "expected numbers; encode text"),
        ([], [], {"nodes": [[1.0]], "num_nodes": 2}, "features of 1 nodes, but num_nodes is 2"),
        ([0], [0], {"num_nodes": 1, "edges": [np.inf]}, r"edges: \[0\] is inf"),
        ([0], [0], {"num_nodes": 1, "edges": [1.0, 2.0]}, r"edges \[2\] for 1 edges"),
    ],
)
def test_what_is_wrong_is_named(senders, receivers, options, message):
    with pytest.raises(ValueError, match=message):
        make_graph(senders, receivers, **options)


def test_pairs_that_are_none_are_named():
    with pytest.raises(ValueError, match=r"pairs \[1, 3\], expected \[E, 2\]"):
        graph_from_pairs([(0, 1, 2)], num_nodes=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"senders": np.array([0, 9], np.int32)}, "edge 1 from 9 to 1"),
        ({"receivers": np.array([1, 0], np.int32)}, "not in the order of their receivers"),
        ({"receivers": np.array([0], np.int32)}, "1 receivers and 2 senders"),
        ({"where_nodes": np.ones(4, bool)}, "4 where_nodes and 3 nodes"),
        ({"graph_ids": np.array([0, 1, 0], np.int32)}, "graph_ids from 0 to 1"),
        ({"nodes": np.full((3, 1), np.nan)}, "nodes: .* is nan"),
        ({"edges": np.array([1.0, np.nan])}, "edges: .* is nan"),
    ],
)
def test_a_graph_from_elsewhere_is_checked(change, message):
    graph = make_graph([0, 1], [0, 1], num_nodes=3)
    check_host_graph(graph)
    with pytest.raises(ValueError, match=message):
        check_host_graph(graph._replace(**change))


def test_what_padding_holds_is_not_looked_at():
    graph = make_graph([0], [0], nodes=[[1.0], [2.0]], edges=[1.0])
    padded = graph._replace(nodes=np.array([[1.0], [np.nan]]), where_nodes=np.array([True, False]))
    check_host_graph(padded)
    assert unpad_graph(padded).nodes.tolist() == [[1.0]]


def test_what_is_real_may_not_hang_on_padding():
    graph = make_graph([0, 2, 1], [1, 0, 2], num_nodes=3)
    masked = graph._replace(where_nodes=np.array([True, True, False]))
    with pytest.raises(ValueError, match=r"edge 0 from 2 to 0 is real, but its sender is padding \(1 such"):
        unpad_graph(masked)
    with pytest.raises(ValueError, match="edge 2 from 1 to 2 is real, but its receiver is padding"):
        coalesce(masked._replace(where_edges=np.array([False, True, True])))
    kept = unpad_graph(masked._replace(where_edges=np.array([False, True, False])))
    assert (kept.senders.tolist(), kept.receivers.tolist()) == ([0], [1])
    with pytest.raises(ValueError, match="node 0 is real, but its graph 0 is padding"):
        unpad_graph(graph._replace(where_graphs=np.zeros(1, bool)))


def test_edits_refuse_what_they_cannot_do():
    graph = make_graph([0], [1], num_nodes=2, edges=[[1.0, 2.0]])
    with pytest.raises(ValueError, match="edges carry features"):
        normalise_edges(graph)
    with pytest.raises(ValueError, match="'symmetric', 'receiver' or 'sender', got 'left'"):
        normalise_edges(graph, how="left")
    with pytest.raises(ValueError, match="negative degree"):
        normalise_edges(make_graph([0], [1], num_nodes=2, edges=[-1.0]))
    with pytest.raises(ValueError, match=r"seeds: got 2 to 2 in a graph of 2 nodes"):
        k_hop_nodes(graph, [2], 1)
    with pytest.raises(ValueError, match="nodes: got -1 to 0"):
        subgraph(graph, [0, -1])
    with pytest.raises(ValueError, match="given twice"):
        subgraph(graph, [0, 0])
    with pytest.raises(ValueError, match="nodes: got float64"):
        subgraph(graph, [0.5])


def test_rows_are_divided_by_their_sums():
    assert normalise_rows(np.array([[2, 2], [0, 0]])).tolist() == [[0.5, 0.5], [0.0, 0.0]]
