# %% [markdown]
# # Graphs: message passing, and vectors of nodes (图神经网络, 节点嵌入)
#
# What is learned here: graphs as arrays of fixed sizes; message passing (消息传递) as three functions;
# graph convolution (图卷积), attention (注意力) and sampling-and-aggregating against a network that sees no
# edges; what attention looks at; why deep graph networks smooth everything away (过平滑); classes of whole
# graphs; random walks (随机游走) and node2vec; which edges are missing.
#
# One to four minutes on two CPU cores; runs unchanged on a TPU chip, a GPU, or several of them. Nothing is
# downloaded: Zachary's karate club is built in, larger graphs are drawn at random.

# %% install
# One cell for Colab and for a clone. Colab's own JAX, built for its TPU or GPU, is never replaced.
import importlib.metadata
import importlib.util
import pathlib
import re
import subprocess
import sys

REPOSITORY = ""  # @param {type:"string"}
# Empty: the clone that this lies in or beside. Else an address for pip: "git+https://HOST/OWNER/jaxvision".

specs = [importlib.util.find_spec(name) for name in ("jaxvision", "optax", "grain", "sklearn", "flatbuffers")]
if any(spec is None or spec.origin is None for spec in specs):  # a mere folder has no origin
    folders = (here := pathlib.Path.cwd(), *here.parents, here / "jaxvision")
    clone = next((folder for folder in folders if (folder / "jaxvision" / "__init__.py").is_file()), None)
    if not REPOSITORY and clone is None:
        raise RuntimeError("no clone of jaxvision here: set REPOSITORY above to its address")
    names = {dist.name for dist in importlib.metadata.distributions()} - {None, "jaxvision"}
    kept = sorted(name for name in names if name.startswith(("jax", "libtpu")))
    kept = [f"{name}=={importlib.metadata.version(name)}" for name in kept]
    old = [spec for spec in kept if re.match(r"jax==0\.\d\.", spec)]
    if old:
        raise RuntimeError(f"{old[0]} is too old, 0.10 is needed: choose a newer runtime, or upgrade it")
    source = f"jaxvision[colab] @ {REPOSITORY}" if REPOSITORY else f"{clone}[colab]"
    if subprocess.run([sys.executable, "-m", "pip", "install", "-q", source, *kept]).returncode:
        raise RuntimeError(f"pip could not install {source} beside {kept}: see its words above")
    importlib.invalidate_caches()

# %% settings
import dataclasses
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from matplotlib.collections import LineCollection

from jaxvision import data, graph, layers, metrics, ops, pictures, sequence, training
from jaxvision.tasks.graph import GraphShape, Penalty, graph_task, link_task, node_task
from jaxvision.tasks.graph_placement import EdgeShardedPlacement
from jaxvision.tasks.node_embedding_scores import mask_accuracy

SMALL = bool(os.environ.get("SMALL"))  # the tests' size: seconds, and nothing is learned well
PLANETOID = ""  # @param {type:"string"}
# A file of Cora, Citeseer or Pubmed in the .npz layout of Planetoid, if you have one; else a drawn graph.
jax.config.update("jax_default_matmul_precision", "highest")  # or a TPU's rounding would hide what is equal
plt.style.use("tableau-colorblind10")
plt.rcParams["figure.dpi"] = 100
print(jax.devices())

# %% [markdown]
# ## 1. A graph is seven arrays
#
# A graph (图) has nodes (节点) with features, and directed edges (有向边) from a sender (发送者) to a
# receiver (接收者). An undirected edge stands twice. `Graph` is a NamedTuple of arrays, so it goes through
# `jit`, `grad` and `vmap` like any other.
#
# Compiled programs have fixed sizes (静态形状), graphs do not. So a graph is padded (填充) to a bucket
# (桶): a number of nodes, edges and graphs that also holds the next ones. Masks say what is real; what the
# padding holds must not matter.

# %% the tuple, and its padding
pairs = [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4)]
small = data.symmetrise(data.graph_from_pairs(pairs, nodes=np.eye(5, 3)))
padded = data.pad_graph(small, data.Bucket(nodes=8, edges=12, graphs=1))
for name, array in padded._asdict().items():
    print(f"{name:12}", "none" if array is None else f"{array.dtype!s:8} {list(array.shape)}")
print("senders     ", padded.senders.tolist())
print("receivers   ", padded.receivers.tolist())
print("where_edges ", padded.where_edges.astype(int).tolist())

conv = layers.GCNConv(features=4)
variables = conv.init(jax.random.key(0), small)
junk = padded._replace(nodes=np.where(padded.where_nodes[:, None], padded.nodes, np.nan))
assert jnp.allclose(conv.apply(variables, junk)[:5], conv.apply(variables, small), atol=1e-6)
print("padded with nan = unpadded; bucket of any two of these graphs:", data.batch_bucket([small, padded], 2))


# %% draw it
def draw_edges(axes, places, g, **style):
    """Lines between the places of an edge's ends, each undirected edge once."""
    once = np.asarray(g.where_edges) & (np.asarray(g.senders) < np.asarray(g.receivers))
    ends = places[np.stack([g.senders, g.receivers], axis=1)[once]]
    axes.add_collection(LineCollection(ends, **{"colors": "0.75", "linewidths": 0.8, "zorder": 0} | style))
    axes.set(xticks=[], yticks=[])


places = pictures.force_layout(small.senders, small.receivers, 5)
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
draw_edges(left, places, small)
left.scatter(*places.T, s=220)
for node, place in enumerate(places):
    left.annotate(str(node), place, ha="center", va="center", color="white")
left.set(title="five nodes, five undirected edges")
left.margins(0.15)
matrix = np.zeros((8, 8))
matrix[padded.receivers[padded.where_edges], padded.senders[padded.where_edges]] = 1
right.imshow(matrix, cmap="cividis")
right.set(title="adjacency matrix, padded to 8 nodes", xlabel="sender", ylabel="receiver")
plt.show()

# %% [markdown]
# ## 2. Message passing is three functions
#
# $$x_v' = \text{update}\Big(x_v, \; \underset{u \to v}{\text{aggregate}} \; \text{message}(x_u, x_v)\Big)$$
#
# A graph convolution (Kipf and Welling 2017, *Semi-Supervised Classification with Graph
# Convolutional Networks*, equation 2) adds a loop (自环) to each node, and divides by the roots of both
# ends' degrees (度):
#
# $$X' = D^{-1/2} (A + I) D^{-1/2} X W + b$$
#
# Here it is written with `pass_messages`, and equals the library's layer.


# %% a graph convolution
def convolve(g, kernel, bias):
    """A graph convolution, of a graph that has a loop on each node."""
    degrees = ops.segment_sum(jnp.ones(len(g.receivers)), g.receivers, len(g.nodes), where=g.where_edges)
    scale = jax.lax.rsqrt(jnp.maximum(degrees, 1))[:, None]
    return layers.pass_messages(
        g._replace(nodes=g.nodes @ kernel * scale),
        message=lambda edges: edges.sent,  # each edge carries its sender's row
        aggregate=layers.sum_messages,  # or mean_messages, max_messages, one's own
        update=lambda nodes, gathered: gathered * scale + bias,
    )


looped = data.add_self_loops(small)
ours = jax.jit(convolve)(looped, **variables["params"])
assert jnp.allclose(ours, conv.apply(variables, small), atol=1e-6)
A = np.zeros((5, 5))
A[looped.receivers, looped.senders] = 1
D = np.diag(A.sum(1) ** -0.5)
assert np.allclose(D @ A @ D @ small.nodes @ variables["params"]["kernel"], ours, atol=1e-6)
print("three functions = layer = matrices:", ours.shape)
largest = layers.pass_messages(
    small, message=lambda edges: edges.sent - edges.received, aggregate=layers.max_messages,
    update=lambda nodes, gathered: gathered)  # fmt: skip
print("another layer in one line (largest difference to a neighbour):", largest.tolist()[0])

# %% [markdown]
# ## 3. Two labels are enough: the karate club
#
# Zachary's karate club (空手道俱乐部; 1977): 34 members, 78 ties. The club split after a quarrel between
# the instructor (member 0) and the officer (member 33). Only these two have a label; a network of two graph
# convolutions tells on which side the other members ended up. That is semi-supervised learning
# (半监督学习): labels are few, edges are all known.
#
# The training loop is the library's.


# %% train on a whole graph
whole_graph = EdgeShardedPlacement(training.make_placement("jit").mesh)  # devices share a graph's edges
DEVICES = whole_graph.num_devices


def train(task, loader, *, steps, placement=whole_graph, part="train", seeds=1):
    """Trains from some seeds with one compiled step; yields the variables of each as numpy arrays."""
    optimizer = optax.adam(0.01)
    step = placement.compile_step(training.make_train_step(task, optimizer))
    for seed in range(seeds):
        state = placement.place(training.create_train_state(task, optimizer, seed=seed))
        batches = map(placement.shard, loader.batches(part, seed=seed))
        yield placement.fetch(training.fit(state, step, batches, [], steps=steps).state).variables()


club = data.karate_club()
loader = data.FullGraphNodes(club, edge_multiple=DEVICES)
task = node_task(graph.GCN(hidden=(8,), num_classes=2, dropout_rate=0.0), GraphShape(34))
(variables,) = train(task, loader, steps=20 if SMALL else 200)
logits = np.asarray(jax.jit(task.predict)(variables, loader.batch("all")))[0]
predicted = logits.argmax(-1)
print(f"members on the right side: {(predicted == club.labels).sum()} of 34, from 2 labels")
assert (predicted == club.labels).sum() > 17

figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
club_places = pictures.force_layout(club.graph.senders, club.graph.receivers, 34, steps=200, seed=1)
for axes, classes, title in zip(
    panels, (club.labels, predicted), ("what happened", "predicted"), strict=True
):
    draw_edges(axes, club_places, club.graph)
    for side, name in enumerate(club.class_names):
        axes.scatter(*club_places[classes == side].T, s=110, label=name)
    for node, place in enumerate(club_places):
        axes.annotate(str(node), place, ha="center", va="center", fontsize=6.5, color="white")
    axes.scatter(*club_places[club.train].T, s=200, facecolors="none", edgecolors="black", label="labelled")
    axes.set_title(title)
panels[1].legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 4. GCN, GAT, SAGE, and a network that sees no edges
#
# A citation graph such as Cora has 2,708 papers of 7 themes, words as features, and 20 labels a theme. Here
# is a graph of that kind from a stochastic block model (随机块模型; Holland et al. 1983): nodes of one
# block meet more often, and features hint at the block.
#
# * GCN: a mean over neighbours with fixed weights.
# * GAT (图注意力; Velickovic et al. 2018): the weights of neighbours are learned, by a softmax of a score
#   of both ends.
# * GraphSAGE (图采样与聚合; Hamilton et al. 2017): the node itself and the mean of its neighbours have a matrix each.
# * MLP (多层感知机): the same two layers without edges, what features alone tell.

# %% data and networks
if PLANETOID:
    cora = data.read_planetoid(PLANETOID)
else:
    sizes = (40,) * 4 if SMALL else (351, 217, 418, 818, 426, 298, 180)  # Cora's own
    within, between = (0.1, 0.01) if SMALL else (0.0075, 0.0004)
    cora = data.block_model(
        sizes, inside=within, between=between, num_features=32 if SMALL else 128, noise=6.0,
        train_per_block=10 if SMALL else 20, rng=np.random.default_rng(0))  # fmt: skip
# Features of order 1, as attention likes them: rows of word counts by their sums, drawn ones by their spread.
x = cora.graph.nodes
x = data.normalise_rows(x) if PLANETOID else (x - x.mean(0)) / x.std(0)
cora = dataclasses.replace(cora, graph=cora.graph._replace(nodes=x))
g = cora.graph
same = cora.labels[g.senders] == cora.labels[g.receivers]
print(f"{len(g.nodes)} nodes, {len(g.senders) // 2} edges, of which {same.mean():.2f} are inside a class")
print(f"{g.nodes.shape[1]} features, {cora.num_classes} classes, {cora.train.sum()} nodes to train on")


class Alone(nn.Module):
    """Two dense layers on each node; edges are not looked at."""

    @nn.compact
    def __call__(self, g, *, neighbours=None, train):
        x = nn.relu(nn.Dense(16)(layers.Dropout(0.5)(g.nodes, train=train)))
        return nn.Dense(cora.num_classes)(layers.Dropout(0.5)(x, train=train))


K = cora.num_classes
NETWORKS = {
    "MLP": Alone(),
    "GCN": graph.GCN((16,), K),
    "GAT": graph.GAT((8,), K, num_heads=2 if SMALL else 8),
    "SAGE": graph.GraphSAGE((16,), K),
}

# %% train each from a few seeds
STEPS, SEEDS = (10, 1) if SMALL else (150, 3)
loader = data.FullGraphNodes(cora, edge_multiple=DEVICES)
shape = GraphShape(g.nodes.shape[1])
accuracy = {}


def test_accuracies(network, seeds):
    """Trains a network, and classifies the nodes to test on."""
    task = node_task(network, shape, penalty=Penalty(5e-4))
    predict, batch = jax.jit(task.predict), whole_graph.shard(loader.batch("test"))
    logits = [predict(variables, batch) for variables in train(task, loader, steps=STEPS, seeds=seeds)]
    return [float((np.asarray(x)[0].argmax(-1) == cora.labels)[cora.test].mean()) for x in logits]


for name, network in NETWORKS.items():
    accuracy[name] = test_accuracies(network, SEEDS)
    seeds = np.round(accuracy[name], 3).tolist()
    print(f"{name:5} test accuracy {np.mean(accuracy[name]):.3f} (from each seed {seeds})")
assert SMALL or np.mean(accuracy["GCN"]) > np.mean(accuracy["MLP"]), "edges help"
largest_class = np.bincount(cora.labels[cora.test]).max() / cora.test.sum()
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for position, values in enumerate(accuracy.values()):
    axes.bar(position, np.mean(values), width=0.6)
    axes.plot([position] * len(values), values, "k.", markersize=5)
axes.axhline(largest_class, color="0.4", linestyle="--", linewidth=1, label="always the largest class")
axes.legend(fontsize=8, loc="upper right")
axes.set_xticks(range(len(accuracy)), list(accuracy))
axes.set(title=f"accuracy on {cora.test.sum()} test nodes, a dot a seed", ylabel="accuracy", ylim=(0, 1))
plt.show()

# %% [markdown]
# ## 5. What attention looks at
#
# A graph attention layer shows the weights of its edges (注意力权重) in the collection `intermediates`: for
# each receiver they sum to 1, its own loop included. A line is as wide as the weight that the member at its
# dark end gives to the one at its bright end, a ring as wide as the weight that a member gives to itself.

# %% attention weights on the karate club
gat = graph.GAT((8,), 2, num_heads=2, dropout_rate=0.0, attention_dropout=0.0)
loader_club = data.FullGraphNodes(club, edge_multiple=DEVICES)
(variables,) = train(node_task(gat, GraphShape(34)), loader_club, steps=20 if SMALL else 200)
_, shown = jax.jit(lambda g: gat.apply(variables, g, train=False, mutable=["intermediates"]))(club.graph)
weights = np.asarray(shown["intermediates"]["conv1"]["weights"][0])[:, 0]  # [E], of the output layer's head
loops = np.asarray(shown["intermediates"]["conv1"]["loop_weights"][0])[:, 0]  # [V]
totals = np.bincount(club.graph.receivers, weights, minlength=34) + loops
assert np.allclose(totals, 1, atol=1e-5)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", width_ratios=(3, 2))
start, end = club_places[club.graph.senders], club_places[club.graph.receivers]
half = np.stack([(start + end) / 2, end], axis=1)  # the half of the line at the receiver's end
left.add_collection(LineCollection(np.stack([start, end], axis=1), colors="0.85", linewidths=0.5, zorder=0))
left.add_collection(LineCollection(half, colors="0.25", linewidths=8 * weights, zorder=1))
for side, name in enumerate(club.class_names):
    here = club.labels == side
    left.scatter(*club_places[here].T, s=60, edgecolors="black", linewidths=4 * loops[here], label=name)
for node in range(34):
    left.annotate(str(node), club_places[node], xytext=(5, 5), textcoords="offset points", fontsize=7)
left.set(title="weights of the last layer: dark near who gives them", xticks=[], yticks=[])
left.legend(fontsize=8)
degree = np.bincount(club.graph.receivers, minlength=34)
right.scatter(degree + 1, np.array([weights[club.graph.receivers == node].max() for node in range(34)]), s=25)
grid = np.linspace(2, 18, 50)
right.plot(grid, 1 / grid, color="0.5", linestyle="--", label="all equal")
right.set(title="largest weight that a member gives", xlabel="neighbours, itself included", ylabel="weight")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 6. Over-smoothing
#
# Each graph convolution averages over neighbours. Many of them average over everything: rows of different
# nodes become alike (Li et al. 2018, *Deeper Insights into Graph Convolutional Networks*). First
# without any training: the same average again and again, and a classifier of nearest class means. Then
# networks of growing depth, each trained.

# %% averages of averages, and trained networks of growing depth
g_loops = jax.device_put(data.add_self_loops(g))
identity, zero = jnp.eye(g.nodes.shape[1]), jnp.zeros(g.nodes.shape[1])
average = jax.jit(lambda x: convolve(g_loops._replace(nodes=x), identity, zero))


def nearest_mean_accuracy(x):
    """Test nodes to the class whose training nodes' mean is nearest, by cosine."""
    x = np.asarray(x / jnp.linalg.norm(x, axis=1, keepdims=True).clip(1e-9))
    means = np.stack([x[cora.train & (cora.labels == k)].mean(0) for k in range(K)])
    return ((x @ means.T).argmax(1) == cora.labels)[cora.test].mean(), float(np.square(x.mean(0)).sum())


rounds, x, found = (1, 2, 8) if SMALL else (1, 2, 4, 8, 16, 32, 64, 128), jnp.asarray(g.nodes), {}
found[0] = nearest_mean_accuracy(x)
for k in range(1, rounds[-1] + 1):
    x = average(x)
    if k in rounds:
        found[k] = nearest_mean_accuracy(x)
deep = {}
for depth in (2,) if SMALL else (2, 4, 8, 12):
    (deep[depth],) = test_accuracies(graph.GCN((16,) * (depth - 1), K), 1)
print("averages:", {k: f"accuracy {a:.2f}, likeness {c:.2f}" for k, (a, c) in found.items()})
print("trained GCN:", {depth: round(value, 3) for depth, value in deep.items()})
assert found[rounds[-1]][1] > found[1][1], "rows become alike"

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
values = np.array(list(found.values()))
left.plot(values[:, 0], "o-", label="accuracy of nearest class means")
left.plot(values[:, 1], "s--", label="mean cosine of two nodes")
left.set(title="averaging alone", xlabel="rounds of averaging", ylim=(0, 1.02))
left.set_xticks(range(len(found)), [str(k) for k in found])
left.legend(fontsize=8)
right.plot(list(deep), list(deep.values()), "o-")
right.set(title="trained GCN", xlabel="layers", ylabel="test accuracy", ylim=(0, 1.02), xticks=list(deep))
plt.show()

# %% [markdown]
# ## 7. Classes of whole graphs
#
# Molecules, programs, small networks: one label a graph. Graphs of a batch lie side by side in one large
# graph, padded to one bucket, so every step has the same shape. A readout (读出) sums, averages or
# maximises over the nodes of each graph. GIN (图同构网络; Xu et al. 2019, *How Powerful are Graph Neural
# Networks?*) sums, which tells multisets (多重集) apart that means cannot.
#
# Four kinds of drawn graphs, about as large and as dense as each other: trees, rings with chords, ladders,
# and two communities.

# %% four kinds of graphs
everything = data.motif_graphs(40 if SMALL else 600, rng=np.random.default_rng(0))
order = np.random.default_rng(1).permutation(len(everything))
cut = len(everything) * 3 // 4
learned, held_out = everything.take(order[:cut]), everything.take(order[cut:])
set_loader = data.GraphSetBatches(everything, batch_size=32, shards=DEVICES)
print("one bucket for every batch, on each device:", set_loader.bucket)
placement = training.make_placement("jit")
of_graphs = {}
for readout in ("sum",) if SMALL else ("sum", "mean", "max"):
    network = graph.GraphClassifier(graph.GIN((16, 16)), len(everything.class_names), readout)
    task = graph_task(network, GraphShape(everything.num_features))
    steps = 10 if SMALL else 200
    (variables,) = train(task, set_loader, steps=steps, part=learned, placement=placement)
    count = jax.jit(task.counts)
    counts = [
        jax.device_get(count(variables, placement.shard(b))) for b in set_loader.ordered_batches(held_out)
    ]
    of_graphs[readout] = task.score(jax.tree.map(lambda *parts: sum(parts), *counts))["accuracy"]
print(f"accuracy on {len(held_out)} graphs by readout:", {k: round(v, 3) for k, v in of_graphs.items()})

figure, panels = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained")
for axes, kind in zip(panels, range(4), strict=True):
    example = everything.graphs[int(np.flatnonzero(everything.labels == kind)[1])]
    where = pictures.force_layout(example.senders, example.receivers, len(example.nodes), steps=200)
    draw_edges(axes, where, example, colors="0.4")
    axes.scatter(*where.T, s=18)
    axes.set_title(everything.class_names[kind])
plt.show()

# %% [markdown]
# ## 8. Walks: DeepWalk and node2vec
#
# Without features: random walks as sentences, nodes as words, and word2vec gives each node a
# vector (DeepWalk; Perozzi et al. 2014). node2vec (Grover and Leskovec 2016) biases the walks: $p$ large
# means it seldom turns back; $q$ small means it goes outward, as a depth-first search (深度优先搜索); $q$
# large, it stays near, as a breadth-first search (广度优先搜索). Walks and learning are one compiled step.

# %% where walks go
club_walks = graph.walk_graph_of(club.graph)
starts = jnp.zeros(200, jnp.int32)
figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for axes, q in zip(panels, (0.1, 10.0), strict=True):
    walks = graph.random_walks(jax.random.key(0), club_walks, starts, length=6, p=10.0, q=q)
    visits = np.bincount(np.asarray(walks.nodes)[np.asarray(walks.where)], minlength=34)
    draw_edges(axes, club_places, club.graph)
    dots = axes.scatter(*club_places.T, c=visits / 200, s=90, cmap="cividis", vmin=0, vmax=1)
    axes.scatter(*club_places[:1].T, s=220, facecolors="none", edgecolors="black")
    different = np.mean([len(set(row)) for row in np.asarray(walks.nodes).tolist()])
    axes.set_title(f"q = {q:g}: {different:.1f} different nodes a walk")
figure.colorbar(dots, ax=panels, label="visits a walk")
plt.show()


# %% vectors of nodes
def embed(g, *, features, steps, p=1.0, q=1.0, length=20, size=256, rate=0.05):
    """node2vec: in each step some walks, and a skip-gram on them."""
    walk_graph, count = graph.walk_graph_of(g), len(g.nodes)
    model = sequence.Word2Vec(count, features=features, window=5)
    noise = ops.alias_table(np.maximum(data.degrees(g), 1) ** sequence.NOISE_POWER)

    @jax.jit
    def step(tables, key, rate):
        start_key, walk_key, key = jax.random.split(key, 3)
        starts = jax.random.randint(start_key, (size,), 0, count)
        walks = graph.random_walks(walk_key, walk_graph, starts, length=length, p=p, q=q)
        return sequence.train_sequences(
            model, tables, walks.nodes, key, rate, noise=noise, where=walks.where
        ).tables

    tables = model.init(jax.random.key(0))
    for number in range(steps):
        tables = step(tables, jax.random.key(number), jnp.float32(rate * (1 - number / steps)))
    return np.asarray(tables["input"])


club_vectors = embed(club.graph, features=16, steps=5 if SMALL else 60, size=64, length=10)
vectors = embed(g, features=16 if SMALL else 64, steps=5 if SMALL else 200, p=1.0, q=0.5)
by_vectors = mask_accuracy(vectors, cora.labels, cora.train, cora.test)
print(f"logistic regression on node2vec's vectors, no features used: test accuracy {by_vectors:.3f}")
assert np.isfinite(vectors).all()


# %% maps coloured by label
def plane(vectors):
    """Two numbers a node: by t-SNE, or in the tests by principal components."""
    if SMALL:
        return pictures.principal_plane(vectors)
    from sklearn.manifold import TSNE

    few = min(30, len(vectors) // 4)
    return TSNE(init="pca", perplexity=few, max_iter=500, random_state=0).fit_transform(vectors)


OKABE_ITO = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
met = data.degrees(g) > 0  # a node without an edge is in no walk: it stays where it started
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
for axes, points, labels, names, size in (
    (left, plane(club_vectors), club.labels, club.class_names, 60),
    (right, plane(vectors[met]), cora.labels[met], cora.class_names, 6),
):
    for index, name in enumerate(names):
        axes.scatter(*points[labels == index].T, s=size, color=OKABE_ITO[index % 8], label=name)
    axes.set(xticks=[], yticks=[])
    axes.legend(fontsize=7)
left.set_title("karate club: vectors of walks")
right.set_title(f"{met.sum()} nodes by node2vec")
plt.show()

# %% [markdown]
# ## 9. Which edges are missing
#
# Link prediction (链接预测): some edges are hidden, and as many pairs without an edge drawn. A graph
# auto-encoder (图自编码器; Kipf and Welling 2016, *Variational Graph Auto-Encoders*) scores a pair by the
# product of its ends' rows. The area under the ROC curve (ROC曲线下面积) is the share of all (edge, other
# pair) in which the edge scores higher; 0.5 is guessing. In a block model it cannot reach 1: inside a
# block, which pairs have an edge is chance.

# %% predict links
split = data.split_edges(g, val_share=0.05, test_share=0.15, rng=np.random.default_rng(0))
links = data.LinkBatches(split, edge_multiple=DEVICES)
scorer = graph.EdgeScorer(
    graph.GCN((32,), 16, dropout_rate=0.0)
)  # the last layer is linear: scores of any sign
task = link_task(scorer, shape)
fresh = jax.jit(task.init)(jax.random.key(0))
(variables,) = train(task, links, steps=10 if SMALL else 100)
(test_pairs,) = links.ordered_batches("test")
labels = test_pairs["labels"][0]
results = {
    "GCN, untrained": np.asarray(jax.jit(task.predict)(fresh, test_pairs))[0],
    "GCN, trained": np.asarray(jax.jit(task.predict)(variables, test_pairs))[0],
    "features alone": (g.nodes[test_pairs["pairs"][0, :, 0]] * g.nodes[test_pairs["pairs"][0, :, 1]]).sum(-1),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for (name, values), style in zip(results.items(), (":", "-", "--"), strict=True):
    counts = metrics.ranking_counts(jnp.asarray(values), jnp.asarray(labels))
    auc = float(metrics.roc_auc(counts))
    print(f"{name:15} AUC {auc:.3f}, average precision {float(metrics.average_precision(counts)):.3f}")
    order = np.argsort(-values)
    hits, alarms = np.cumsum(labels[order]) / labels.sum(), np.cumsum(1 - labels[order]) / (1 - labels).sum()
    left.plot(alarms, hits, style, label=f"{name}: {auc:.2f}")
left.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
left.set(title="ROC curves", xlabel="other pairs above", ylabel="edges above")
left.legend(fontsize=8)
bins = np.linspace(*np.percentile(results["GCN, trained"], (1, 99)), 40)
right.hist(results["GCN, trained"][labels == 1], bins, alpha=0.7, label="hidden edges")
right.hist(results["GCN, trained"][labels == 0], bins, alpha=0.7, label="other pairs")
right.set(title="scores of the trained GCN", xlabel="logit", ylabel="pairs")
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## To go on
#
# * `train/graph.py` trains on Planetoid files, CSV files of nodes and edges, TU Dortmund folders, and
#   graphs that do not fit (by sampled neighbourhoods, 邻域采样); `train/node_embedding.py` has DeepWalk,
#   node2vec, LINE and struc2vec.
# * `layers` also has ChebConv, GINConv, EdgeConv, GMMConv, NN4G, DiffusionConv, GATv2Conv and TopKPooling.
