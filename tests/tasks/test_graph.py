"""Tasks of graphs with a network small enough to be written out in numpy, and runs from many seeds."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from jaxvision.data import (
    FullGraphNodes,
    GraphSetBatches,
    LinkBatches,
    SampledNodes,
    block_model,
    karate_club,
    motif_graphs,
    split_edges,
)
from jaxvision.tasks.graph import GraphShape, Penalty, graph_task, link_task, node_task, penalty_term
from jaxvision.tasks.graph_placement import EdgeShardedPlacement
from jaxvision.tasks.graph_seeds import (
    Best,
    finish_seeds,
    keep_best,
    make_seed_run,
    read_seeds,
    run_seeds,
    seed_statistics,
)
from jaxvision.training import create_train_state, make_placement, make_train_step


class Neighbours(nn.Module):
    """Own features and the sum of the neighbours', times a matrix: of nodes, graphs or pairs."""

    features: int
    of: str = "nodes"

    @nn.compact
    def __call__(self, graph, pairs=None, *, train, **prepared):
        nodes = jnp.where(graph.where_nodes[:, None], graph.nodes, 0)
        sent = jnp.where(graph.where_edges[:, None], nodes[graph.senders], 0)
        nodes = nodes + jnp.zeros_like(nodes).at[graph.receivers].add(sent)
        if self.of == "graphs":
            shape = (graph.where_graphs.shape[0], nodes.shape[1])
            masked = jnp.where(graph.where_nodes[:, None], nodes, 0)
            nodes = jnp.zeros(shape).at[graph.graph_ids].add(masked)
        out = nn.Dense(self.features, name="conv1")(nodes)
        if self.of == "pairs":
            return (out[pairs[:, 0]] * out[pairs[:, 1]]).sum(axis=-1)
        return out


CLUB = karate_club()
SHAPE = GraphShape(34)


def club_logits(params):
    matrix = np.eye(34)
    np.add.at(matrix, (CLUB.graph.receivers, CLUB.graph.senders), 1)
    return matrix @ np.asarray(params["conv1"]["kernel"], np.float64) + np.asarray(params["conv1"]["bias"])


@pytest.fixture(scope="module")
def club():
    task = node_task(Neighbours(2), SHAPE)
    variables = jax.jit(task.init)(jax.random.key(0))
    return task, variables, FullGraphNodes(CLUB, edge_multiple=5)


def test_the_loss_and_the_scores_are_those_of_a_part(club):
    task, variables, loader = club
    logits = club_logits(variables["params"])
    loss, count = jax.jit(task.loss), jax.jit(task.counts)
    for part in ("train", "val", "test"):
        mask = getattr(CLUB, part)
        terms, _ = loss(variables["params"], {}, loader.batch(part), jax.random.key(1))
        wanted = -log_softmax(logits[mask], axis=1)[np.arange(mask.sum()), CLUB.labels[mask]].mean()
        assert float(terms["cross_entropy"].mean()) == pytest.approx(wanted, rel=1e-5)
        scores = task.score(jax.device_get(count(variables, loader.batch(part))))
        assert scores["loss"] == pytest.approx(wanted, rel=1e-5)
        assert scores["accuracy"] == (logits.argmax(axis=1) == CLUB.labels)[mask].mean()
    found = jax.jit(task.predict)(variables, loader.batch("all"))
    np.testing.assert_allclose(found[0], logits, rtol=1e-4, atol=1e-5)


def test_nodes_outside_the_mask_have_no_say(club):
    task, variables, loader = club
    batch = dict(loader.batch("train"))
    first = task.loss(variables["params"], {}, batch, jax.random.key(0))[0]["cross_entropy"]
    batch["labels"] = np.where(batch["where"], batch["labels"], -1)
    second = task.loss(variables["params"], {}, batch, jax.random.key(0))[0]["cross_entropy"]
    assert float(first.total) == float(second.total)


def test_parts_side_by_side_give_what_they_give_alone():
    motifs = motif_graphs(8, rng=np.random.default_rng(0))
    task = graph_task(Neighbours(4, of="graphs"), GraphShape(motifs.num_features))
    variables = jax.jit(task.init)(jax.random.key(0))
    found = []
    for shards in (1, 4):
        loader = GraphSetBatches(motifs, batch_size=8, shards=shards)
        (batch,) = loader.ordered_batches(motifs)
        logits = np.asarray(jax.jit(task.predict)(variables, batch))
        assert logits.shape == (shards, 8 // shards, 4)
        found.append(logits[batch["where"]])
        counts = jax.jit(task.counts)(variables, batch)
        assert int(counts["confusion"].sum()) == 8
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5)
    kernel, bias = (np.asarray(variables["params"]["conv1"][name]) for name in ("kernel", "bias"))
    for graph, logits in zip(motifs.graphs, found[0], strict=True):
        summed = graph.nodes.sum(axis=0) + graph.nodes[graph.senders].sum(axis=0)
        np.testing.assert_allclose(logits, summed @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_a_sampled_step_is_that_of_the_whole_graph_if_nothing_is_left_out():
    data = block_model((20, 20), train_per_block=4, rng=np.random.default_rng(0))
    task = node_task(Neighbours(2), GraphShape(16))
    variables = jax.jit(task.init)(jax.random.key(0))
    loss = jax.jit(task.loss)
    whole = loss(variables["params"], {}, FullGraphNodes(data).batch("train"), jax.random.key(0))[0]
    sampled = SampledNodes(data, (40,), batch_size=8, shards=2).batches("train", seed=0)
    part = loss(variables["params"], {}, next(sampled), jax.random.key(0))[0]
    for one, other in zip(whole["cross_entropy"], part["cross_entropy"], strict=True):
        assert float(one) == pytest.approx(float(other), rel=1e-5)


def test_links_are_scored_as_scikit_learn_does():
    split = split_edges(CLUB.graph, val_share=0.2, test_share=0.2, rng=np.random.default_rng(0))
    task = link_task(Neighbours(5, of="pairs"), SHAPE)
    variables = jax.jit(task.init)(jax.random.key(0))
    (batch,) = LinkBatches(split).ordered_batches("test")
    scores = task.score(jax.device_get(task.counts(variables, batch)))
    logits = np.asarray(task.predict(variables, batch))
    assert logits.shape == batch["labels"].shape == (1, 32)
    assert scores["auc"] == pytest.approx(roc_auc_score(batch["labels"][0], logits[0]), abs=1e-6)
    wanted = np.logaddexp(0, np.where(batch["labels"] == 1, -logits, logits)).mean()
    assert scores["loss"] == pytest.approx(wanted, rel=1e-5)
    terms, _ = task.loss(variables["params"], {}, batch, jax.random.key(0))
    assert float(terms["cross_entropy"].mean()) == pytest.approx(wanted, rel=1e-5)


def test_a_penalty_is_half_the_square_of_the_matrices_named():
    params = {
        "conv1": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.ones(3)},
        "conv2": {"kernel": jnp.ones((3, 1))},
    }
    assert float(penalty_term(params, Penalty(0.5, ("conv1",))).mean()) == 4.0
    assert float(penalty_term(params, Penalty(0.5)).mean()) == 0.25 * 19
    with pytest.raises(ValueError, match="pattern 'conv9' matches no parameter"):
        penalty_term(params, Penalty(0.5, ("conv9",)))
    task = node_task(Neighbours(2), SHAPE, penalty=Penalty(0.5))
    variables = jax.jit(task.init)(jax.random.key(0))
    terms, _ = task.loss(variables["params"], {}, FullGraphNodes(CLUB).batch("train"), jax.random.key(0))
    wanted = 0.25 * float(jnp.square(variables["params"]["conv1"]["kernel"]).sum())
    assert float(terms["penalty"].mean()) == pytest.approx(wanted, rel=1e-5)


def test_a_placed_graph_is_not_copied_again():
    mesh = make_placement("jit", devices=jax.devices()[:1]).mesh
    placement = EdgeShardedPlacement(mesh)
    loader = FullGraphNodes(CLUB)
    first, second = placement.shard(loader.batch("train")), placement.shard(loader.batch("val"))
    assert first["nodes"] is second["nodes"] and first["where"] is not second["where"]
    np.testing.assert_array_equal(placement.unshard(second)["where"], loader.batch("val")["where"])


PARTS = {part: FullGraphNodes(CLUB).batch(part) for part in ("train", "val", "test")}


def measure(counts):
    accuracy = jnp.trace(counts["confusion"]) / counts["confusion"].sum()
    return counts["calibration"].nll / counts["confusion"].sum(), accuracy


def test_a_run_in_one_program_is_the_run_step_by_step(club):
    task, _, _ = club
    optimizer = optax.adam(0.1)
    run = make_seed_run(task, optimizer, epochs=5, patience=None, measure=measure)
    (found,) = run_seeds(run, task, optimizer, PARTS, [3], at_once=1, score="accuracy")
    state, step = create_train_state(task, optimizer, seed=3), jax.jit(make_train_step(task, optimizer))
    for _ in range(5):
        state, _ = step(state, PARTS["train"])
    scores = {
        part: task.score(jax.device_get(task.counts(state.variables(), PARTS[part])))
        for part in ("val", "test")
    }
    assert (found.seed, found.epochs, found.best_epoch) == (3, 5, 5)
    assert found.test == scores["test"]["accuracy"] and found.val == scores["val"]["accuracy"]
    assert found.val_loss == pytest.approx(scores["val"]["loss"], rel=1e-4)


@pytest.mark.slow
def test_patience_ends_a_run_and_keeps_the_network_that_was_best_at_both():
    rng = np.random.default_rng(0)
    data = block_model((20, 20), train_per_block=4, rng=rng)
    data = dataclasses.replace(data, labels=rng.integers(0, 2, 40))  # there is nothing to learn
    loader = FullGraphNodes(data)
    parts = {part: loader.batch(part) for part in ("train", "val", "test")}
    task, optimizer = node_task(Neighbours(2), GraphShape(16)), optax.adam(0.3)  # soon learned by heart
    run = make_seed_run(task, optimizer, epochs=61, patience=1, eval_every=2, measure=measure)
    results = list(run_seeds(run, task, optimizer, parts, [0, 1, 2], at_once=1, score="accuracy"))
    step, count = jax.jit(make_train_step(task, optimizer)), jax.jit(task.counts)
    for found in results:
        state = create_train_state(task, optimizer, seed=found.seed)
        least, most, waited, epoch, kept = np.inf, -np.inf, 0, 0, None
        while epoch < 61 and waited <= 1:  # one evaluation that is no better is borne
            for _ in range(min(2, 61 - epoch)):
                state, _ = step(state, parts["train"])
                epoch += 1
            loss, score = map(float, measure(count(state.variables(), parts["val"])))
            if loss <= least and score >= most:
                kept = (epoch, task.score(jax.device_get(count(state.variables(), parts["test"]))))
            waited = 0 if loss <= least or score >= most else waited + 1
            least, most = min(least, loss), max(most, score)
        assert (found.epochs, found.best_epoch) == (epoch, kept[0])
        assert found.test == kept[1]["accuracy"]
    assert min(found.epochs for found in results) < 61
    together = list(run_seeds(run, task, optimizer, parts, [0, 1, 2], at_once=2, score="accuracy"))
    assert [found[:3] for found in together] == [found[:3] for found in results]


def test_the_wait_starts_anew_when_either_is_as_good_as_ever(club):
    task, variables, _ = club
    state = create_train_state(task, optax.sgd(0.1), seed=0)
    zero = jnp.int32(0)
    best = Best(variables, jnp.float32(1.0), jnp.float32(0.5), zero, jnp.int32(3))
    for loss, score, waited, replaced in ((0.9, 0.4, 0, False), (1.1, 0.5, 0, False), (1.0, 0.5, 0, True)):
        after = keep_best(best, state, jnp.float32(loss), jnp.float32(score))
        assert int(after.waited) == waited
        kept = after.variables["params"]["conv1"]["kernel"]
        source = state.params if replaced else variables["params"]
        np.testing.assert_array_equal(kept, source["conv1"]["kernel"])
    assert int(keep_best(best, state, jnp.float32(1.1), jnp.float32(0.4)).waited) == 4


def test_results_are_kept_as_they_come_and_not_run_again(club, tmp_path, capsys):
    task, _, _ = club
    optimizer = optax.adam(0.1)
    run = make_seed_run(task, optimizer, epochs=2, patience=None, measure=measure)

    def results(seeds):
        return run_seeds(run, task, optimizer, PARTS, seeds, at_once=1, score="accuracy")

    path = tmp_path / "seeds.jsonl"
    whole = finish_seeds(results([0, 1, 2]), path, total=3)
    shown = capsys.readouterr().out.splitlines()
    mean, spread = seed_statistics(whole)
    assert len(shown) == 3 and f"mean {mean:.4f} +- {spread:.4f}" in shown[-1]
    scores = [found.test for found in whole]
    assert (mean, spread) == (pytest.approx(np.mean(scores)), pytest.approx(np.std(scores, ddof=1)))
    assert read_seeds(path) == whole
    path.write_text(
        "".join(path.read_text().splitlines(keepends=True)[:2])[:-20]
    )  # killed in the second line
    assert read_seeds(path) == whole[:1]
    assert finish_seeds(results([1, 2]), path, total=3) == whole
    assert read_seeds(path) == whole
