import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from jaxvision.graph import context_graph, structural_distances, structural_walks, walk_graph

# A triangle with a tail, and one node alone.
PAIRS = np.array([[0, 1], [1, 2], [0, 2], [2, 3], [3, 4]])
SIZE = 6


@pytest.fixture(scope="module")
def found():
    senders, receivers = np.concatenate([PAIRS, PAIRS[:, ::-1]]).T
    return structural_distances(walk_graph(senders, receivers, num_nodes=SIZE))


@pytest.fixture(scope="module")
def context(found):
    return context_graph(found, num_nodes=SIZE)


def _layers(found):
    """Weights ``[K, V, V]`` by the formula."""
    weights = np.zeros((len(found.distances), SIZE, SIZE))
    for k, distances in enumerate(found.distances):
        for (first, second), distance in zip(found.pairs, distances, strict=True):
            weights[k, first, second] = weights[k, second, first] = np.exp(-distance)
    return weights


def test_layers_are_those_of_the_formulas(found, context):
    weights = _layers(found)
    rows, up = np.diff(context.edges.offsets), np.asarray(context.up)
    assert len(rows) == weights[:, :, 0].size
    for k in range(len(weights)):
        mean = weights[k][weights[k] > 0].mean()
        for node in range(SIZE):
            place = k * SIZE + node
            row = slice(*np.asarray(context.edges.offsets)[place : place + 2])
            others = np.asarray(context.edges.neighbours)[row]
            assert others.tolist() == (k * SIZE + np.flatnonzero(weights[k, node])).tolist()
            shares = np.diff(np.asarray(context.edges.cumulative)[row], prepend=0)
            assert shares == pytest.approx(
                weights[k, node][others - k * SIZE] / max(weights[k, node].sum(), 1e-9), abs=1e-6
            )
            is_above = k + 1 < len(weights) and weights[k + 1, node].any()
            strength = np.log((weights[k, node] > mean).sum() + np.e)
            wanted = 0.0 if not is_above else (1.0 if k == 0 else strength / (strength + 1))
            assert up[place] == pytest.approx(wanted, rel=1e-6)


def _stepped(weights, up, changes, stay, layer, node):
    """Probabilities of the layer and node after the next step, ``[K, V]``: changes of layer are solved."""
    count = len(weights)
    move = np.zeros((count, count))
    steps = np.zeros((count, SIZE))
    for k in range(count):
        if not weights[k, node].any():
            continue
        share = stay if changes[k, node] else 1.0
        steps[k] = share * weights[k, node] / weights[k, node].sum()
        if changes[k, node]:
            if k + 1 < count:
                move[k, k + 1] = (1 - stay) * up[k, node]
            if k:
                move[k, k - 1] = (1 - stay) * (1 - up[k, node])
    visits = np.linalg.solve(np.eye(count) - move.T, np.eye(count)[layer])
    return visits[:, None] * steps


@pytest.mark.parametrize("stay", [0.3, 1.0])
def test_walks_have_the_exact_probabilities(found, context, stay):
    weights = _layers(found)
    up, changes = (np.asarray(array).reshape(len(weights), SIZE) for array in (context.up, context.changes))
    each = 4000
    walks = structural_walks(
        jax.random.key(0), context, jnp.repeat(jnp.arange(SIZE), each), length=3, stay=stay
    )
    nodes = np.asarray(walks.nodes)
    assert bool(walks.where.all())
    counts = np.zeros((SIZE, SIZE, SIZE))
    np.add.at(counts, tuple(nodes.T), 1)
    statistic, freedom = 0.0, 0
    for start in range(SIZE):
        first = _stepped(weights, up, changes, stay, 0, start)  # [K, V]
        expected = sum(
            (
                first[layer, node]
                * np.eye(SIZE)[node][:, None]
                * _stepped(weights, up, changes, stay, layer, node).sum(axis=0)
                for layer in range(len(weights))
                for node in range(SIZE)
                if first[layer, node] > 0
            ),
            np.zeros((SIZE, SIZE)),
        )
        assert expected.sum() == pytest.approx(1)
        often = each * expected >= 5
        statistic += np.sum((counts[start][often] - each * expected[often]) ** 2 / (each * expected[often]))
        freedom += often.sum()
    assert chi2.sf(statistic, freedom) > 1e-3


def test_one_program_serves_all(context):
    traces = []

    @jax.jit
    def walk(key, graph, starts):
        traces.append(1)
        return structural_walks(key, graph, starts, length=5)

    first = walk(jax.random.key(0), context, jnp.arange(SIZE))
    walk(jax.random.key(1), context, jnp.arange(SIZE)[::-1])
    assert len(traces) == 1
    assert first.nodes.shape == (SIZE, 5) and first.where.all()
    assert int(first.nodes.max()) < SIZE, "nodes, not places in a layer"
    assert np.all(first.nodes[:, 1:] != first.nodes[:, :-1])
    empty = structural_walks(jax.random.key(0), context, jnp.zeros(0, jnp.int32), length=5)
    assert empty.nodes.shape == (0, 5)
    outside = jax.jit(lambda starts: structural_walks(jax.random.key(0), context, starts, length=2))
    assert outside(jnp.array([0, SIZE])).where.any(axis=1).tolist() == [True, False]


def test_far_nodes_do_not_fall_off():
    """A star of 2,000 leaves and a pair: weights of exp(-1000) and less still make shares."""
    leaves = np.arange(1, 2001)
    senders = np.concatenate([np.zeros(2000, int), leaves, [2001, 2002]])
    receivers = np.concatenate([leaves, np.zeros(2000, int), [2002, 2001]])
    graph = walk_graph(senders, receivers, num_nodes=2003)
    context = context_graph(structural_distances(graph, candidates=2), num_nodes=2003)
    walks = structural_walks(jax.random.key(0), context, jnp.array([0, 2001]), length=4)
    assert bool(walks.where.all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length: got 0"),
        ({"length": 3, "stay": 0.0}, "stay: got 0.0, expected a probability above 0"),
        ({"length": 3, "stay": 1.5}, "stay: got 1.5"),
        ({"length": 3, "starts": jnp.array([SIZE])}, f"starts: node {SIZE}"),
    ],
)
def test_what_cannot_be_walked_is_named(context, options, message):
    starts = options.pop("starts", jnp.array([0]))
    with pytest.raises(ValueError, match=message):
        structural_walks(jax.random.key(0), context, starts, **options)


def test_a_single_node_has_no_context():
    alone = walk_graph(np.zeros(0, int), np.zeros(0, int), num_nodes=1)
    with pytest.raises(ValueError, match="no pair of nodes"):
        context_graph(structural_distances(alone), num_nodes=1)
