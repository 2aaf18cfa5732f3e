"""Random walks per second, and classes of Cora from node2vec's vectors, in JAX and in PyTorch Geometric.

    python tests/benchmarks/walks.py --cora cora.npz                    # walks per second
    python tests/benchmarks/walks.py --nodes 100000 --degree 20         # on a random graph
    python tests/benchmarks/walks.py --cora cora.npz --classify       # accuracy of a logistic regression
    python tests/benchmarks/walks.py --torch-python PATH ...            # torch in another environment

Walks: PyG's ``Node2Vec`` samples by pyg-lib or torch-cluster; where neither is installed, it is left out,
and the peer is the loop in Python over a NetworkX graph, as node2vec's authors published. Each peer runs in a
process of its own, and the peers take turns; a figure is the median over the turns of the fastest call.

Classes: both learn with the same settings (features, length of walks, window, walks a node, p, q), each by
its own objective. PyG's: windows of ``window`` nodes, whose first is told from the others and from as many
walks drawn by chance, one table of vectors, SparseAdam at 0.01 (its example for Cora). Ours: word2vec's
skip-gram, as in node2vec's paper. Where neither pyg-lib nor torch-cluster is installed, PyG's loss is
restated in torch on walks drawn in numpy; the table says so. Figures are means over ``--seeds``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that benchmarks is found

from benchmarks.ops import ALLOCATOR

BIASES = ((1.0, 1.0), (0.5, 2.0), (4.0, 0.25))
PEERS = ("jax", "torch", "networkx")


def read_edges(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, int]:
    """Senders, receivers, each edge both ways and sorted, and the number of nodes."""
    if options.cora:
        with np.load(options.cora) as file:
            pairs, size = file["edge_index"].T, len(file["labels"])
    else:
        size = options.nodes
        pairs = np.random.default_rng(0).integers(0, size, (size * options.degree // 2, 2))
    both = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0).astype(np.int64)
    both = both[both[:, 0] != both[:, 1]]
    return both[:, 0], both[:, 1], size


def jax_walks(options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Compiled walks of every bias."""
    import functools

    import jax
    import jax.numpy as jnp

    from jaxvision.graph import random_walks, walk_graph

    senders, receivers, size = read_edges(options)
    graph = walk_graph(senders, receivers, num_nodes=size)
    starts = jnp.asarray(np.arange(options.walks) % size)
    calls = {}
    for p, q in BIASES:
        walk = jax.jit(functools.partial(random_walks, length=options.length, p=p, q=q))
        keys = iter(jax.random.split(jax.random.key(0), 100_000))
        calls[f"{p} {q}"] = lambda walk=walk, keys=keys: walk(
            next(keys), graph, starts
        ).nodes.block_until_ready()
    return calls


def torch_walks(options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """PyG's own sampling; empty where its compiled part is not installed."""
    import torch

    torch.set_num_threads(options.threads)
    senders, receivers, size = read_edges(options)
    edge_index = torch.from_numpy(np.stack([senders, receivers]))
    starts = torch.arange(options.walks) % size
    calls = {}
    for p, q in BIASES:
        net = pyg_node2vec(edge_index, size, options, p, q)
        if net is None:
            return {}
        calls[f"{p} {q}"] = lambda net=net: net.random_walk_fn(
            net.rowptr, net.col, starts, options.length - 1, net.p, net.q
        )
    return calls


def pyg_node2vec(edge_index: Any, size: int, options: argparse.Namespace, p: float, q: float) -> Any:
    """``torch_geometric.nn.Node2Vec``, or None where it cannot sample."""
    try:
        from torch_geometric.nn import Node2Vec

        return Node2Vec(
            edge_index,
            embedding_dim=options.features,
            walk_length=options.length,
            context_size=min(options.window, options.length),
            walks_per_node=options.walks_per_node,
            num_negative_samples=1,
            p=p,
            q=q,
            sparse=True,
            num_nodes=size,
        )
    except ImportError:  # neither pyg-lib nor torch-cluster
        return None


def networkx_walks(options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """The loop of node2vec's authors, with their tables of an edge's probabilities made before."""
    import networkx

    senders, receivers, _ = read_edges(options)
    graph = networkx.Graph(zip(senders.tolist(), receivers.tolist(), strict=True))
    nodes = list(graph)
    starts = [nodes[index % len(nodes)] for index in range(options.loop_walks)]
    calls = {}
    for p, q in BIASES:
        tables: dict[tuple[int, int], tuple[list[int], np.ndarray]] = {}
        calls[f"{p} {q}"] = lambda p=p, q=q, tables=tables: [
            _loop(graph, start, options.length, p, q, tables) for start in starts
        ]
    return calls


def _loop(graph: Any, start: int, length: int, p: float, q: float, tables: Any) -> list[int]:
    rng = np.random.default_rng(start)
    walk = [start]
    while len(walk) < length:
        node = walk[-1]
        if len(walk) == 1 or p == q == 1.0:
            around = list(graph[node])
            walk.append(around[rng.integers(len(around))])
            continue
        before = walk[-2]
        if (before, node) not in tables:
            around = sorted(graph[node])
            weights = [1 / p if x == before else 1.0 if graph.has_edge(before, x) else 1 / q for x in around]
            tables[before, node] = (around, np.cumsum(weights) / np.sum(weights))
        around, shares = tables[before, node]
        walk.append(around[min(int(np.searchsorted(shares, rng.random())), len(around) - 1)])
    return walk


def serve(peer: str, options: argparse.Namespace) -> None:
    """A peer's process: answers each line with the walks per second of each bias."""
    calls = {"jax": jax_walks, "torch": torch_walks, "networkx": networkx_walks}[peer](options)
    walks = options.loop_walks if peer == "networkx" else options.walks
    for call in calls.values():
        call()  # compiles; fills the loop's tables
    print(json.dumps(sorted(calls)), flush=True)
    for line in sys.stdin:
        rates = {}
        for bias, call in calls.items():
            call()  # wakes the caches after the other peers' turns
            rates[bias] = walks / min(_timed(call) for _ in range(int(line)))
        print(json.dumps(rates), flush=True)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare_walks(options: argparse.Namespace, arguments: list[str]) -> None:
    """Measures all peers and prints a markdown table."""
    peers: dict[str, Any] = {}
    for name in PEERS:
        python = options.jax_python if name == "jax" else options.torch_python
        peer = subprocess.Popen(
            [python, __file__, *arguments, "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ALLOCATOR},
        )
        if _answer(peer):
            peers[name] = peer
        else:
            print(f"({name}: neither pyg-lib nor torch-cluster is installed)")
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in peers}
    for _ in range(options.rounds):
        for name, peer in peers.items():
            peer.stdin.write(f"{options.calls}\n")
            peer.stdin.flush()
            turns[name].append(_answer(peer))
    for peer in peers.values():
        peer.stdin.close()
        peer.wait()
    print("| p, q | " + " | ".join(f"{name} walks/s" for name in peers) + " |")
    print("|---|" + "---:|" * len(peers))
    for p, q in BIASES:
        rates = [statistics.median(turn[f"{p} {q}"] for turn in turns[name]) for name in peers]
        print(f"| {p:g}, {q:g} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |")


def _answer(peer: Any) -> Any:
    line = peer.stdout.readline()
    if not line:
        raise SystemExit("a peer stopped; its own message is above")
    return json.loads(line)


def classify(options: argparse.Namespace, arguments: list[str]) -> None:
    """Accuracies and seconds of both, over the seeds."""
    print("| peer | test accuracy, % | +- | micro F1 at half, % | seconds |\n|---|---:|---:|---:|---:|")
    for name in ("jax", "torch"):
        python = options.jax_python if name == "jax" else options.torch_python
        found = []
        for seed in range(options.seeds):
            command = [python, __file__, *arguments, "--learn", name, "--seed", str(seed)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"seed {seed}: {found[-1]}", file=sys.stderr, flush=True)  # PyG takes long
        accuracy = [100 * row["accuracy"] for row in found]
        spread = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
        f1, seconds = (statistics.mean(row[part] for row in found) for part in ("micro_f1", "seconds"))
        print(
            f"| {found[0]['peer']} | {statistics.mean(accuracy):.1f} | {spread:.1f} | {100 * f1:.1f} | "
            f"{seconds:.0f} |",
            flush=True,
        )


def learn(peer: str, options: argparse.Namespace) -> None:
    """One run: prints its scores as JSON."""
    start = time.perf_counter()
    title, vectors = (learn_jax if peer == "jax" else learn_torch)(options)
    seconds = time.perf_counter() - start
    print(json.dumps({"peer": title, "seconds": seconds, **scores(options, vectors, options.seed)}))


def scores(options: argparse.Namespace, vectors: np.ndarray, seed: int) -> dict[str, float]:
    """Accuracy on the public split, as ``Node2Vec.test``; and over all nodes, half of them fitted on."""
    from sklearn.linear_model import LogisticRegression

    with np.load(options.cora) as file:
        labels, train, test = file["labels"], file["train_mask"], file["test_mask"]
    model = LogisticRegression(max_iter=1000).fit(vectors[train], labels[train])
    order = np.random.default_rng(seed).permutation(len(labels))
    half, rest = np.split(order, [len(order) // 2])
    every = LogisticRegression(max_iter=1000).fit(vectors[half], labels[half])
    return {
        "accuracy": float(model.score(vectors[test], labels[test])),
        "micro_f1": float(every.score(vectors[rest], labels[rest])),
    }


def learn_jax(options: argparse.Namespace) -> tuple[str, np.ndarray]:
    """Ours, by the tasks that the script runs."""
    import jax
    import optax

    from jaxvision.graph import walk_graph
    from jaxvision.tasks.node_embedding import StartBatches, compile_walk_step, walk_data, walk_task
    from jaxvision.tasks.node_embedding_options import NodeEmbeddingModel
    from jaxvision.training import create_train_state, make_placement

    senders, receivers, size = read_edges(options)
    model = NodeEmbeddingModel(
        method="node2vec",
        features=options.features,
        walk_length=options.length,
        window=options.window - 1,  # a window of PyG's has its first node in it
        negatives=options.negatives,
        p=options.p,
        q=options.q,
    )
    words, walk = model.word2vec(size, batch_size=256), model.walk()
    data = walk_data(words, walk, walk_graph(senders, receivers, num_nodes=size), seed=options.seed)
    steps = -(-options.epochs * options.walks_per_node * size // 256)
    placement = make_placement("jit", devices=jax.devices()[:1])
    step = compile_walk_step(words, walk, data, placement, optax.linear_schedule(options.rate, 0, steps))
    state = create_train_state(walk_task(words, walk, data), optax.identity(), seed=options.seed)
    state, batches = placement.place(state), StartBatches(size, 256, seed=options.seed, copies=1)
    for _ in range(steps):
        state, _ = step(state, placement.shard(next(batches)))
    return "jaxvision, skip-gram", np.asarray(state.params["input"])


def learn_torch(options: argparse.Namespace) -> tuple[str, np.ndarray]:
    """PyG's Node2Vec, or its loss restated on walks drawn in numpy."""
    import torch

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    senders, receivers, size = read_edges(options)
    net = pyg_node2vec(torch.from_numpy(np.stack([senders, receivers])), size, options, options.p, options.q)
    title = "PyG Node2Vec"
    if net is None:
        title = "PyG's loss restated in torch, walks by numpy"
        net = _restated(senders, receivers, size, options)
    optimizer = torch.optim.SparseAdam(list(net.parameters()), lr=0.01)
    for _ in range(options.epochs):
        for batch in torch.randperm(size).split(128):
            optimizer.zero_grad()
            net.loss(*net.sample(batch)).backward()
            optimizer.step()
    return title, net.embedding.weight.detach().numpy()


def _restated(senders: np.ndarray, receivers: np.ndarray, size: int, options: argparse.Namespace) -> Any:
    """What ``torch_geometric.nn.Node2Vec`` computes, with its names."""
    import torch

    offsets = np.searchsorted(senders, np.arange(size + 1))
    rng = np.random.default_rng(options.seed)

    class Restated(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(size, options.features, sparse=True)

        def sample(self, batch: Any) -> tuple[Any, Any]:
            starts = np.repeat(batch.numpy(), options.walks_per_node)
            positive = _numpy_walks(rng, offsets, receivers, starts, options)
            noise = rng.integers(0, size, (len(starts), options.length))
            noise[:, 0] = starts
            return _windows(positive, options.window), _windows(noise, options.window)

        def loss(self, positive: Any, negative: Any) -> Any:
            total = 0.0
            for walks, sign in ((positive, 1.0), (negative, -1.0)):
                first, others = self.embedding(walks[:, :1]), self.embedding(walks[:, 1:])
                score = torch.sigmoid((first * others).sum(-1))
                chance = score if sign > 0 else 1 - score
                total = total - torch.log(chance + 1e-15).mean()
            return total

    return Restated()


def _windows(walks: np.ndarray, window: int) -> Any:
    import torch

    count = walks.shape[1] - window + 1
    return torch.from_numpy(np.concatenate([walks[:, i : i + window] for i in range(count)]))


def _numpy_walks(
    rng: np.random.Generator,
    offsets: np.ndarray,
    receivers: np.ndarray,
    starts: np.ndarray,
    options: argparse.Namespace,
) -> np.ndarray:
    """Walks of all starts at once; of second order by drawing again what is not taken."""
    degrees, size = np.diff(offsets), len(offsets) - 1
    keys = np.repeat(np.arange(size), degrees) * size + receivers  # ascending
    walks = np.repeat(starts[:, None], options.length, axis=1)
    most = max(1 / options.p, 1.0, 1 / options.q)
    for step in range(1, options.length):
        node, open_ = walks[:, step - 1], np.arange(len(starts))
        walks[:, step] = node
        open_ = open_[degrees[node] > 0]
        while len(open_):
            draws = (rng.random(len(open_)) * degrees[node[open_]]).astype(np.int64)
            found = receivers[offsets[node[open_]] + draws]
            if step == 1 or options.p == options.q == 1.0:
                bias = np.full(len(open_), most)
            else:
                before = walks[open_, step - 2]
                key = before * size + found
                place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
                bias = np.where(keys[place] == key, 1.0, 1 / options.q)
                bias = np.where(found == before, 1 / options.p, bias)
            taken = rng.random(len(open_)) * most < bias
            walks[open_[taken], step] = found[taken]
            open_ = open_[~taken]
    return walks


def main() -> None:
    """Compares walks, or with --classify what is learned from them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jax-python", default=sys.executable, help="interpreter with jax and jaxvision")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with torch and PyG")
    parser.add_argument("--cora", type=Path, help="Cora in Planetoid's .npz layout; else a random graph")
    parser.add_argument("--nodes", type=int, default=10_000, help="of the random graph")
    parser.add_argument("--degree", type=int, default=10, help="of its nodes, on average")
    parser.add_argument("--walks", type=int, default=4096, help="walks a call")
    parser.add_argument("--loop-walks", type=int, default=200, help="walks a call of the loop in Python")
    parser.add_argument("--length", type=int, default=20, help="nodes of a walk")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each peer")
    parser.add_argument("--calls", type=int, default=3, help="timed calls in a turn")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    parser.add_argument("--classify", action="store_true", help="compare what is learned")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each peer")
    parser.add_argument("--epochs", type=int, default=100, help="passes over the nodes")
    parser.add_argument("--walks-per-node", type=int, default=10, help="walks a node and pass")
    parser.add_argument("--window", type=int, default=10, help="nodes of PyG's window, the first included")
    parser.add_argument("--features", type=int, default=128, help="numbers of a vector")
    parser.add_argument("--negatives", type=int, default=1, help="noise nodes a pair of ours")
    parser.add_argument("--rate", type=float, default=0.025, help="learning rate of ours")
    parser.add_argument("--p", type=float, default=1.0)
    parser.add_argument("--q", type=float, default=1.0)
    parser.add_argument("--serve", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--learn", choices=("jax", "torch"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options)
    elif options.learn:
        learn(options.learn, options)
    elif options.classify:
        if options.cora is None:
            parser.error("--classify needs --cora FILE, for the labels")
        classify(options, sys.argv[1:])
    else:
        compare_walks(options, sys.argv[1:])


if __name__ == "__main__":
    main()
