"""Times a training step of graph networks in JAX and in PyTorch Geometric, with their peak memory.

    python tests/benchmarks/graph.py                       # with jax, torch and torch_geometric
    python tests/benchmarks/graph.py --torch-python PATH   # torch in another environment

A step is forward with dropout, cross entropy over labelled nodes, the gradients of the parameters and an Adam
update. Graphs are random: of Cora's size (2,708 nodes, 10,556 directed edges, 1,433 features) and of 100
thousand nodes with 2 million edges. Each peer has a process of its own, the peers take turns, and a figure is
the median over turns of the fastest call in a turn. All run with the allocator settings of
:func:`jaxvision.training.keep_freed_memory`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that benchmarks is found

from benchmarks.ops import ALLOCATOR


class Case(NamedTuple):
    """One network on one graph."""

    network: str
    size: str
    nodes: int
    edges: int
    features: int
    hidden: int
    classes: int = 7

    @property
    def label(self) -> str:
        return f"{self.network}, {self.size}"


NETWORKS = ("gcn", "gat", "gin", "sage")
PEERS = ("jax", "jax scatter", "torch")
HIDDEN = {"gcn": 16, "gat": 8, "gin": 32, "sage": 16}
CASES = tuple(
    Case(network, *size, HIDDEN[network])
    for size in (("cora", 2708, 10556, 1433), ("large", 100_000, 2_000_000, 64))
    for network in NETWORKS
)


def data(case: Case) -> tuple[Any, Any, Any, Any]:
    """Features, senders, receivers and labels, the same for all peers."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.random((case.nodes, case.features), np.float32)
    half = rng.integers(0, case.nodes, (2, case.edges // 2))
    senders, receivers = np.concatenate([half, half[::-1]], 1)
    return x, senders, receivers, rng.integers(0, case.classes, case.nodes)


def jax_call(case: Case, planned: bool) -> Callable[[], Any]:
    """A function that makes one step and waits for it."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from jaxvision.core import Graph
    from jaxvision.graph import GAT, GCN, GIN, GraphSAGE
    from jaxvision.ops import plan_neighbours

    x, senders, receivers, labels = data(case)
    graph = Graph(
        x,
        senders.astype(np.int32),
        receivers.astype(np.int32),
        np.ones(case.nodes, bool),
        np.ones(case.edges, bool),
        np.zeros(case.nodes, np.int32),
        np.ones(1, bool),
    )
    neighbours = jax.device_put(plan_neighbours(graph)) if planned else None
    graph, labels = jax.device_put((graph, labels.astype(np.int32)))
    network = {
        "gcn": lambda: GCN((case.hidden,), case.classes),
        "gat": lambda: GAT((case.hidden,), case.classes, dropout_rate=0.6),
        "gin": lambda: GIN((case.hidden, case.hidden), case.classes),
        "sage": lambda: GraphSAGE((case.hidden,), case.classes),
    }[case.network]()
    # Random bits of the hardware's generator: what a CPU draws fastest, as PyTorch's are its fastest.
    key = jax.random.key(0, impl="unsafe_rbg")
    variables = jax.jit(lambda g: network.init(key, g, train=False))(graph)
    optimizer = optax.adam(0.01)

    def step(state: Any, graph: Any, neighbours: Any) -> Any:
        params, rest, opt_state, count = state

        def loss(params: Any) -> Any:
            logits, changed = network.apply(
                {**rest, "params": params},
                graph,
                neighbours=neighbours,
                train=True,
                rngs={"dropout": jax.random.fold_in(key, count)},
                mutable=["batch_stats"],
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), changed

        gradients, changed = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), {**rest, **changed}, opt_state, count + 1

    params = variables["params"]
    rest = {name: value for name, value in variables.items() if name != "params"}
    state = [(params, rest, optimizer.init(params), jnp.zeros((), jnp.int32))]
    run = jax.jit(step, donate_argnums=0)

    def call() -> None:
        state[0] = run(state[0], graph, neighbours)
        jax.block_until_ready(state[0])

    return call


def torch_call(case: Case, threads: int) -> Callable[[], Any]:
    """The same in PyTorch Geometric, its edges sorted by receiver and normalisations cached."""
    import numpy as np
    import torch
    from torch.nn import functional as F
    from torch_geometric import nn

    torch.set_num_threads(threads)
    x, senders, receivers, labels = data(case)
    order = np.argsort(receivers, kind="stable")
    edge_index = torch.from_numpy(np.stack([senders[order], receivers[order]]))
    x, labels = torch.from_numpy(x), torch.from_numpy(labels)
    features, hidden, classes = case.features, case.hidden, case.classes

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout, self.activation, self.head, self.norms = 0.5, F.relu, None, None
            if case.network == "gcn":
                layers = [nn.GCNConv(features, hidden, cached=True), nn.GCNConv(hidden, classes, cached=True)]
            elif case.network == "sage":
                layers = [nn.SAGEConv(features, hidden), nn.SAGEConv(hidden, classes)]
            elif case.network == "gat":
                self.dropout, self.activation = 0.6, F.elu
                layers = [
                    nn.GATConv(features, hidden, heads=8, dropout=0.6),
                    nn.GATConv(8 * hidden, classes, heads=1, concat=False, dropout=0.6),
                ]
            else:
                widths = ([features, hidden, hidden], [hidden] * 3)
                layers = [nn.GINConv(nn.MLP(each, norm="batch_norm")) for each in widths]
                self.norms = torch.nn.ModuleList([torch.nn.BatchNorm1d(hidden) for _ in widths])
                self.head = torch.nn.Linear(2 * hidden, classes)
            self.layers = torch.nn.ModuleList(layers)

        def forward(self, x: Any) -> Any:
            if self.head is not None:
                rows = []
                for layer, norm in zip(self.layers, self.norms, strict=True):
                    x = F.relu(norm(layer(x, edge_index)))
                    rows.append(x)
                return self.head(F.dropout(torch.cat(rows, 1), 0.5))
            for index, layer in enumerate(self.layers):
                x = layer(F.dropout(x, self.dropout), edge_index)
                x = x if index else self.activation(x)
            return x

    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)

    def call() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x), labels).backward()
        optimizer.step()

    return call


def serve(peer: str, case: Case, threads: int) -> None:
    """A peer's process: answers each line with the fastest of so many calls and the peak memory."""
    call = torch_call(case, threads) if peer == "torch" else jax_call(case, peer == "jax")
    call()
    print("{}", flush=True)
    for line in sys.stdin:
        call()
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": min(times), "peak": peak}), flush=True)


def measure(index: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median seconds of a step and peak MiB of the process, by peer; the peers take turns."""
    peers: dict[str, Any] = {}
    for name in PEERS:
        python = options.torch_python if name == "torch" else options.jax_python
        command = [python, __file__, "--serve", name, "--case", str(index), "--threads", str(options.threads)]
        peers[name] = subprocess.Popen(
            [*command, "--scale", str(options.scale)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ALLOCATOR},
        )
        _answer(peers[name])
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in peers}
    for _ in range(options.rounds):
        for name, peer in peers.items():
            peer.stdin.write(f"{options.calls}\n")
            peer.stdin.flush()
            turns[name].append(_answer(peer))
    for peer in peers.values():
        peer.stdin.close()
        peer.wait()
    return {
        name: {
            "seconds": statistics.median(turn["seconds"] for turn in every),
            "peak": max(turn["peak"] for turn in every),
        }
        for name, every in turns.items()
    }


def _answer(peer: Any) -> dict[str, float]:
    line = peer.stdout.readline()
    if not line:
        raise SystemExit("a peer stopped; its own message is above")
    return json.loads(line)


def scaled(case: Case, scale: float) -> Case:
    """The case with fewer nodes, edges and features, to see that it runs."""
    sizes = (max(16, int(scale * size)) for size in (case.nodes, case.edges, case.features))
    nodes, edges, features = sizes
    return case._replace(nodes=nodes, edges=edges // 2 * 2, features=features)


def compare(options: argparse.Namespace) -> None:
    """Measures the cases and prints a markdown table."""
    print("| network | JAX ms | scatter ms | PyG ms | JAX / PyG | JAX MiB | scatter MiB | PyG MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    figures = {}
    for index, case in enumerate(CASES):
        if options.only not in case.label:
            continue
        figures[case.label] = result = measure(index, options)
        times = [1e3 * result[name]["seconds"] for name in PEERS]
        peaks = [f"{result[name]['peak']:.0f}" for name in PEERS]
        row = [f"{value:.1f}" for value in times] + [f"{times[0] / times[2]:.2f}", *peaks]
        print(f"| {case.label} | " + " | ".join(row) + " |", flush=True)
    if options.output:
        Path(options.output).write_text(json.dumps(figures, indent=1))


def main() -> None:
    """Compares the peers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jax-python", default=sys.executable, help="interpreter with jax and jaxvision")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with torch_geometric")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each peer at each case")
    parser.add_argument("--calls", type=int, default=3, help="timed calls in a turn")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch; JAX takes every core")
    parser.add_argument("--only", default="", help="cases whose label contains this, such as 'gat, large'")
    parser.add_argument("--scale", type=float, default=1.0, help="share of nodes, edges and features")
    parser.add_argument("--output", help="write the figures to this JSON file")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, scaled(CASES[options.case], options.scale), options.threads)
    else:
        compare(options)


if __name__ == "__main__":
    main()
