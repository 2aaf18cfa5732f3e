import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from jaxvision.graph import Line, line_chunk, line_edges, line_embedding, line_term, walk_graph
from jaxvision.graph.line import _draw
from jaxvision.ops import sample_alias

SENDERS = np.array([0, 1, 1, 2, 2, 3, 3, 0, 4])
RECEIVERS = np.array([1, 0, 2, 1, 3, 2, 0, 3, 0])
WEIGHTS = np.array([1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 3.0, 3.0, 0.5])


@pytest.fixture(scope="module")
def edges():
    return line_edges(walk_graph(SENDERS, RECEIVERS, num_nodes=5, weights=WEIGHTS))


def _tables(model, scale=0.5):
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return {name: jnp.asarray(scale * rng.normal(size=x.shape), jnp.float32) for name, x in shapes.items()}


def test_edges_are_drawn_by_weight_and_noise_by_degree(edges):
    drawn = np.asarray(sample_alias(jax.random.key(0), edges.by_weight, (20000,)))
    pairs = np.zeros((5, 5))
    np.add.at(pairs, (np.asarray(edges.senders)[drawn], np.asarray(edges.receivers)[drawn]), 1)
    wanted = np.zeros((5, 5))
    wanted[SENDERS, RECEIVERS] = 20000 * WEIGHTS / WEIGHTS.sum()
    assert np.all(pairs[wanted == 0] == 0)
    assert chisquare(pairs[wanted > 0], wanted[wanted > 0]).pvalue > 1e-3
    noise = np.bincount(sample_alias(jax.random.key(1), edges.noise, (20000,)), minlength=5)
    degrees = np.bincount(RECEIVERS, WEIGHTS, minlength=5) ** 0.75
    assert noise[4] == 0, "no edge ends in it"
    assert chisquare(noise[:4], 20000 * degrees[:4] / degrees.sum()).pvalue > 1e-3


@pytest.mark.parametrize("order", ["first", "second", "both"])
def test_the_loss_is_the_formula_and_a_step_its_gradient(edges, order):
    model = Line(5, order=order, features=4, negatives=3, batch_size=6)
    tables, key = _tables(model), jax.random.key(7)
    term = line_term(model, tables, edges, key)
    source, targets = (np.asarray(array) for array in _draw(model, edges, jax.random.fold_in(key, 0)))
    total = 0.0
    for nodes, others in model.parts:
        for i, row in zip(source, targets, strict=True):
            for place, j in enumerate(row):
                if place and j == row[0]:
                    continue
                score = float(np.dot(tables[nodes][i], tables[others][j]))
                total += np.log1p(np.exp(-score if place == 0 else score))
    assert float(term.total) == pytest.approx(total, rel=1e-5)
    assert float(term.weight) == 6 * len(model.parts)

    gradients = jax.grad(lambda tables: line_term(model, tables, edges, key).total)(tables)
    rate = jnp.float32(1e-2)
    found = line_chunk(model, tables, edges, key, rate, batches=1)
    assert float(found.loss) == pytest.approx(total, rel=1e-5) and bool(found.finite)
    for name, gradient in gradients.items():
        np.testing.assert_allclose((tables[name] - found.tables[name]) / rate, gradient, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("rate", [1.0, 1e3])
def test_a_step_that_would_overshoot_is_shortened(edges, rate):
    model = Line(5, order="second", features=4, batch_size=512)
    tables = _tables(model, scale=3.0)
    chunk = jax.jit(
        lambda tables, rate: line_chunk(model, tables, edges, jax.random.key(0), rate, batches=40)
    )
    found = chunk(tables, jnp.float32(rate))
    later = chunk(found.tables, jnp.float32(0))
    assert bool(found.finite) and float(later.loss) < float(found.loss)


@pytest.mark.parametrize("order", ["first", "second"])
def test_it_learns_what_is_joined_and_what_has_the_same_neighbours(order):
    """Two groups of four: joined within for the first order; for the second, with the other group alone."""
    pairs = np.array(
        [(i, j) for i in range(8) for j in range(8) if i != j and (i // 4 == j // 4) == (order == "first")]
    )
    model = Line(8, order=order, features=8, batch_size=32)
    start = jax.jit(model.init)(jax.random.key(0))
    chunk = jax.jit(
        lambda tables, edges, key: line_chunk(model, tables, edges, key, jnp.float32(0.1), batches=400)
    )
    found = chunk(start, line_edges(walk_graph(*pairs.T, num_nodes=8)), jax.random.key(1))
    vectors = line_embedding(jax.device_get(found.tables))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T
    assert near[:4, :4][np.triu_indices(4, 1)].mean() > 0.6 > 0.0 > near[:4, 4:].mean()


def test_a_batch_that_is_not_finite_changes_nothing(edges):
    model = Line(5, features=4, batch_size=8)
    tables = {**_tables(model), "context": jnp.full((5, 2), jnp.nan)}
    found = line_chunk(model, tables, edges, jax.random.key(0), jnp.float32(0.1), batches=2)
    assert not bool(found.finite)
    assert np.array_equal(found.tables["first"], tables["first"])


def test_both_orders_are_joined_at_length_one():
    tables = {"first": np.array([[3.0, 4.0]]), "second": np.array([[0.0, 2.0]]), "context": np.zeros((1, 2))}
    assert line_embedding(tables).tolist() == [[0.6, 0.8, 0.0, 1.0]]
    assert line_embedding({"second": tables["second"], "context": tables["context"]}).tolist() == [[0.0, 2.0]]


def test_one_trace_serves_all_chunks(edges):
    model, traces = Line(5, features=4, batch_size=8), []

    @jax.jit
    def chunk(tables, key, rate):
        traces.append(1)
        return line_chunk(model, tables, edges, key, rate, batches=2)

    first = chunk(_tables(model), jax.random.key(0), jnp.float32(0.1))
    chunk(first.tables, jax.random.key(1), jnp.float32(0.05))
    assert len(traces) == 1
    assert float(first.pairs) == 2 * 8 * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "third"}, "order: expected one of first, second, both, got 'third'"),
        ({"features": 0}, "features: got 0"),
        ({"features": 5}, "features: got 5, expected an even number"),
        ({"negatives": 0}, "negatives: got 0"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"num_nodes": 1}, "num_nodes: got 1, expected 2 or more"),
    ],
)
def test_what_cannot_be_learned_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        Line(**{"num_nodes": 5, **options})


def test_a_graph_without_an_edge_is_named():
    with pytest.raises(ValueError, match="no edge, expected 1 or more: LINE learns from edges"):
        line_edges(walk_graph(np.zeros(0, int), np.zeros(0, int), num_nodes=4))
