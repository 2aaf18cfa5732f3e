import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.core import Graph
from jaxvision.graph import draw_neighbours, is_neighbour, walk_graph, walk_graph_of


def test_rows_hold_the_neighbours_in_order():
    graph = walk_graph(np.array([2, 0, 2, 0, 2]), np.array([3, 2, 0, 1, 3]), num_nodes=5)
    assert graph.offsets.tolist() == [0, 2, 2, 5, 5, 5]
    assert graph.neighbours.tolist() == [1, 2, 0, 3, 3]
    assert graph.degrees.tolist() == [2, 0, 3, 0, 0] and graph.num_nodes == 5
    assert graph.cumulative is None and graph.weights is None


def test_weights_become_shares_of_their_row_and_zeros_are_no_edges():
    graph = walk_graph(
        np.array([1, 0, 0, 0]), np.array([0, 2, 1, 0]), num_nodes=3, weights=np.array([1e-9, 3.0, 1.0, 0.0])
    )
    assert graph.neighbours.tolist() == [1, 2, 0] and graph.weights.tolist() == pytest.approx([1, 3, 1e-9])
    assert graph.cumulative.tolist() == [0.25, 1.0, 1.0]


def test_a_small_row_behind_a_large_one_keeps_its_shares():
    weights = np.array([1e12, 1e12, 1e-12, 3e-12])
    graph = walk_graph(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), num_nodes=2, weights=weights)
    assert graph.cumulative.tolist() == pytest.approx([0.5, 1.0, 0.25, 1.0])


def test_a_padded_graph_gives_its_real_edges_alone():
    edges = jnp.array([2.0, 6.0, 99.0])
    real = jnp.array([True, True, False])
    graph = Graph(
        nodes=jnp.zeros((3, 1)),
        senders=jnp.array([0, 0, 2]),
        receivers=jnp.array([1, 0, 2]),
        where_nodes=jnp.array([True, True, False]),
        where_edges=real,
        graph_ids=jnp.zeros(3, jnp.int32),
        where_graphs=jnp.array([True]),
        edges=edges,
    )
    found = walk_graph_of(graph)
    assert found.offsets.tolist() == [0, 2, 2] and found.cumulative.tolist() == [0.75, 1.0]
    assert walk_graph_of(graph._replace(edges=jnp.zeros((3, 4)))).cumulative is None


@settings(deadline=None, max_examples=10)
@given(
    st.integers(1, 6).flatmap(
        lambda size: st.tuples(
            st.just(size),
            st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=20),
        )
    )
)
def test_neighbours_are_found_in_any_graph(drawn):
    size, pairs = drawn
    senders, receivers = np.array(pairs, int).reshape(-1, 2).T
    graph = walk_graph(senders, receivers, num_nodes=size)
    nodes, others = (array.reshape(-1) for array in np.meshgrid(np.arange(size), np.arange(size)))
    found = is_neighbour(graph, jnp.asarray(nodes), jnp.asarray(others))
    assert found.tolist() == [pair in pairs for pair in zip(nodes.tolist(), others.tolist(), strict=True)]


def test_the_largest_draw_stays_in_its_row():
    senders = np.repeat([0, 1], [1000, 3])
    receivers = np.concatenate([np.arange(1000), [5, 6, 7]])
    most = jnp.full(2, np.nextafter(np.float32(1), np.float32(0)))
    nodes = jnp.array([0, 1])
    assert draw_neighbours(walk_graph(senders, receivers, num_nodes=1000), nodes, most).tolist() == [999, 7]
    weighted = walk_graph(senders, receivers, num_nodes=1000, weights=np.ones(1003))
    assert draw_neighbours(weighted, nodes, most).tolist() == [999, 7]
    assert draw_neighbours(weighted, nodes, jnp.zeros(2)).tolist() == [0, 5]


def test_it_goes_through_jit_whole():
    graph = walk_graph(np.array([0, 1]), np.array([1, 0]), num_nodes=2)
    found = jax.jit(lambda graph, nodes: is_neighbour(graph, nodes, nodes))(graph, jnp.arange(2))
    assert found.tolist() == [False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], 0, None), "num_nodes: got 0, expected 1 or more: an empty graph"),
        (([0, 1], [1], 2, None), r"got \[2\] and \[1\], expected one of each an edge"),
        (([0, 3], [1, 0], 3, None), "senders: node 3 at edge 1, expected 0 to 2"),
        (([0, 1], [1, -1], 3, None), "receivers: node -1 at edge 1"),
        (([0.0], [1.0], 2, None), "senders: got float64, expected integers"),
        (([0], [1], 2, [-1.0]), "weights: -1.0 at edge 0, expected finite numbers of 0 or more"),
        (([0], [1], 2, [np.nan]), "weights: nan at edge 0"),
        (([0], [1], 2, [np.inf]), "weights: inf at edge 0"),
        (([0], [1], 2, [1.0, 2.0]), r"weights: got \[2\], expected \[1\]"),
    ],
)
def test_what_is_no_graph_is_named(arguments, message):
    senders, receivers, num_nodes, weights = arguments
    with pytest.raises(ValueError, match=message):
        walk_graph(np.array(senders), np.array(receivers), num_nodes=num_nodes, weights=weights)
