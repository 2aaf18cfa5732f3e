"""What PyTorch Geometric lacks or does otherwise, against numpy: DCNN, NN4G, LSTM neighbours, pooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.graph_cases import graph_of, pad_with_junk
from oracles.shared_weights import draw

from jaxvision.core import Graph, flatten_paths, unflatten_paths
from jaxvision.graph import GCN, GIN, EdgeScorer, GraphClassifier, graph_network
from jaxvision.layers import (
    NN4G,
    AttentionReadout,
    BatchNorm,
    DiffusionConv,
    GATConv,
    GMMConv,
    SAGEConv,
    TopKPooling,
    degree_coordinates,
    pass_messages,
    read_out,
    sum_messages,
)
from jaxvision.layers.message_passing import WeightedRows

KEY = jax.random.key(0)


def drawn(module, *arguments, **options):
    shapes = jax.eval_shape(lambda *each: module.init(KEY, *each, **options), *arguments)
    return {path: draw(path, leaf.shape) for path, leaf in flatten_paths(shapes).items()}


def adjacency(graph):
    matrix = np.zeros((graph.nodes.shape[0],) * 2, np.float32)
    weights = np.ones(len(graph.senders)) if graph.edges is None else graph.edges
    np.add.at(matrix, (graph.receivers, graph.senders), weights)
    return matrix


def two_graphs():
    """Four and three nodes, and two that are padding."""
    graph = graph_of("mixed", None)
    ids = np.array([0, 0, 0, 0, 1, 1, 1], np.int32)
    padded = pad_with_junk(graph._replace(graph_ids=ids), 2, 3)
    return padded._replace(
        graph_ids=np.array([*ids, 2, 2], np.int32), where_graphs=np.array([True, True, False])
    )


@pytest.mark.parametrize("edges", [None, "weights"])
def test_diffusion_is_the_papers_series(edges):
    graph = graph_of("mixed", edges)
    layer = DiffusionConv(3, first_hop=1)
    flat = drawn(layer, graph)
    matrix = adjacency(graph)
    total = matrix.sum(1, keepdims=True)
    step = np.where(total > 0, matrix / np.where(total > 0, total, 1), 0)
    powers = [np.linalg.matrix_power(step, hop) @ graph.nodes for hop in (1, 2, 3)]
    want = np.tanh(np.stack(powers, 1) * flat["params/kernel"][None]).reshape(7, -1)
    np.testing.assert_allclose(layer.apply(unflatten_paths(flat), graph), want, atol=1e-5)
    padded = layer.apply(unflatten_paths(flat), pad_with_junk(graph, 2, 2))
    np.testing.assert_allclose(padded[:7], want, atol=1e-5)
    assert not padded[7:].any()


def test_nn4g_is_the_papers_recursion():
    graph = graph_of("mixed", None)
    layer = NN4G((3, 2, 4))
    flat = drawn(layer, graph)
    matrix, states = adjacency(graph), []
    for index in range(3):
        p = f"params/label{index}"
        total = graph.nodes @ flat[f"{p}/kernel"] + flat[f"{p}/bias"]
        rest = flat.get(f"params/context{index}/kernel")
        for state in states:
            total = total + matrix @ state @ rest[: state.shape[1]]
            rest = rest[state.shape[1] :]
        states.append(np.tanh(total))
    got = layer.apply(unflatten_paths(flat), pad_with_junk(graph, 2, 2))
    np.testing.assert_allclose(got[:7], np.concatenate(states, 1), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parity
def test_lstm_neighbours_equal_pyg_node_by_node():
    """PyTorch Geometric runs on over zeros to the largest degree: one node at a time it does not."""
    torch = pytest.importorskip("torch")
    nn = pytest.importorskip("torch_geometric.nn")
    from jaxvision.weights import sage_rules, to_state_dict

    graph = graph_of("mixed", None)
    layer = SAGEConv(2, "lstm", max_neighbours=5)
    flat = drawn(layer, graph)
    theirs = nn.SAGEConv(3, 2, aggr="lstm")
    state = to_state_dict(unflatten_paths(flat), sage_rules("", ""))
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    ours = layer.apply(unflatten_paths(flat), graph)
    x = torch.from_numpy(graph.nodes)
    for node in np.unique(graph.receivers):
        mine = np.flatnonzero(graph.receivers == node)
        summary = theirs.aggr_module(x[graph.senders[mine]], torch.zeros(len(mine), dtype=torch.int64))
        want = theirs.lin_l(summary)[0] + theirs.lin_r(x[node])
        np.testing.assert_allclose(ours[node], want.detach().numpy(), atol=1e-5)


def test_lstm_stops_with_the_last_neighbour():
    graph = graph_of("mixed", None)
    layer = SAGEConv(2, "lstm", max_neighbours=5)
    variables = unflatten_paths(drawn(layer, graph))
    whole = layer.apply(variables, graph)
    longer = layer.copy(max_neighbours=8).apply(variables, pad_with_junk(graph, 1, 2))
    np.testing.assert_allclose(whole, longer[:7], atol=1e-6)
    root = graph.nodes @ variables["params"]["root"]["kernel"] + variables["params"]["bias"]
    np.testing.assert_allclose(whole[6], root[6], atol=1e-5)  # has no neighbour
    with pytest.raises(ValueError, match="max_neighbours"):
        layer.copy(max_neighbours=None).apply(variables, graph)


def test_readouts_are_numpys():
    graph = two_graphs()
    for name, reduce in (("sum", np.sum), ("mean", np.mean), ("max", np.max)):
        got = read_out(graph, graph.nodes, readout=name)
        np.testing.assert_allclose(got[0], reduce(graph.nodes[:4], axis=0), atol=1e-6)
        np.testing.assert_allclose(got[1], reduce(graph.nodes[4:7], axis=0), atol=1e-6)
        assert not got[2].any()
    with pytest.raises(ValueError, match="readout"):
        read_out(graph, graph.nodes, readout="median")


def test_attention_readout_is_a_softmax():
    graph = two_graphs()
    layer = AttentionReadout()
    flat = drawn(layer, graph)
    scores = graph.nodes[:7] @ flat["params/gate/kernel"][:, 0]
    powers = np.exp(scores[4:] - scores[4:].max())
    want = (powers / powers.sum()) @ graph.nodes[4:7]
    np.testing.assert_allclose(layer.apply(unflatten_paths(flat), graph)[1], want, atol=1e-5)


def test_top_k_keeps_the_best_nodes_and_the_edges_between_them():
    graph = two_graphs()
    layer = TopKPooling(0.5)
    flat = drawn(layer, graph)
    direction = flat["params/direction"]
    scores = np.tanh(graph.nodes[:7] @ direction / np.linalg.norm(direction))
    best = [*np.argsort(-scores[:4])[:2], *(4 + np.argsort(-scores[4:])[:2])]
    pooled, order = jax.jit(layer.apply)(unflatten_paths(flat), graph)
    assert order[:4].tolist() == best
    assert pooled.where_nodes.tolist() == [True] * 4 + [False] * 5
    assert pooled.graph_ids[:4].tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(pooled.nodes[:4], graph.nodes[best] * scores[best][:, None], atol=1e-6)
    pairs = zip(graph.senders[:12], graph.receivers[:12], strict=True)
    kept = [(best.index(s), best.index(r)) for s, r in pairs if s in best and r in best]
    real = np.asarray(pooled.where_edges)
    assert list(zip(pooled.senders[real].tolist(), pooled.receivers[real].tolist(), strict=True)) == kept
    assert set(pooled.senders[~real].tolist()) == {8}
    with pytest.raises(ValueError, match="ratio"):
        TopKPooling(1.5).init(KEY, graph)


def test_weighted_rows_are_messages_written_out():
    graph = graph_of("mixed", "weights")

    def run(message):
        return pass_messages(
            graph, message=message, aggregate=sum_messages, update=lambda nodes, gathered: gathered
        )

    want = adjacency(graph) @ graph.nodes
    np.testing.assert_allclose(run(lambda e: WeightedRows(e.nodes, e.features)), want, atol=1e-5)
    np.testing.assert_allclose(run(lambda e: e.sent * e.features[:, None]), want, atol=1e-5)


def test_masked_statistics_are_of_the_real_rows():
    x = np.array([[1.0], [3.0], [np.inf]], np.float32)
    norm = BatchNorm()
    variables = norm.init(KEY, x, train=False)
    where = jnp.array([True, True, False])
    y, state = norm.apply(variables, x, where=where, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y[:2, 0], [-1, 1], atol=1e-4)
    np.testing.assert_allclose(state["batch_stats"]["mean"], [0.2], rtol=1e-6)
    np.testing.assert_allclose(state["batch_stats"]["var"], [0.9 + 0.1 * 2], rtol=1e-6)


def test_a_batch_is_its_graphs_apart():
    """The same logits for a graph in a padded batch as alone, batch norm and dropout off."""
    batch = two_graphs()
    inside = (batch.senders < 4) == (batch.receivers < 4)
    batch = batch._replace(where_edges=batch.where_edges & inside)
    network = GraphClassifier(GIN((4, 4)), 3)
    variables = network.init(KEY, batch, train=False)
    assert sorted(variables["params"]["backbone"]) == ["mlp0", "mlp1", "norm0", "norm1"]
    together = network.apply(variables, batch, train=False)
    only = batch._replace(where_nodes=batch.where_nodes & (np.arange(9) >= 4))
    only = only._replace(where_edges=batch.where_edges & (batch.senders >= 4))
    np.testing.assert_allclose(network.apply(variables, only, train=False)[1], together[1], atol=1e-5)


def test_heads_and_variants():
    graph = graph_of("mixed", None)
    scorer = EdgeScorer(GCN((4,)))
    pairs = jnp.array([[0, 1], [2, 3]])
    variables = scorer.init(KEY, graph, pairs, train=False)
    rows = GCN((4,)).apply({"params": variables["params"]["backbone"]}, graph, train=False)
    got = scorer.apply(variables, graph, pairs, train=False)
    np.testing.assert_allclose(got, [rows[0] @ rows[1], rows[2] @ rows[3]], rtol=1e-5)
    with pytest.raises(ValueError, match="pairs"):
        scorer.apply(variables, graph, pairs[0], train=False)
    network = graph_network("gat", num_classes=3)
    shapes = jax.eval_shape(lambda g: network.init(KEY, g, train=False), graph)
    assert shapes["params"]["conv0"]["kernel"].shape == (3, 64)
    assert shapes["params"]["conv1"]["kernel"].shape == (64, 3)
    with pytest.raises(ValueError, match="graph network"):
        graph_network("gnc")


@pytest.mark.slow
def test_bfloat16_and_dropout():
    graph = graph_of("mixed", None)
    network = graph_network("gat", num_classes=3, dtype=jnp.bfloat16)
    variables = network.init(KEY, graph, train=False)
    logits = network.apply(variables, graph, train=False)
    assert logits.dtype == jnp.float32
    single = network.copy(dtype=None).apply(variables, graph, train=False)
    np.testing.assert_allclose(logits, single, atol=0.1)
    one, other = (
        network.apply(variables, graph, train=True, rngs={"dropout": k}) for k in jax.random.split(KEY)
    )
    assert not np.allclose(one, other)


def test_bad_graphs_are_named():
    graph = graph_of("mixed", "features")
    with pytest.raises(ValueError, match=r"edges: expected weights \[E\]"):
        GCN((2,), 2).init(KEY, graph, train=False)
    with pytest.raises(ValueError, match=r"edges: use_edges asks"):
        GATConv(2, use_edges=True).init(KEY, graph._replace(edges=None), train=False)
    with pytest.raises(ValueError, match="degree_coordinates"):
        GMMConv(2, 2).init(KEY, graph._replace(edges=None))
    with pytest.raises(ValueError, match="receivers: expected"):
        GCN((2,), 2).init(KEY, graph._replace(edges=None, receivers=graph.receivers[:3]), train=False)
    with pytest.raises(ValueError, match="aggregator"):
        SAGEConv(2, "median").init(KEY, graph)


def test_degree_coordinates():
    graph = Graph(
        jnp.zeros((3, 1)),
        jnp.array([0, 1, 1, 2]),
        jnp.array([1, 0, 2, 1]),
        jnp.ones(3, bool),
        jnp.array([True, True, True, False]),
        jnp.zeros(3, int),
        jnp.ones(1, bool),
    )
    want = [[1, 1], [1, 1], [1, 1], [0, 0]]
    np.testing.assert_allclose(degree_coordinates(graph), want, rtol=1e-6)
