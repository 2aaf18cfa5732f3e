"""The networks of the graph script by name: what they learn, what they read of edges, how far they look."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

from jaxvision import layers
from jaxvision.data import (
    FullGraphNodes,
    GraphSet,
    SampledNodes,
    block_model,
    karate_club,
    make_graph,
    symmetrise,
)
from jaxvision.graph import DGCNN, NN4GNet, graph_network, nearest_graph
from jaxvision.tasks.graph import GraphShape, node_task
from jaxvision.tasks.graph_networks import (
    NETWORKS,
    GraphModelOptions,
    graph_classifier,
    link_scorer,
    node_classifier,
)
from jaxvision.tasks.graph_options import GraphData
from jaxvision.tasks.graph_predict import check_graph_fits, run_metadata
from jaxvision.tasks.graph_recipes import RECIPES
from jaxvision.tasks.graph_setup import open_graphs

CLUB = karate_club()


def draw_graph(count=14, size=40, edges=None):
    """A connected graph of which no two nodes have the same degrees and neighbours, with a loop."""
    rng = np.random.default_rng(3)
    ends = np.concatenate([rng.integers(0, count, (2, size)), [np.arange(count - 1), np.arange(1, count)]], 1)
    graph = symmetrise(make_graph(*np.concatenate([ends, [[2], [2]]], 1), nodes=rng.normal(size=(count, 3))))
    if edges is not None:
        carried = rng.random((count, count, *edges)).astype(np.float32) + 0.2
        graph = graph._replace(
            edges=carried[np.minimum(*(pair := (graph.senders, graph.receivers))), np.maximum(*pair)]
        )
    return graph


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_by_its_name(name):
    options = GraphModelOptions(name=name, hidden=4, heads=2, dropout=0.0)
    task = node_task(node_classifier(options, 2), GraphShape(34))
    batch = FullGraphNodes(CLUB).batch("train")
    variables = jax.jit(task.init)(jax.random.key(0))
    state = {name: value for name, value in variables.items() if name != "params"}

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        return task.loss(params, state, batch, jax.random.key(1))[0]["cross_entropy"].mean()

    first, gradient = loss(variables["params"])
    params = jax.tree.map(lambda leaf, slope: leaf - 0.02 * slope, variables["params"], gradient)
    assert loss(params)[0] < first
    assert name in RECIPES["node"]


def classify(name, graph, loader, **options):
    """Logits of all nodes by the network of a loader's batches, and the same network on the whole graph."""
    model = GraphModelOptions(name=name, hidden=4, heads=2, **options)
    uses_edges = graph.edges is not None
    shape = GraphShape(3, None if graph.edges is None else graph.edges.shape[1:])
    whole = node_task(node_classifier(model, 2, use_edges=uses_edges), shape)
    edges = loader.graph.edges
    own = GraphShape(3, None if edges is None else edges.shape[1:])
    part = node_task(node_classifier(model, 2, use_edges=uses_edges, sampled=True), own)
    variables = jax.jit(part.init)(jax.random.key(0))
    assert jax.tree.structure(variables) == jax.tree.structure(jax.eval_shape(whole.init, jax.random.key(0)))
    predict = jax.jit(part.predict)
    found = [np.asarray(predict(variables, b))[b["where"]] for b in loader.ordered_batches("all")]
    return np.concatenate(found), jax.jit(whole.predict)(variables, FullGraphNodes(loader.data).batch("all"))[
        0
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "edges"),
    [
        *((name, None) for name in ("gcn", "chebnet", "monet", "dcnn", "sage", "gat", "dgcnn")),
        *((name, ()) for name in ("gcn", "chebnet", "dcnn", "gatv2")),
        ("monet", (2,)),
    ],
)
def test_neighbourhoods_without_a_cut_give_what_the_whole_graph_does(name, edges):
    graph = draw_graph(edges=edges)
    none = np.zeros(14, bool)
    data = dataclasses.replace(
        CLUB,
        graph=graph,
        labels=np.arange(14) % 2,
        train=~none,
        val=none,
        test=none,
    )
    options = {"hops": 2, "layers": 2} if name == "chebnet" else {}
    model = GraphModelOptions(name=name, **options)
    fan_out = (14,) * model.reach
    carried = model.sampled_edges(fan_out, use_edges=edges is not None)
    # Three nodes at a time, in a graph whose hops reach all of it only after two edges or more.
    loader = SampledNodes(data, fan_out, batch_size=3, edges=carried)
    found, wanted = classify(name, graph, loader, **options)
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("options", "fan_out", "message"),
    [
        (
            {"name": "gcn"},
            (5,),
            r"--data.fan-out 5: 1 hops, but gcn with --model.layers 2 .* 2 edges far; give 2",
        ),
        ({"name": "sage", "layers": 1}, (5, 5), "2 hops, but sage .* looks 1 edges far; give 1 numbers"),
        ({"name": "chebnet", "hops": 3}, (5, 5), "looks 6 edges far"),
        ({"name": "dcnn", "hops": 3}, (5, 5), "looks 3 edges far"),
        ({"name": "gin"}, (5, 5), "gin adds up all neighbours of a node, of which drawn ones are a part"),
        ({"name": "nn4g"}, (5, 5), "nn4g adds up all neighbours"),
        ({"name": "dgcnn", "nearest": 3}, (5, 5), "dgcnn looks for the nearest nodes"),
    ],
)
def test_neighbourhoods_that_do_not_fit_a_network_are_named(options, fan_out, message):
    with pytest.raises(ValueError, match=message):
        GraphModelOptions(**options).sampled_edges(fan_out, use_edges=False)


def test_what_edges_carry_goes_where_it_is_read(capsys):
    data = GraphData()
    for name in NETWORKS:
        model = GraphModelOptions(name=name)
        reads_weights = name in ("gcn", "chebnet", "dcnn", "gat", "gatv2", "monet")
        assert data.keeps_edges((), model) == data.keeps_edges((1,), model) == reads_weights
        shown = capsys.readouterr().out
        assert (
            "edges carry weights, which " + name + " does not read: they are left out" in shown
        ) != reads_weights
        assert data.keeps_edges((4,), model) == (name in ("gat", "gatv2", "monet"))
        assert not data.keeps_edges(None, model)
    capsys.readouterr()
    assert not GraphData(edge_features="drop").keeps_edges((4,), GraphModelOptions(name="gat"))
    assert capsys.readouterr().out == ""
    needed = GraphData(edge_features="use")
    assert needed.keeps_edges((), GraphModelOptions(name="gcn"))
    for name, shape, message in (
        ("gcn", (3,), "3 features, which --model.name gcn"),
        ("sage", (), "or gcn, cheb"),
    ):
        with pytest.raises(ValueError, match=message):
            needed.keeps_edges(shape, GraphModelOptions(name=name))


def test_what_is_not_read_is_left_out_of_all_graphs():
    graphs = [make_graph([0, 1], [1, 0], num_nodes=2, edges=np.ones((2, 3))) for _ in range(2)]
    everything = GraphSet(graphs, np.array([0, 1]), ("a", "b"))
    for name, kept in (("gat", True), ("gcn", False)):
        config = SimpleNamespace(data=GraphData(), model=GraphModelOptions(name=name))
        found = open_graphs(config, everything)
        assert [graph.edges is not None for graph in found.graphs] == [kept] * 2
        graph_classifier(config.model, 2, use_edges=kept).init(
            jax.random.key(0), found.graphs[0], train=False
        )


@pytest.mark.parametrize("name", ["gcn", "chebnet", "dcnn", "gat", "monet"])
def test_what_edges_carry_changes_what_is_said(name):
    graph = draw_graph(edges=())
    model = node_classifier(GraphModelOptions(name=name, hidden=3, heads=2), 2, use_edges=True)
    variables = jax.jit(lambda: model.init(jax.random.key(0), graph, train=False))()
    run = jax.jit(lambda edges: model.apply(variables, graph._replace(edges=edges), train=False))
    weights = jnp.asarray(graph.edges)
    slopes = jax.grad(lambda edges: jnp.square(run(edges)).sum())(weights)
    assert float(jnp.abs(slopes).min(where=graph.senders != graph.receivers, initial=1)) > 0


def test_the_nearest_are_those_of_a_search_tree():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(12, 3)).astype(np.float32)
    graph = make_graph([0], [1], nodes=points)._replace(
        graph_ids=np.repeat([0, 1], [7, 5]).astype(np.int32),
        where_graphs=np.ones(2, bool),
        where_nodes=np.arange(12) < 10,
    )
    found = jax.jit(lambda graph: nearest_graph(graph, count=4))(graph)
    assert found.senders.shape == (48,) and found.edges is None
    ends = zip(
        *(np.asarray(x)[np.asarray(found.where_edges)] for x in (found.senders, found.receivers)), strict=True
    )
    wanted = set()
    for start, end in ((0, 7), (7, 10)):  # the second graph has three nodes, and two of padding
        _, near = cKDTree(points[start:end]).query(points[start:end], k=min(4, end - start))
        wanted |= {(start + int(s), start + r) for r, row in enumerate(near) for s in row}
    assert {(int(s), int(r)) for s, r in ends} == wanted
    with pytest.raises(ValueError, match="count: expected 1 or more"):
        nearest_graph(graph, count=0)
    assert nearest_graph(
        graph._replace(nodes=points[:0], where_nodes=np.ones(0, bool)), count=3
    ).senders.shape == (0,)


def test_a_dynamic_network_is_that_along_the_edges_of_the_nearest():
    points = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    _, near = cKDTree(points).query(points, k=3)
    static = make_graph(near.reshape(-1), np.repeat(np.arange(9), 3), nodes=points)
    dynamic, along = DGCNN((4,), 2, nearest=3), DGCNN((4,), 2)
    variables = jax.jit(lambda: along.init(jax.random.key(0), static, train=False))()
    bare = make_graph([], [], nodes=points)
    found = jax.jit(lambda: dynamic.apply(variables, bare, train=False))()
    np.testing.assert_allclose(found, along.apply(variables, static, train=False), rtol=1e-5, atol=1e-6)


def test_contextual_units_are_read_out_by_a_dense_layer():
    graph = draw_graph()
    network = NN4GNet((3, 2), 4)
    variables = jax.jit(lambda: network.init(jax.random.key(0), graph, train=False))()
    params = jax.device_get(variables["params"])
    states = layers.NN4G((3, 2)).apply({"params": params["states"]}, graph)
    np.testing.assert_allclose(
        network.apply(variables, graph, train=False),
        np.asarray(states) @ params["head"]["kernel"] + params["head"]["bias"],
        rtol=1e-5,
        atol=1e-6,
    )
    matrix = np.zeros((14, 14))
    np.add.at(matrix, (graph.receivers, graph.senders), 1)
    own = [params["states"][name] for name in ("label0", "label1", "context1")]
    first = np.tanh(graph.nodes @ own[0]["kernel"] + own[0]["bias"])
    second = np.tanh(graph.nodes @ own[1]["kernel"] + own[1]["bias"] + matrix @ first @ own[2]["kernel"])
    np.testing.assert_allclose(states, np.concatenate([first, second], 1), rtol=1e-4, atol=1e-5)


def test_new_networks_have_variants_and_refuse_no_layer():
    assert graph_network("dgcnn", num_classes=3).nearest == 20
    assert graph_network("nn4g", num_classes=3).hidden == (16, 16)
    graph = draw_graph()
    for network in (DGCNN(()), NN4GNet(())):
        with pytest.raises(ValueError, match="at least one layer, got none"):
            network.init(jax.random.key(0), graph, train=False)
    with pytest.raises(
        ValueError, match=r"--model.nearest 3: expected 1 or more, for --model.name dgcnn, not gcn"
    ):
        GraphModelOptions(name="gcn", nearest=3)
    for name in ("nn4g", "dgcnn"):
        model = link_scorer(GraphModelOptions(name=name, hidden=4, out=5))
        pairs = jnp.zeros((6, 2), jnp.int32)
        shape = jax.eval_shape(
            lambda m=model, p=pairs: m.init_with_output(jax.random.key(0), graph, p, train=False)[0]
        )
        assert shape.shape == (6,)


def test_a_graph_must_carry_what_a_network_was_trained_on():
    path, shape = Path("w.safetensors"), GraphShape(2, ())
    metadata = run_metadata(shape, feature_names=("x", "y"), encoding={})
    check_graph_fits(path, metadata, shape, feature_names=("x", "y"))
    for found, names, message in (
        (shape, ("y", "x"), "trained on the features x, y, but the nodes have y, x"),
        (shape, (), "but the nodes have features without names"),
        (GraphShape(2, (3,)), ("x", "y"), "edges that carry weights, those of the graph carry 3 features"),
    ):
        with pytest.raises(ValueError, match=message):
            check_graph_fits(path, metadata, found, feature_names=names)
    metadata = run_metadata(shape, feature_names=(), encoding={})
    with pytest.raises(ValueError, match=r"trained on nodes of 2 features, those of the graph have 3"):
        check_graph_fits(path, metadata, GraphShape(3, ()), feature_names=())
    with pytest.raises(ValueError, match="an earlier version wrote it"):
        check_graph_fits(path, {}, shape, feature_names=())


def test_layers_are_counted_alike_in_all_networks():
    graph = block_model((20, 20), train_per_block=4, rng=np.random.default_rng(0)).graph
    for name in ("gcn", "gin", "sage", "dgcnn", "nn4g"):
        model = node_classifier(GraphModelOptions(name=name, layers=3, hidden=4), 2)
        params = jax.eval_shape(lambda m=model: m.init(jax.random.key(0), graph, train=False))["params"]
        counted = params["states"] if name == "nn4g" else params
        assert sum(part.startswith(("conv", "label", "mlp")) for part in counted) == 3
