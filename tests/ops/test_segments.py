"""Reductions over segments against numpy loops: every formulation, masks, empties, ties and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxvision import ops
from jaxvision.core import Graph
from jaxvision.layers import GCNConv
from jaxvision.ops.segment_formulations import bcoo_sum, dense_sum, sorted_sum

IDS = np.array([3, 0, 3, 1, 3, 0, 5], np.int32)
COUNT = 6
WHERE = np.array([True, True, False, True, True, True, True])
VALUES = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
NAMES = ("sum", "mean", "max", "min", "std")
NUMPY = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "std": np.std}


def by_loop(name, values, ids, count, where):
    rows = [values[(ids == segment) & where] for segment in range(count)]
    empty = np.zeros(values.shape[1:], np.float32)
    return np.stack([NUMPY[name](part, axis=0) if len(part) else empty for part in rows])


def softmax_by_loop(values, ids, count, where):
    result = np.zeros_like(values)
    for segment in range(count):
        mine = (ids == segment) & where
        powers = np.exp(values[mine] - values[mine].max(0, initial=-1e30))
        result[mine] = powers / powers.sum(0)
    return result


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_equals_a_loop(name, masked, planned):
    where = WHERE if masked else np.ones(7, bool)
    junk = np.where(where[:, None], VALUES, np.nan)
    plan = ops.plan_segments(IDS, COUNT, where=where if masked else None) if planned else None
    reduce = getattr(ops, f"segment_{name}")
    ours = reduce(jnp.asarray(junk), IDS, COUNT, where=where if masked else None, plan=plan)
    np.testing.assert_allclose(ours, by_loop(name, VALUES, IDS, COUNT, where), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("planned", [False, True])
def test_softmax_equals_a_loop(planned):
    plan = ops.plan_segments(IDS, COUNT, where=WHERE) if planned else None
    large = VALUES * 100
    junk = jnp.where(WHERE[:, None], large, np.nan)
    ours = ops.segment_softmax(junk, IDS, COUNT, where=jnp.asarray(WHERE), plan=plan)
    np.testing.assert_allclose(ours, softmax_by_loop(large, IDS, COUNT, WHERE), rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=80), st.integers(0, 2**31))
def test_plans_reach_every_row_once(ids, seed):
    ids = np.array(ids, np.int32)
    where = np.random.default_rng(seed).random(len(ids)) < 0.8
    plan = ops.plan_segments(ids, 5, where=where, chunk_sizes=(1, 2, 3))
    results, before = [], None
    for tables in plan.levels:
        level = []
        for table in tables:
            level += [
                [row for part in chunk for row in ([part] if before is None else before[part])]
                for chunk in table.T
            ]
        results += level
        before = level
    results.append([])
    reached = [sorted(results[place]) for place in plan.places]
    assert reached == [np.flatnonzero((ids == segment) & where).tolist() for segment in range(5)]


@pytest.mark.parametrize("formulation", [dense_sum, bcoo_sum, sorted_sum])
def test_formulations_are_equal(formulation):
    want, pull = jax.vjp(lambda v: ops.segment_sum(v, IDS, COUNT), jnp.asarray(VALUES))
    ours, pull_ours = jax.vjp(lambda v: formulation(v, jnp.asarray(IDS), COUNT), jnp.asarray(VALUES))
    np.testing.assert_allclose(ours, want, atol=1e-6)
    np.testing.assert_allclose(pull_ours(want)[0], pull(want)[0], atol=1e-6)


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("name", [*NAMES, "softmax"])
def test_gradients_are_those_of_differences(name, planned):
    plan = ops.plan_segments(IDS, COUNT, where=WHERE) if planned else None
    reduce = getattr(ops, f"segment_{name}")
    run = functools.partial(reduce, segment_ids=IDS, num_segments=COUNT, where=jnp.asarray(WHERE), plan=plan)
    modes = ["rev"] if planned else ["fwd", "rev"]
    check_grads(lambda v: run(v), (jnp.asarray(VALUES),), 1, modes, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("planned", [False, True])
def test_equal_maxima_share_the_derivative(planned):
    ids = np.array([0, 0, 0, 1], np.int32)
    plan = ops.plan_segments(ids, 2) if planned else None
    gradient = jax.grad(lambda v: ops.segment_max(v, ids, 2, plan=plan).sum())(
        jnp.array([2.0, 2.0, 1.0, 5.0])
    )
    assert gradient.tolist() == [0.5, 0.5, 0.0, 1.0]


def test_real_minus_infinity_is_a_maximum():
    for plan in (None, ops.plan_segments(np.array([0]), 2)):
        assert ops.segment_max(jnp.array([-jnp.inf]), jnp.array([0]), 2, plan=plan).tolist() == [-jnp.inf, 0]


def test_half_precision_sums_in_single():
    ones = jnp.ones(1000, jnp.bfloat16)
    total = ops.segment_sum(ones, jnp.zeros(1000, jnp.int32), 1)
    assert total.dtype == jnp.bfloat16
    assert total.tolist() == [1000]


def test_rows_outside_of_all_segments_count_for_nothing():
    ids = jnp.array([-1, 0, 2])
    assert ops.segment_sum(jnp.ones(3), ids, 2).tolist() == [1, 0]
    assert ops.segment_softmax(jnp.array([200.0, 5.0, 200.0]), ids, 2).tolist() == [0, 1, 0]


def test_no_row():
    nothing, ids = jnp.zeros((0, 3)), jnp.zeros(0, jnp.int32)
    for plan in (None, ops.plan_segments(np.zeros(0, np.int32), 2)):
        for name in NAMES:
            assert getattr(ops, f"segment_{name}")(nothing, ids, 2, plan=plan).tolist() == [[0.0] * 3] * 2


def test_bad_arguments():
    values, ids = jnp.ones((3, 2)), jnp.zeros(3, jnp.int32)
    with pytest.raises(ValueError, match=r"segment_ids: expected one a row"):
        ops.segment_sum(values, ids[:2], 2)
    with pytest.raises(ValueError, match="floating"):
        ops.segment_sum(ids, ids, 2)
    with pytest.raises(ValueError, match="where: expected bool"):
        ops.segment_max(values, ids, 2, where=ids)
    with pytest.raises(ValueError, match="plan: expected one of 3"):
        ops.segment_sum(values, ids, 3, plan=ops.plan_segments(np.zeros(3, int), 2))
    with pytest.raises(ValueError, match="at most 3 rows, got one of 2 and 5"):
        ops.segment_sum(values, ids, 2, plan=ops.plan_segments(np.zeros(5, int), 2))
    with pytest.raises(ValueError, match="expected 0 to 1, got 0 to 2"):
        ops.plan_segments(np.array([0, 2]), 2)
    with pytest.raises(ValueError, match="chunk_sizes"):
        ops.plan_segments(np.array([0]), 2, chunk_sizes=(2, 4))


def _graph(count=5, size=9):
    rng = np.random.default_rng(1)
    senders, receivers = rng.integers(0, count, (2, size)).astype(np.int32)
    where = rng.random(size) < 0.8
    return Graph(
        np.zeros((count, 1), np.float32),
        senders,
        receivers,
        np.ones(count, bool),
        where,
        np.zeros(count, np.int32),
        np.ones(1, bool),
    )


@pytest.mark.parametrize("planned", [False, True])
def test_neighbour_sum_is_a_dense_product(planned, monkeypatch):
    monkeypatch.setattr("jaxvision.ops.neighbours._BLOCK_ELEMENTS", 8)  # two edges a block
    graph = _graph()
    rng = np.random.default_rng(2)
    rows = jnp.asarray(rng.normal(size=(5, 2, 3)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(9, 2)), jnp.float32)
    ends = jnp.asarray(graph.senders), jnp.asarray(graph.receivers)
    plan = ops.plan_neighbours(graph) if planned else None

    def dense(rows, weights):
        mask = jnp.asarray(graph.where_edges)[:, None]
        matrix = jnp.zeros((5, 5, 2)).at[ends[1], ends[0]].add(jnp.where(mask, weights, 0))
        return jnp.einsum("vuh,uhf->vhf", matrix, rows)

    def ours(rows, weights):
        where = jnp.asarray(graph.where_edges)
        return ops.neighbour_sum(rows, weights, *ends, where=where, neighbours=plan)

    want, pull = jax.vjp(dense, rows, weights)
    got, pull_ours = jax.vjp(ours, rows, weights)
    np.testing.assert_allclose(got, want, atol=1e-5)
    for mine, theirs in zip(pull_ours(got), pull(got), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    second = jax.grad(lambda r: jax.grad(lambda r: (ours(r, weights) ** 2).sum())(r).sum())(rows)
    want = jax.grad(lambda r: jax.grad(lambda r: (dense(r, weights) ** 2).sum())(r).sum())(rows)
    np.testing.assert_allclose(second, want, atol=1e-4)


def test_goes_through_jit_and_vmap_without_retracing():
    graph, traces = _graph(), []
    plan = ops.plan_neighbours(graph)

    @jax.jit
    def run(rows):
        traces.append(1)
        return jax.vmap(
            lambda rows: ops.neighbour_sum(rows, None, graph.senders, graph.receivers, neighbours=plan)
        )(rows)

    rows = jnp.arange(30.0).reshape(3, 5, 2)
    many = run(rows)
    run(rows + 1)
    assert len(traces) == 1
    one = ops.neighbour_sum(rows[1], None, graph.senders, graph.receivers, neighbours=plan)
    np.testing.assert_allclose(many[1], one)


def test_neighbour_sum_says_what_does_not_fit():
    graph = _graph()
    with pytest.raises(ValueError, match=r"weights: expected \[9, 2\]"):
        ops.neighbour_sum(jnp.ones((5, 2, 3)), jnp.ones(9), graph.senders, graph.receivers)


def test_the_plan_of_another_graph_is_refused():
    graph = _graph()
    ends = graph.senders, graph.receivers

    def run(senders, receivers, plan, count=5):
        return ops.neighbour_sum(jnp.ones((count, 1)), None, senders, receivers, neighbours=plan)

    run(*ends, ops.plan_neighbours(graph))
    for other, message in ((_graph(count=6), "6 nodes and 9 edges"), (_graph(size=40), "5 nodes and 26")):
        for call in (run, jax.jit(run)):
            with pytest.raises(ValueError, match=f"the plan is of {message}.* the graph has 5 and 9"):
                call(*ends, ops.plan_neighbours(other))
    turned = ops.plan_neighbours(graph._replace(senders=graph.receivers, receivers=graph.senders))
    with pytest.raises(ValueError, match="the plan is of other edges than the graph's"):
        run(*ends, turned)
    moved = ops.plan_neighbours(graph._replace(receivers=(graph.receivers + 1) % 5))
    with pytest.raises(ValueError, match="the plan is of other edges"):
        run(*ends, moved)
    run(*map(jnp.asarray, ends), turned)  # the edges lie on a device: not fetched, and not compared
    layer = GCNConv(2)
    whole = graph._replace(nodes=np.ones((5, 3), np.float32))
    with pytest.raises(ValueError, match="the plan is of 6 nodes"):
        layer.init(jax.random.key(0), whole, neighbours=ops.plan_neighbours(_graph(count=6)))
