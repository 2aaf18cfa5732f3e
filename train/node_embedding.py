"""Learns vectors of a graph's nodes by DeepWalk, node2vec, LINE or struc2vec, and shows what they know.

Train on Zachary's karate club, without any download; or on a barbell, whose twins get equal vectors:

    python train/node_embedding.py
    python train/node_embedding.py --model.method struc2vec --data.source barbell

Cora, Citeseer or Pubmed, with node2vec's bias; a graph of your own, with or without labels:

    python train/node_embedding.py --data.source planetoid --data.root cora.npz \\
        --model.method node2vec --model.p 1 --model.q 0.5
    python train/node_embedding.py --data.source edges --data.root edges.csv --data.labels labels.csv

Predict links: hold edges out, and tell them from other pairs by the vectors:

    python train/node_embedding.py --data.source planetoid --data.root cora.npz --data.held-out 0.5

Ask for the nodes nearest to some:

    python train/node_embedding.py neighbours --vectors runs/karate-deepwalk-1/vectors.bin 0 33
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import optax
import tyro

from jaxvision import training, weights
from jaxvision.data import Vocabulary, prefetch_to_device
from jaxvision.graph import line_edges, line_embedding, walk_graph_of
from jaxvision.sequence import WordSpace
from jaxvision.tasks.node_embedding import (
    StartBatches,
    compile_line_step,
    compile_walk_step,
    line_task,
    walk_data,
    walk_task,
)
from jaxvision.tasks.node_embedding_options import (
    EmbeddingGraph,
    NodeEmbeddingData,
    NodeEmbeddingModel,
    NodeEmbeddingReport,
    NodeEmbeddingTraining,
)
from jaxvision.tasks.node_embedding_report import quick_scores, write_node_report
from jaxvision.tasks.report_files import print_table
from jaxvision.tasks.scripts import explain_end, write_run_weights

PROGRAM = "train/node_embedding.py"


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run."""

    data: NodeEmbeddingData = dataclasses.field(default_factory=NodeEmbeddingData)
    model: NodeEmbeddingModel = dataclasses.field(default_factory=NodeEmbeddingModel)
    train: NodeEmbeddingTraining = dataclasses.field(default_factory=NodeEmbeddingTraining)
    report: NodeEmbeddingReport = dataclasses.field(default_factory=NodeEmbeddingReport)
    run: training.RunOptions = dataclasses.field(
        default_factory=lambda: training.RunOptions(steps=0, log_every=5, eval_every=50, checkpoint_every=50)
    )
    """A step is a batch of walks, or some batches of edges; 0 steps, the default, are as many as
    --train.walks-per-node or --train.edge-epochs take."""


@dataclasses.dataclass(frozen=True)
class NeighboursConfig:
    """Lists the nodes nearest to some, by the cosine of their vectors."""

    nodes: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Names of nodes."""
    vectors: Path
    """vectors.txt or vectors.bin of a run, or any file of word2vec's formats."""
    top: int = 10
    """Nodes to list."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that is made from a configuration before anything is trained."""

    config: Config
    placement: training.Placement
    data: EmbeddingGraph
    task: training.Task
    step: training.CompiledStep
    schedule: optax.Schedule
    walks: int

    @property
    def has_roles(self) -> bool:
        """Whether the classes of the nodes are roles in the structure."""
        return self.config.data.source == "barbell"


def prepare(config: Config) -> Setup:
    """Opens the graph and makes the model; whatever does not fit is said here."""
    placement = training.open_placement(config.run)
    data, options, model = config.data.open(), config.train, config.model
    graph = walk_graph_of(data.graph)
    num_nodes, num_edges = graph.num_nodes, int(graph.offsets[-1])
    batch_size = options.batch(num_nodes)
    placement.check_batch_size(batch_size)
    steps = config.run.steps or options.steps(model.method, num_nodes=num_nodes, num_edges=num_edges)
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, steps=steps))
    schedule = options.schedule(steps=steps)
    if model.method == "line":
        edges, line = line_edges(graph), model.line(num_nodes, batch_size=batch_size)
        step = compile_line_step(line, edges, placement, schedule, batches=options.batches_per_step)
        return Setup(config, placement, data, line_task(line, edges), step, schedule, 1)
    words = model.word2vec(num_nodes, batch_size=batch_size)
    walk = model.walk()
    found = walk_data(words, walk, model.walk_on(graph), seed=config.run.seed)
    step = compile_walk_step(words, walk, found, placement, schedule)
    walks = options.walks(num_nodes)
    return Setup(config, placement, data, walk_task(words, walk, found), step, schedule, walks)


def node_vectors(config: Config, tables: Any) -> np.ndarray:
    """The vectors of the nodes, ``[V, D]``."""
    return line_embedding(tables) if config.model.method == "line" else np.asarray(tables["input"])


def train(config: Config, resumed: Path | None) -> int:
    """Trains and reports; returns the exit code."""
    setup = prepare(config)
    config, data, placement = setup.config, setup.data, setup.placement
    is_line = config.model.method == "line"
    folder = training.open_folder(config, f"{config.data.source}-{config.model.method}", resumed)
    print(
        f"{folder}: {config.model.method} on {len(data.names):,} nodes and {len(data.graph.senders):,} "
        f"directed edges, {placement.num_devices} device(s)"
    )
    batches = StartBatches(len(data.names), setup.walks, seed=config.run.seed, copies=placement.num_devices)
    options = config.train
    progress = training.train(
        setup.task,
        optax.identity(),
        prefetch_to_device(batches, placement.shard),
        placement,
        config.run,
        folder,
        resumed=resumed is not None,
        batch_size=options.batches_per_step * options.batch(len(data.names)) if is_line else setup.walks,
        metric="score",
        evaluate=evaluation(setup),
        learning_rate=setup.schedule,
        step=setup.step,
        unit="edges" if is_line else "walks",
    )
    if code := explain_end(progress, folder, program=PROGRAM):
        return code
    report(setup, placement.fetch(progress.state.params), folder)
    return 0


def evaluation(setup: Setup) -> Any:
    """``state -> scores`` by classes and held-out edges; None where the data has neither."""
    if not setup.data.has_classes and setup.data.links is None:
        return None

    def evaluate(state: training.TrainState) -> dict[str, float]:
        vectors = node_vectors(setup.config, setup.placement.fetch(state.params))
        return quick_scores(vectors, setup.data, roles=setup.has_roles)

    return evaluate


def report(setup: Setup, tables: Any, folder: Path) -> None:
    """Writes vectors, scores, tables and pictures into the run's folder."""
    config, data = setup.config, setup.data
    write_run_weights(folder, config, {"params": tables}, data.class_names)
    scores = {"nodes": len(data.names), "edges": len(data.graph.senders)}
    vectors = node_vectors(config, jax.device_get(tables))
    write_node_report(folder, vectors, data, config.report, roles=setup.has_roles, scores=scores)
    print(f"vectors, tables and pictures are in {folder}")


def neighbours(config: NeighboursConfig) -> int:
    """Answers from a file of vectors."""
    read = weights.read_word_vectors(config.vectors)
    space = WordSpace(Vocabulary(read.words), read.vectors)
    for node in config.nodes:
        found = space.nearest(node, k=min(config.top, len(read.words) - 1))
        rows = [{"node": other, "cosine": cosine} for other, cosine in found]
        print_table(node, rows, {}, headings={"node": "node", "cosine": "cosine"})
    return 0


def main(arguments: Sequence[str]) -> int:
    """Trains, or lists neighbours if the first word says so."""
    if arguments[:1] == ["neighbours"]:
        return neighbours(tyro.cli(NeighboursConfig, args=arguments[1:], prog=f"{PROGRAM} neighbours"))
    config, resumed = training.parse_command(Config, arguments, description=__doc__ or "", program=PROGRAM)
    return train(config, resumed)


if __name__ == "__main__":
    # A module that is not found is an extra that is not installed; the message has the command.
    errors = (ValueError, OSError, FloatingPointError, ModuleNotFoundError, training.CheckpointError)
    training.run_script(main, errors)
