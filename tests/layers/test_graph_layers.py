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
)
from oracles.shared_weights import assert_equal

from jaxvision.core import flatten_paths, unflatten_paths
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
    from oracles.graph_cases import variables_of

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
