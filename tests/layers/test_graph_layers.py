"""Graph layers and networks with weights shared with PyTorch Geometric: outputs and all gradients."""

import jax
import numpy as np
import pytest
from oracles.graph_cases import (
    GRAPHS,
    LAYERS,
    graph_of,
    pad_with_junk,
    recorded,
    run_ours,
    run_torch,
    variables_of,
)
from oracles.shared_weights import assert_equal

from jaxvision.core import flatten_paths, unflatten_paths
from jaxvision.ops import plan_neighbours
from jaxvision.weights import convert, to_state_dict


@pytest.mark.parametrize("name", LAYERS)
def test_equals_recorded_pyg(name):
    ours = run_ours(LAYERS[name], graph_of("mixed", LAYERS[name].edges))
    assert_equal(ours, recorded(name, "mixed", ours))


@pytest.mark.slow
@pytest.mark.parametrize("graph", [name for name in GRAPHS if name != "mixed"])
@pytest.mark.parametrize("name", LAYERS)
def test_equals_recorded_pyg_where_there_is_little(name, graph):
    ours = run_ours(LAYERS[name], graph_of(graph, LAYERS[name].edges))
    assert_equal(ours, recorded(name, graph, ours))


@pytest.mark.parametrize(
    "name",
    [name if name in ("gcn", "edge") else pytest.param(name, marks=pytest.mark.slow) for name in LAYERS],
)
def test_junk_in_the_padding_changes_nothing_and_plans_neither(name):
    graph = graph_of("mixed", LAYERS[name].edges)
    padded = pad_with_junk(graph, 3, 4)
    for planned in (False, True):
        ours = run_ours(LAYERS[name], padded, planned=planned, count=graph.nodes.shape[0])
        assert_equal(ours, recorded(name, "mixed", ours))


@pytest.mark.parity
@pytest.mark.parametrize("name", LAYERS)
def test_equals_live_pyg(name):
    pytest.importorskip("torch_geometric")
    for kind in GRAPHS:
        graph = graph_of(kind, LAYERS[name].edges)
        assert_equal(run_ours(LAYERS[name], graph), run_torch(LAYERS[name], graph))


@pytest.mark.parametrize("name", ["gcn", "gatv2 edges", "gin narrow learned", "sage pool"])
def test_weights_go_both_ways(name):
    case = LAYERS[name]
    flat = variables_of(case)
    source = to_state_dict(unflatten_paths(flat), case.rules)
    back = flatten_paths(convert(source, case.rules, unflatten_paths(flat), ignore=case.ignore))
    assert back.keys() == flat.keys()
    assert all(np.array_equal(back[path], flat[path]) for path in flat)


@pytest.mark.parametrize("name", ["gcn wide weighted", "gat", "sage pool"])
def test_a_graph_without_nodes_gives_none(name):
    graph = graph_of("mixed", LAYERS[name].edges)
    ours = run_ours(
        LAYERS[name], jax.tree.map(lambda array: array[:0], graph)._replace(where_graphs=np.ones(1, bool))
    )
    assert ours["output"].shape[0] == 0


def shown_weights(case, graph, planned=False):
    variables = unflatten_paths(variables_of(case))
    options = {"train": False, "mutable": ["intermediates"]}
    neighbours = plan_neighbours(graph) if planned else None
    y, state = case.module.apply(variables, graph, neighbours=neighbours, **options)
    shown = state["intermediates"]
    return y, shown["weights"][0], shown["loop_weights"][0] if "loop_weights" in shown else None


@pytest.mark.parametrize("planned", [False, True])
def test_attention_weights_are_those_of_the_sum(planned):
    case, graph = LAYERS["gat"], graph_of("mixed", None)
    params = unflatten_paths(variables_of(case))["params"]
    rows = (graph.nodes @ params["kernel"]).reshape(len(graph.nodes), 3, -1)
    padded = pad_with_junk(graph, 3, 4)
    y, weights, loops = shown_weights(case, padded, planned)
    expected = np.zeros((len(padded.senders), 3), np.float32)
    for node in range(len(graph.nodes)):
        edges = np.flatnonzero((graph.receivers == node) & (graph.senders != node))
        senders = np.append(graph.senders[edges], node)
        scores = (rows[senders] * params["sender_attention"]).sum(-1)
        scores = scores + (rows[node] * params["receiver_attention"]).sum(-1)
        powers = np.exp(np.where(scores > 0, scores, 0.2 * scores))
        shares = powers / powers.sum(axis=0)
        expected[edges] = shares[:-1]
        np.testing.assert_allclose(loops[node], shares[-1], rtol=1e-5)
        mean = (shares[..., None] * rows[senders]).sum(axis=0).reshape(-1) + params["bias"]
        np.testing.assert_allclose(y[node], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    assert not np.asarray(loops[len(graph.nodes) :]).any()


def test_nobody_asked_for_attention_weights():
    case, graph = LAYERS["gat"], graph_of("mixed", None)
    assert set(case.module.init(jax.random.key(0), graph, train=False)) == {"params"}
    _, _, loops = shown_weights(LAYERS["gat no loops"], graph)
    assert loops is None


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gat", "gat edges", "gat no loops", "gatv2", "gatv2 edges"])
def test_attention_weights_equal_live_pyg(name):
    torch = pytest.importorskip("torch")
    nn = pytest.importorskip("torch_geometric.nn")
    case, graph = LAYERS[name], graph_of("mixed", LAYERS[name].edges)
    theirs = case.torch(nn).eval()
    state = to_state_dict(unflatten_paths(variables_of(case)), case.rules)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    ends = torch.from_numpy(np.stack([graph.senders, graph.receivers]).astype(np.int64))
    carried = [] if graph.edges is None else [torch.from_numpy(graph.edges)]
    with torch.no_grad():
        _, (_, found) = theirs(torch.from_numpy(graph.nodes), ends, *carried, return_attention_weights=True)
    _, weights, loops = shown_weights(case, graph)
    if loops is not None:  # theirs: the edges without loops, then a loop for each node
        kept = graph.senders != graph.receivers
        assert not np.asarray(weights)[~kept].any()
        weights = np.concatenate([np.asarray(weights)[kept], loops])
    np.testing.assert_allclose(weights, found.numpy(), rtol=1e-5, atol=1e-7)
