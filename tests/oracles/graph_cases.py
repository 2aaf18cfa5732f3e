"""Graph layers and networks, small graphs, and both sides' outputs and gradients with shared weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from oracles.shared_weights import cotangent, draw

from jaxvision import graph as networks
from jaxvision import layers, weights
from jaxvision.core import Graph, flatten_paths, unflatten_paths
from jaxvision.ops import plan_neighbours
from jaxvision.weights import convert, to_state_dict

REFERENCE = Path(__file__).parents[1] / "reference" / "graph_layers.npz"
F, C, D = 3, 2, 2
Ends = tuple[int, list[int], list[int]]
GRAPHS: dict[str, Ends] = {
    # Node 5 sends only, 6 is alone; 0 -> 1 thrice; loops on 2 (two of them) and 4.
    "mixed": (7, [0, 0, 1, 2, 2, 3, 0, 4, 5, 4, 2, 3], [1, 1, 0, 2, 3, 0, 1, 4, 0, 3, 2, 2]),
    "one node": (1, [], []),
    "one node, a loop": (1, [0], [0]),
    "no edge": (3, [], []),
}


class LayerCase(NamedTuple):
    """One layer: ours, the constructor of PyTorch Geometric's, and the rules between them."""

    module: Any
    torch: Callable[[Any], Any]
    rules: tuple[Any, ...]
    edges: str | None = None
    train: bool | None = False
    ignore: tuple[str, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})
    takes_last_loop: bool = False  # a weight of an earlier loop has no effect


def _mlp(nn: Any, width: int, **options: Any) -> Any:
    return nn.MLP([width, 4, C], norm=options.pop("norm", None), **options)


LAYERS: dict[str, LayerCase] = {
    "gcn": LayerCase(layers.GCNConv(C), lambda nn: nn.GCNConv(F, C), weights.gcn_rules("", ""), train=None),
    "gcn wide weighted": LayerCase(
        layers.GCNConv(4),
        lambda nn: nn.GCNConv(F, 4),
        weights.gcn_rules("", ""),
        "weights",
        None,
        takes_last_loop=True,
    ),
    "gcn improved": LayerCase(
        layers.GCNConv(C, loop_weight=2.0),
        lambda nn: nn.GCNConv(F, C, improved=True),
        weights.gcn_rules("", ""),
        "weights",
        None,
        takes_last_loop=True,
    ),
    "gcn no loops": LayerCase(
        layers.GCNConv(C, self_loops=False),
        lambda nn: nn.GCNConv(F, C, add_self_loops=False),
        weights.gcn_rules("", ""),
        train=None,
    ),
    "gcn plain": LayerCase(
        layers.GCNConv(C, normalize=False),
        lambda nn: nn.GCNConv(F, C, normalize=False),
        weights.gcn_rules("", ""),
        "weights",
        None,
    ),
    "chebyshev": LayerCase(
        layers.ChebConv(C, 4), lambda nn: nn.ChebConv(F, C, 4), weights.chebyshev_rules("", ""), train=None
    ),
    "chebyshev wide walk": LayerCase(
        layers.ChebConv(4, 3, normalization="random_walk"),
        lambda nn: nn.ChebConv(F, 4, 3, normalization="rw"),
        weights.chebyshev_rules("", ""),
        "weights",
        None,
    ),
    "chebyshev plain": LayerCase(
        layers.ChebConv(C, 3, normalization=None, largest_eigenvalue=3.0),
        lambda nn: nn.ChebConv(F, C, 3, normalization=None),
        weights.chebyshev_rules("", ""),
        train=None,
        options={"lambda_max": 3.0},
    ),
    "sage": LayerCase(
        layers.SAGEConv(C), lambda nn: nn.SAGEConv(F, C), weights.sage_rules("", ""), train=None
    ),
    "sage sum wide": LayerCase(
        layers.SAGEConv(4, "sum", normalize=True),
        lambda nn: nn.SAGEConv(F, 4, aggr="sum", normalize=True),
        weights.sage_rules("", ""),
        train=None,
    ),
    "sage pool": LayerCase(
        layers.SAGEConv(C, "max", project_features=F),
        lambda nn: nn.SAGEConv(F, C, aggr="max", project=True),
        weights.sage_rules("", ""),
        train=None,
    ),
    "sage max no root": LayerCase(
        layers.SAGEConv(C, "max", use_root=False),
        lambda nn: nn.SAGEConv(F, C, aggr="max", root_weight=False),
        weights.sage_rules("", ""),
        train=None,
    ),
    "gat": LayerCase(layers.GATConv(C, 3), lambda nn: nn.GATConv(F, C, heads=3), weights.gat_rules("", "")),
    "gat edges": LayerCase(
        layers.GATConv(C, 2, concatenate=False, use_edges=True, residual=True),
        lambda nn: nn.GATConv(F, C, heads=2, concat=False, edge_dim=D, residual=True),
        weights.gat_rules("", ""),
        "features",
    ),
    "gat no loops": LayerCase(
        layers.GATConv(C, 2, self_loops=False, negative_slope=0.1),
        lambda nn: nn.GATConv(F, C, heads=2, add_self_loops=False, negative_slope=0.1),
        weights.gat_rules("", ""),
    ),
    "gatv2": LayerCase(
        layers.GATv2Conv(C, 3), lambda nn: nn.GATv2Conv(F, C, heads=3), weights.gatv2_rules("", "")
    ),
    "gatv2 edges": LayerCase(
        layers.GATv2Conv(C, 2, concatenate=False, use_edges=True),
        lambda nn: nn.GATv2Conv(F, C, heads=2, concat=False, edge_dim=D),
        weights.gatv2_rules("", ""),
        "features",
    ),
    "gin": LayerCase(
        layers.GINConv(layers.NodeMLP((4, C)), epsilon=0.3),
        lambda nn: nn.GINConv(_mlp(nn, F), eps=0.3),
        weights.gin_rules("", ""),
        ignore=("eps",),
    ),
    "gin narrow learned": LayerCase(
        layers.GINConv(layers.NodeMLP((2, 4), norm=True), learn_epsilon=True),
        lambda nn: nn.GINConv(nn.MLP([F, 2, 4], norm="batch_norm"), train_eps=True),
        weights.gin_rules("", ""),
        ignore=weights.BOOKKEEPING,
    ),
    "mixture": LayerCase(
        layers.GMMConv(C, 3),
        lambda nn: nn.GMMConv(F, C, dim=D, kernel_size=3),
        weights.mixture_rules("", ""),
        "features",
        None,
    ),
    "mixture sum": LayerCase(
        layers.GMMConv(C, 2, aggregator="sum"),
        lambda nn: nn.GMMConv(F, C, dim=D, kernel_size=2, aggr="sum"),
        weights.mixture_rules("", ""),
        "features",
        None,
    ),
    "edge": LayerCase(
        layers.EdgeConv(layers.NodeMLP((4, C))),
        lambda nn: nn.EdgeConv(_mlp(nn, 2 * F)),
        weights.edge_conv_rules("", ""),
    ),
    "edge mean": LayerCase(
        layers.EdgeConv(layers.NodeMLP((4, C)), "mean"),
        lambda nn: nn.EdgeConv(_mlp(nn, 2 * F), aggr="mean"),
        weights.edge_conv_rules("", ""),
    ),
    "network gcn": LayerCase(
        networks.GCN((4,), 3),
        lambda nn: nn.models.GCN(F, 4, 2, 3),
        weights.gcn_rules(r"convs\.(\d+)\.", r"/conv\1"),
    ),
    "network sage": LayerCase(
        networks.GraphSAGE((4,), 3),
        lambda nn: nn.models.GraphSAGE(F, 4, 2, 3),
        weights.sage_rules(r"convs\.(\d+)\.", r"/conv\1"),
    ),
    "network gat": LayerCase(
        networks.GAT((2,), 3, num_heads=2),
        lambda nn: _gat(nn),
        weights.gat_rules(r"(\d+)\.", r"/conv\1"),
    ),
}


def _gat(nn: Any) -> Any:
    """The paper's output layer has one head; PyTorch Geometric's own model shares out the heads."""
    import torch

    class Network(torch.nn.ModuleList):
        def forward(self, x: Any, edge_index: Any) -> Any:
            return self[1](torch.nn.functional.elu(self[0](x, edge_index)), edge_index)

    return Network([nn.GATConv(F, 2, heads=2), nn.GATConv(4, 3, heads=1, concat=False)])


def graph_of(name: str, edges: str | None) -> Graph:
    """A graph with drawn features, numpy."""
    count, senders, receivers = GRAPHS[name]
    size = len(senders)
    features = None
    if edges == "weights":
        features = np.abs(draw("weights", (size,))) + 0.1
    elif edges == "features":
        features = draw("edge features", (size, D))
    return Graph(
        draw("nodes", (count, F)),
        np.array(senders, np.int32),
        np.array(receivers, np.int32),
        np.ones(count, bool),
        np.ones(size, bool),
        np.zeros(count, np.int32),
        np.ones(1, bool),
        features,
    )


def pad_with_junk(graph: Graph, nodes: int, edges: int) -> Graph:
    """More nodes and edges, of nan and of large numbers, which are no part of the graph."""
    last = graph.nodes.shape[0] + nodes - 1

    def longer(array: np.ndarray, count: int, value: Any) -> np.ndarray:
        rest = np.full((count, *array.shape[1:]), value, array.dtype)
        return np.concatenate([array, rest])

    junk = longer(graph.nodes, nodes, np.nan)
    junk[-1] = 1e30
    return graph._replace(
        nodes=junk,
        senders=longer(graph.senders, edges, last),
        receivers=longer(graph.receivers, edges, last),
        where_nodes=longer(graph.where_nodes, nodes, False),
        where_edges=longer(graph.where_edges, edges, False),
        graph_ids=longer(graph.graph_ids, nodes, 0),
        edges=None if graph.edges is None else longer(graph.edges, edges, np.nan),
    )


def variables_of(case: LayerCase) -> dict[str, np.ndarray]:
    """Drawn variables by path."""
    graph = graph_of("mixed", case.edges)
    options = {} if case.train is None else {"train": False}
    shapes = jax.eval_shape(lambda g: case.module.init(jax.random.key(0), g, **options), graph)
    return {path: draw(path, leaf.shape) for path, leaf in flatten_paths(shapes).items()}


def run_ours(
    case: LayerCase, graph: Graph, *, planned: bool = False, count: int | None = None
) -> dict[str, Any]:
    """Output and gradients of the nodes, the edges' features and the parameters, of the real nodes."""
    variables = unflatten_paths(variables_of(case))
    count = graph.nodes.shape[0] if count is None else count
    size = int(graph.where_edges.sum())
    neighbours = plan_neighbours(graph) if planned else None
    options = {} if case.train is None else {"train": case.train}

    @jax.jit
    def run(variables: Any, graph: Graph, neighbours: Any) -> Any:
        def forward(params: Any, nodes: Any, edges: Any) -> Any:
            whole = graph._replace(nodes=nodes, edges=edges)
            return case.module.apply({**variables, "params": params}, whole, neighbours=neighbours, **options)

        y, pull = jax.vjp(forward, variables["params"], graph.nodes, graph.edges)
        weight = jnp.zeros_like(y).at[:count].set(cotangent("", (count, y.shape[1])))
        return y, pull(weight)

    y, (params, nodes, edges) = run(variables, graph, neighbours)
    results = {"output": y[:count], "gradient nodes": nodes[:count]}
    if edges is not None:
        results["gradient edges"] = edges[:size]
    return results | {f"gradient params/{path}": g for path, g in flatten_paths(params).items()}


def run_torch(case: LayerCase, graph: Graph) -> dict[str, np.ndarray]:
    """The same of PyTorch Geometric, the weights and gradients by way of the rules."""
    import torch
    import torch_geometric.nn

    module = case.torch(torch_geometric.nn)
    flat = variables_of(case)
    variables = unflatten_paths(flat)
    state = {key: torch.from_numpy(value) for key, value in to_state_dict(variables, case.rules).items()}
    lost = module.load_state_dict(state, strict=False)
    assert not lost.unexpected_keys and set(lost.missing_keys) <= set(case.ignore), lost
    module.eval()
    x = torch.from_numpy(graph.nodes).requires_grad_()
    edge_index = torch.from_numpy(np.stack([graph.senders, graph.receivers]).astype(np.int64))
    arguments = [x, edge_index]
    if graph.edges is not None:
        arguments.append(torch.from_numpy(graph.edges).requires_grad_())
    y = module(*arguments, **case.options)
    (y * torch.from_numpy(cotangent("", tuple(y.shape)))).sum().backward()
    results = {"output": y.detach().numpy(), "gradient nodes": _gradient(x)}
    if graph.edges is not None:
        results["gradient edges"] = _gradient(arguments[2])
        if case.takes_last_loop and len(graph.senders) > 1:
            # Of two loops on node 2 the first is overwritten. PyTorch gives it the gradient of the second.
            results["gradient edges"][3] = 0
    named = {key: _gradient(value) for key, value in module.named_parameters()}
    params = {"params": variables["params"]}
    for path, gradient in flatten_paths(convert(named, case.rules, params, ignore=case.ignore)).items():
        results[f"gradient {path}"] = gradient
    return results


def _gradient(value: Any) -> np.ndarray:
    import torch

    return (torch.zeros_like(value) if value.grad is None else value.grad).numpy()


def recorded(layer: str, graph: str, like: dict[str, Any]) -> dict[str, np.ndarray]:
    """What PyTorch Geometric gave, with the names and shapes of ``like``."""
    with np.load(REFERENCE) as archive:
        flat = archive[f"{layer}|{graph}"]
    assert flat.size == sum(np.size(like[name]) for name in like)
    results = {}
    for name in sorted(like):
        size = np.size(like[name])
        results[name], flat = flat[:size].reshape(np.shape(like[name])), flat[size:]
    return results
