import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.data import barbell_graph, karate_club
from jaxvision.graph import line_edges, random_walks, structural_walks, walk_graph, walk_graph_of
from jaxvision.sequence import Word2Vec
from jaxvision.sequence.word_corpus import NOWHERE
from jaxvision.tasks.node_embedding import (
    StartBatches,
    compile_line_step,
    compile_walk_step,
    line_task,
    walk_corpus,
    walk_data,
    walk_task,
)
from jaxvision.tasks.node_embedding_options import (
    NodeEmbeddingData,
    NodeEmbeddingModel,
    NodeEmbeddingTraining,
)
from jaxvision.tasks.node_embedding_scores import twin_scores
from jaxvision.training import create_train_state, make_placement


@pytest.fixture
def placement():
    return make_placement("jit", devices=jax.devices()[:1])


def _club(**options):
    graph = walk_graph_of(karate_club().graph)
    model = Word2Vec(34, **{"features": 8, "window": 3, "batch_size": 32, **options})
    walk = functools.partial(random_walks, length=10)
    return model, walk, walk_data(model, walk, graph, seed=0)


def test_every_node_starts_once_an_epoch():
    batches = StartBatches(7, 3, seed=0, copies=2)
    found = [next(batches)["starts"] for _ in range(7)]
    assert all(starts.shape == (2, 3) and starts.dtype == np.int32 for starts in found)
    assert all(np.array_equal(starts[0], starts[1]) for starts in found)
    flat = np.concatenate([starts[0] for starts in found])
    for epoch in range(3):
        assert sorted(flat[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert not np.array_equal(flat[:7], flat[7:14])
    large = next(StartBatches(3, 8, seed=0, copies=1))["starts"][0]
    assert sorted(large[:3]) == sorted(large[3:6]) == [0, 1, 2]


def test_a_position_is_gone_back_to():
    batches = StartBatches(7, 3, seed=0, copies=1)
    next(batches)
    position = batches.get_state()
    wanted = [next(batches)["starts"] for _ in range(4)]
    again = StartBatches(7, 3, seed=0, copies=1)
    again.set_state(position)
    assert all(np.array_equal(next(again)["starts"], starts) for starts in wanted)
    with pytest.raises(ValueError, match="num_nodes 7 there, 8 here"):
        StartBatches(8, 3, seed=0, copies=1).set_state(position)


def test_walks_become_sentences_and_masked_nodes_are_in_no_window():
    graph = walk_graph(np.array([0, 1, 2]), np.array([1, 0, 0]), num_nodes=4)
    walk = functools.partial(random_walks, length=4)
    data = walk_data(Word2Vec(4, features=2), walk, graph, seed=0)
    walks = walk(jax.random.key(0), graph, jnp.array([2, 3]))
    corpus = walk_corpus(walks, data)
    assert corpus.tokens.tolist() == [2, 0, 1, 0, 3, 3, 3, 3]
    assert corpus.sentences.tolist() == [0, 0, 0, 0, 1, NOWHERE, NOWHERE, NOWHERE]
    assert int(corpus.ends[0]) == 8 and data.tree is None
    assert data.noise.threshold.shape == (4,)


@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
def test_a_step_learns_and_is_the_same_again(placement, loss):
    model, walk, data = _club(loss=loss)
    task = walk_task(model, walk, data)

    def run():
        step = compile_walk_step(model, walk, data, placement, optax.constant_schedule(0.1))
        state = placement.place(create_train_state(task, optax.identity(), seed=0))
        losses = []
        for batch in (next(batches) for batches in [StartBatches(34, 34, seed=0, copies=1)] * 8):
            state, metrics = step(state, placement.shard(batch))
            losses.append(float(metrics["loss"]))
        return losses, placement.fetch(state.params), metrics

    losses, tables, metrics = run()
    assert losses[-1] < losses[0] and bool(metrics["finite"])
    # 34 walks of 10 nodes; a window shrinks by chance.
    assert 34 * 10 < float(metrics["pairs"]) < 34 * 10 * 6
    again = run()
    assert again[0] == losses and all(np.array_equal(again[1][name], tables[name]) for name in tables)


def test_the_task_has_a_loss_as_that_of_the_step(placement):
    model, walk, data = _club(batch_size=256)
    task = walk_task(model, walk, data)
    state = create_train_state(task, optax.identity(), seed=0)
    batch = next(StartBatches(34, 34, seed=0, copies=1))
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), 0)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def differentiate(params):
        terms, _ = task.loss(params, {}, batch, key)
        return terms["loss"].total, terms["loss"]

    gradients, term = differentiate(state.params)
    assert any(bool(jnp.any(gradient != 0)) for gradient in gradients.values())
    step = compile_walk_step(model, walk, data, placement, optax.constant_schedule(0.1))
    _, metrics = step(placement.place(state), placement.shard(batch))
    # Windows and noise are drawn anew.
    assert float(metrics["loss"]) == pytest.approx(float(term.mean()), rel=0.05)
    assert 1 < float(metrics["pairs"]) / float(term.weight) < 2, "340 nodes of walks, of which it saw 256"


def test_line_learns_in_its_step(placement):
    model = NodeEmbeddingModel(method="line", features=8).line(34, batch_size=32)
    edges = line_edges(walk_graph_of(karate_club().graph))
    task = line_task(model, edges)
    step = compile_line_step(model, edges, placement, optax.constant_schedule(0.1), batches=50)
    state = placement.place(create_train_state(task, optax.identity(), seed=0))
    batch = placement.shard(next(StartBatches(34, 1, seed=0, copies=1)))
    losses = []
    for _ in range(4):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] and float(metrics["pairs"]) == 50 * 32 * 2
    assert float(task.loss(state.params, {}, batch, jax.random.key(0))[0]["loss"].mean()) < losses[0]


@pytest.mark.slow
def test_twins_of_the_barbell_get_near_vectors(placement):
    """What the paper's figure 4 shows: nodes that a symmetry swaps are learned alike."""
    found = barbell_graph(6, 6)
    options = NodeEmbeddingModel(method="struc2vec", features=32, walk_length=40, window=5)
    context = options.walk_on(walk_graph_of(found.graph))
    model, walk = options.word2vec(18, batch_size=16), options.walk()
    data = walk_data(model, walk, context, seed=0)
    step = compile_walk_step(model, walk, data, placement, optax.linear_schedule(0.025, 0, 20))
    state = placement.place(create_train_state(walk_task(model, walk, data), optax.identity(), seed=0))
    batches = StartBatches(18, 36, seed=0, copies=1)
    before = twin_scores(np.asarray(placement.fetch(state.params)["input"]), found.labels)
    for _ in range(20):
        state, _ = step(state, placement.shard(next(batches)))
    scores = twin_scores(np.asarray(placement.fetch(state.params)["input"]), found.labels)
    assert scores["nearest_is_twin"] >= 0.9 > before["nearest_is_twin"]
    assert scores["twin_distance"] < 0.5 * scores["other_distance"]


def test_methods_become_walks():
    assert NodeEmbeddingModel().walk().keywords == {"length": 80}, "DeepWalk has no bias"
    biased = NodeEmbeddingModel(method="node2vec", p=4.0, walk_length=9).walk()
    assert biased.func is random_walks and biased.keywords == {"length": 9, "p": 4.0, "q": 1.0}
    assert NodeEmbeddingModel(method="struc2vec").walk().func is structural_walks
    assert NodeEmbeddingModel(walk_length=4).word2vec(9, batch_size=8).window == 3
    training = NodeEmbeddingTraining()
    assert training.steps("deepwalk", num_nodes=34, num_edges=156) == 10
    assert training.steps("line", num_nodes=34, num_edges=10_000) == 3907
    assert [training.batch(size) for size in (3, 34, 5000)] == [8, 32, 256]
    assert NodeEmbeddingTraining(batch_size=512).steps("line", num_nodes=34, num_edges=8192) == 200


def test_a_large_graph_is_compared_in_part():
    ring = np.arange(1100)
    graph = walk_graph(
        np.concatenate([ring, (ring + 1) % 1100]), np.concatenate([(ring + 1) % 1100, ring]), num_nodes=1100
    )
    context = NodeEmbeddingModel(method="struc2vec", layers=2).walk_on(graph)
    assert context.edges.num_nodes == 2 * 1100
    assert 2 * 1100 * 21 <= context.edges.neighbours.shape[0] <= 2 * 2 * 1100 * 21


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "planetoid"}, "--data.source planetoid needs --data.root FILE"),
        ({"source": "edges"}, "--data.source edges needs --data.root FILE"),
        ({"held_out": 1.0}, r"--data.held-out: got 1\.0"),
        ({"held_out": 0.99}, "can be spared before the graph falls apart"),
    ],
)
def test_a_graph_that_cannot_be_opened_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        NodeEmbeddingData(**options).open()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (NodeEmbeddingModel, {"p": 0.0}, "--model: p: got 0.0"),
        (NodeEmbeddingModel, {"q": -2.0}, "--model: q: got -2.0"),
        (
            NodeEmbeddingModel,
            {"p": 4.0},
            r"--model.p 4.0: .*deepwalk does not read it.* --model.method node2v",
        ),
        (
            NodeEmbeddingModel,
            {"method": "struc2vec", "q": 0.5},
            "--model.q 0.5: --model.method struc2vec does",
        ),
        (NodeEmbeddingModel, {"method": "node2vec", "order": "first"}, "give --model.method line"),
        (
            NodeEmbeddingModel,
            {"method": "line", "loss": "hierarchical"},
            "--model.loss hierarchical: --model",
        ),
        (NodeEmbeddingModel, {"walk_length": 0}, "--model: length: got 0"),
        (NodeEmbeddingModel, {"walk_length": 1}, "walk of one node has no context"),
        (NodeEmbeddingTraining, {"walks_per_node": 0}, "--train.walks-per-node: got 0"),
        (NodeEmbeddingTraining, {"learning_rate": 0.0}, r"--train.learning-rate: got 0\.0"),
        (NodeEmbeddingTraining, {"learning_rate": float("nan")}, "--train.learning-rate: got nan"),
    ],
)
def test_options_out_of_range_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_a_graph_without_an_edge_is_named(tmp_path):
    mask = np.arange(4) % 2 == 0
    np.savez(
        tmp_path / "bare.npz",
        feat_indptr=np.zeros(5, int),
        feat_indices=np.zeros(0, int),
        feat_shape=np.array([4, 2]),
        labels=np.arange(4) % 2,
        edge_index=np.zeros((2, 0), int),
        train_mask=mask,
        val_mask=np.zeros(4, bool),
        test_mask=~mask,
    )
    with pytest.raises(ValueError, match="4 nodes and no edge, expected one or more"):
        NodeEmbeddingData(source="planetoid", root=tmp_path / "bare.npz").open()


def test_what_is_known_of_a_graph():
    club = NodeEmbeddingData().open()
    assert club.has_classes and club.links is None and len(club.names) == 34
    assert club.masks is not None and not np.any(club.masks[0] & club.masks[1])
    blocks = NodeEmbeddingData(source="blocks", blocks=(20, 30), held_out=0.2).open()
    assert blocks.masks is None and blocks.links is not None and len(blocks.labels) == 50
    assert len(blocks.links.edges) == round(0.2 * (len(blocks.links.edges) + len(blocks.graph.senders) // 2))
