import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.walk_probabilities import second_order, weight_matrix
from scipy.stats import chi2

from jaxvision.graph import random_walks, visit_counts, walk_graph

# Directed and undirected edges, a double edge, a loop at 3, a dead end at 6, and 7 alone.
SENDERS = np.array([0, 1, 1, 2, 0, 2, 2, 3, 3, 3, 4, 4, 5, 5, 0, 0, 1, 5, 4])
RECEIVERS = np.array([1, 0, 2, 1, 2, 0, 3, 2, 3, 4, 3, 5, 4, 0, 5, 5, 4, 6, 6])
WEIGHTS = np.random.default_rng(0).uniform(0.2, 3.0, len(SENDERS))
SIZE = 8


def _graph(weights=None):
    return walk_graph(SENDERS, RECEIVERS, num_nodes=SIZE, weights=weights)


def _walk(graph, walks_each, length, **options):
    starts = jnp.asarray(np.repeat(np.arange(SIZE), walks_each))
    return jax.tree.map(np.asarray, random_walks(jax.random.key(0), graph, starts, length=length, **options))


def _p_value(walks, matrix, probabilities):
    """Of Pearson's test of all steps of second order."""
    nodes, where = walks.nodes, walks.where
    steps = [nodes[:, i : i + 3][where[:, i + 2]] for i in range(nodes.shape[1] - 2)]
    counts = np.zeros((SIZE, SIZE, SIZE))
    np.add.at(counts, tuple(np.concatenate(steps).T), 1)
    statistic, freedom = 0.0, 0
    for before in range(SIZE):
        for node in np.flatnonzero(matrix[before]):
            if not matrix[node].any():
                assert counts[before, node].sum() == 0
                continue
            expected = counts[before, node].sum() * probabilities(before, node)
            assert np.all(counts[before, node][expected == 0] == 0), "a step that no edge makes"
            kept = expected > 0
            statistic += np.sum((counts[before, node][kept] - expected[kept]) ** 2 / expected[kept])
            freedom += kept.sum() - 1
    return chi2.sf(statistic, freedom)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.25, 4.0), (4.0, 0.5)])
def test_steps_have_the_exact_probabilities(p, q, weighted):
    weights = WEIGHTS if weighted else None
    matrix = weight_matrix(SENDERS, RECEIVERS, SIZE, weights)
    walks = _walk(_graph(weights), 2000, 6, p=p, q=q)
    assert _p_value(walks, matrix, lambda t, v: second_order(matrix, t, v, p, q)) > 1e-3
    # The test sees a bias a quarter wrong, and a graph without weights.
    assert _p_value(walks, matrix, lambda t, v: second_order(matrix, t, v, 1.5 * p, q / 1.5)) < 1e-6
    if weighted:
        plain = weight_matrix(SENDERS, RECEIVERS, SIZE)
        assert _p_value(walks, matrix, lambda t, v: second_order(plain, t, v, p, q)) < 1e-6


@pytest.mark.parametrize("options", [{}, {"p": 0.5, "q": 2.0}])
def test_first_steps_go_by_weight_from_every_start(options):
    matrix = weight_matrix(SENDERS, RECEIVERS, SIZE, WEIGHTS)
    walks = _walk(_graph(WEIGHTS), 3000, 3, **options)
    for start in range(SIZE):
        ours = walks.nodes[:, 0] == start
        counts = np.bincount(walks.nodes[ours, 1][walks.where[ours, 1]], minlength=SIZE)
        if not matrix[start].any():
            assert counts.sum() == 0
            continue
        expected = 3000 * matrix[start] / matrix[start].sum()
        kept = expected > 0
        assert np.all(counts[~kept] == 0)
        statistic = np.sum((counts[kept] - expected[kept]) ** 2 / expected[kept])
        assert chi2.sf(statistic, max(kept.sum() - 1, 1)) > 1e-4


@pytest.mark.parametrize("options", [{}, {"p": 0.5, "q": 2.0}])
def test_a_walk_without_a_way_on_stays_and_is_masked(options):
    walks = _walk(_graph(), 50, 9, **options)
    assert walks.where[:, 0].all() and np.array_equal(walks.nodes[:, 0], np.repeat(np.arange(SIZE), 50))
    alone = walks.nodes[:, 0] >= 6
    assert np.all(walks.nodes[alone] == walks.nodes[alone][:, :1]) and not walks.where[alone, 1:].any()
    # Once masked, always masked, and at the same node; that is the dead end for all others.
    assert np.all(walks.where[:, 1:] <= walks.where[:, :-1])
    ended = ~walks.where[:, -1] & ~alone
    assert ended.any() and np.all(walks.nodes[ended, -1] == 6)
    after = ~walks.where & ~alone[:, None]
    assert np.all(walks.nodes[after] == 6)
    matrix = weight_matrix(SENDERS, RECEIVERS, SIZE)
    assert np.all(matrix[walks.nodes[:, :-1], walks.nodes[:, 1:]][walks.where[:, 1:]] > 0)


@pytest.mark.parametrize("options", [{}, {"p": 0.5, "q": 2.0}])
def test_one_program_serves_all_starts_and_keys(options):
    traces = []

    @jax.jit
    def walk(key, graph, starts):
        traces.append(1)
        return random_walks(key, graph, starts, length=5, **options)

    graph, starts = _graph(), jnp.arange(SIZE)
    first = walk(jax.random.key(0), graph, starts)
    again = walk(jax.random.key(0), graph, starts)
    other = walk(jax.random.key(1), graph, starts[::-1])
    assert len(traces) == 1
    assert np.array_equal(first.nodes, again.nodes) and not np.array_equal(first.nodes, other.nodes[::-1])
    keys = jax.random.split(jax.random.key(3), 4)
    mapped = jax.jit(jax.vmap(lambda key: random_walks(key, graph, starts, length=5, **options)))(keys)
    single = walk(keys[2], graph, starts)
    assert np.array_equal(mapped.nodes[2], single.nodes) and np.array_equal(mapped.where[2], single.where)


@pytest.mark.parametrize("options", [{}, {"p": 0.5, "q": 2.0}])
def test_no_start_and_no_edge(options):
    walks = random_walks(jax.random.key(0), _graph(), jnp.zeros(0, jnp.int32), length=4, **options)
    assert walks.nodes.shape == walks.where.shape == (0, 4)
    bare = walk_graph(np.zeros(0, int), np.zeros(0, int), num_nodes=3)
    walks = random_walks(jax.random.key(0), bare, jnp.arange(3), length=4, **options)
    assert walks.nodes.tolist() == [[node] * 4 for node in range(3)]
    assert walks.where.tolist() == [[True, False, False, False]] * 3


def test_a_walk_of_one_node_is_its_start():
    walks = random_walks(jax.random.key(0), _graph(), jnp.array([3, 7]), length=1, p=0.5)
    assert walks.nodes.tolist() == [[3], [7]] and walks.where.all()


def test_a_strong_bias_ends():
    """From a leaf there is one way, however unlikely it is to return."""
    star = walk_graph(np.array([0, 0, 1, 2]), np.array([1, 2, 0, 0]), num_nodes=3)
    walks = random_walks(jax.random.key(0), star, jnp.zeros(8, jnp.int32), length=20, p=1e9)
    assert np.all(walks.where) and np.all(walks.nodes[:, ::2] == 0)
    assert np.all(walks.nodes[:, 1:-2:4] != walks.nodes[:, 3::4])


def test_visits_are_counted():
    graph = _graph()
    walk = jax.jit(lambda key, starts: random_walks(key, graph, starts, length=4))
    counts = visit_counts(jax.random.key(0), walk, num_nodes=SIZE, batch_size=3)
    assert counts.shape == (SIZE,) and counts.min() >= 1
    assert counts[7] == 1, "alone, it is in its own walk"
    assert SIZE < counts.sum() <= 4 * SIZE - 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length: got 0, expected 1 or more nodes"),
        ({"length": 4, "p": 0.0}, "p: got 0.0, expected a number above 0"),
        ({"length": 4, "q": -1.0}, "q: got -1.0, expected a number above 0"),
        ({"length": 4, "q": float("inf")}, "q: got inf"),
        ({"length": 4, "p": float("nan")}, "p: got nan"),
        ({"length": 4, "starts": jnp.array([0, 8])}, "starts: node 8, expected 0 to 7"),
        ({"length": 4, "starts": jnp.array([-1])}, "starts: node -1, expected 0 to 7"),
        ({"length": 4, "starts": jnp.array([0.0])}, "starts: expected an integer dtype"),
        ({"length": 4, "starts": jnp.array(0)}, r"starts: expected \[N\]"),
    ],
)
def test_what_cannot_be_walked_is_named(options, message):
    starts = options.pop("starts", jnp.array([0]))
    with pytest.raises(ValueError, match=message):
        random_walks(jax.random.key(0), _graph(), starts, **options)


@pytest.mark.parametrize("options", [{}, {"p": 0.5}])
def test_under_jit_a_start_that_is_no_node_is_masked(options):
    walk = jax.jit(lambda starts: random_walks(jax.random.key(0), _graph(), starts, length=5, **options))
    walks = walk(jnp.array([-1, 0, 8]))
    assert walks.where.any(axis=1).tolist() == [False, True, False]
