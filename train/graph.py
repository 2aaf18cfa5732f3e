"""Trains a graph network: classes of nodes, classes of graphs, or which nodes are linked; or predicts them.

Train a GCN on Zachary's karate club, a GIN on generated graphs, an encoder of links on a block model:

    python train/graph.py
    python train/graph.py --task graph
    python train/graph.py --task link

Train on Cora, Citeseer or Pubmed with the settings of the network's paper; from many seeds, mean and spread:

    python train/graph.py --data.source planetoid --data.root cora.npz
    python train/graph.py --data.source planetoid --data.root cora.npz --model.name gat --seeds 100

Train on own nodes and edges; on a graph that does not fit, by neighbourhoods; on a folder of TU Dortmund:

    python train/graph.py --data.source csv --data.root nodes.csv --data.edges edges.csv
    python train/graph.py --model.name sage --data.source csv --data.root nodes.csv --data.fan-out 10 10 \\
        --data.batch-size 512
    python train/graph.py --task graph --data.source tu --data.root MUTAG

Predict with a trained network, of the graph it was trained on or of others; links of the pairs in a file:

    python train/graph.py predict --weights runs/csv-gcn-1/weights.safetensors --root new/nodes.csv
    python train/graph.py predict --weights runs/blocks-gcn-1/weights.safetensors --pairs pairs.csv

The whole graph is shared out over the devices by its edges; graphs and neighbourhoods are shared out by
--run.parallel jit or pmap.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import tyro

from jaxvision import optimizers, training, weights
from jaxvision.data import GraphSetBatches, LinkBatches, NodeGraph, SampledNodes
from jaxvision.tasks.graph_networks import GraphModelOptions
from jaxvision.tasks.graph_options import GraphData, GraphLossOptions, Source
from jaxvision.tasks.graph_placement import EdgeShardedPlacement
from jaxvision.tasks.graph_predict import (
    TrainedRun,
    predict_graphs,
    predict_links,
    predict_nodes,
    run_metadata,
)
from jaxvision.tasks.graph_recipes import DEFAULT_NETWORKS, find_recipe
from jaxvision.tasks.graph_report import (
    write_class_predictions,
    write_class_report,
    write_link_predictions,
    write_node_report,
)
from jaxvision.tasks.graph_seeds import (
    check_seed_parts,
    finish_seeds,
    make_seed_run,
    node_measure,
    read_seeds,
    run_seeds,
    write_seed_scores,
)
from jaxvision.tasks.graph_setup import (
    make_graph_task,
    make_link_task,
    make_node_task,
    node_loader,
    open_graphs,
    open_nodes,
    shape_of,
)
from jaxvision.tasks.report_files import write_curves, write_scores
from jaxvision.tasks.scripts import Trainer, explain_end, read_run_metadata, write_run_weights

PROGRAM = "train/graph.py"

TaskName = Literal["node", "graph", "link"]
SOURCES: dict[str, Source] = {"node": "karate", "graph": "motifs", "link": "blocks"}


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run; what is not given is as in the paper of the network."""

    task: TaskName = "node"
    """node: classes of nodes. graph: classes of graphs. link: which pairs of nodes have an edge."""
    data: GraphData = dataclasses.field(default_factory=GraphData)
    model: GraphModelOptions = dataclasses.field(default_factory=GraphModelOptions)
    loss: GraphLossOptions = dataclasses.field(default_factory=GraphLossOptions)
    optimizer: optimizers.OptimizerOptions = dataclasses.field(default_factory=optimizers.OptimizerOptions)
    run: training.RunOptions = dataclasses.field(default_factory=training.RunOptions)
    seeds: int = 1
    """Train from that many seeds, from --run.seed on, each in one compiled program; mean and spread of the
    accuracy on the test nodes are written. For --task node on a whole graph. --run.patience counts
    evaluations, which are --run.eval-every epochs apart, as in a single run; but a run ends only once neither
    accuracy nor loss has been as good as ever, and its best network is scored, as in the paper of gat."""
    seeds_at_once: int = 1
    """Runs that share the device; 1 is best on a CPU, 10 or more on an accelerator."""


def default_config(arguments: Sequence[str]) -> Config:
    """The settings of the paper of the network that the command line names.

    Raises:
      ValueError: if there is no such task or network.
    """

    def named(option: str, default: str) -> str:
        _, found = training.take_option(list(arguments), option)
        return default if found is None else str(found)

    task = named("--task", "node")
    network = named("--model.name", DEFAULT_NETWORKS.get(task, ""))
    recipe = find_recipe(task, network)
    source = named("--data.source", SOURCES[task])
    shares = {"node": (0.2, 0.2), "graph": (0.1, 0.1), "link": (0.05, 0.1)}[task]
    every = max(recipe.steps // 20, 1)
    eval_every, patience = every, None
    if recipe.patience is not None:  # of epochs; with many seeds each is evaluated, as in the paper
        eval_every = 10 if named("--seeds", "1") == "1" else 1
        patience = recipe.patience // eval_every - 1  # that many are borne, the next one ends the run
    return Config(
        task=task,  # type: ignore[arg-type]  # find_recipe knows the tasks
        data=GraphData(
            source=SOURCES[task],
            normalize=source == "planetoid",
            val_share=shares[0],
            test_share=shares[1],
        ),
        model=GraphModelOptions(name=network, **recipe.fields),
        loss=GraphLossOptions(recipe.l2, recipe.l2_layers),
        optimizer=optimizers.OptimizerOptions(
            name=recipe.optimizer, learning_rate=recipe.learning_rate, schedule="constant"
        ),
        run=training.RunOptions(
            steps=recipe.steps,
            log_every=every,
            eval_every=eval_every,
            checkpoint_every=5 * every,
            patience=patience,
        ),
    )


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Predicts with a trained network: writes predictions.csv with a line a node, graph or pair."""

    weights: Path
    """weights.safetensors of a run."""
    root: Path | None = None
    """Other nodes (the CSV file) or graphs (the folder), which need no labels; by default the run's."""
    edges: Path | None = None
    """CSV file of edges; by default edges.csv beside that of the nodes."""
    pairs: Path | None = None
    """For links: CSV file of the pairs to be scored, with columns source and target; by default all pairs
    without an edge are looked at, and those that are most probable written."""
    top: int = 100
    """For links: how many of these."""
    out: Path = Path("predictions")
    """Folder for the results."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that is made from a configuration before anything is trained.

    Attributes:
      config: as given.
      placement: the devices.
      task: what is trained.
      loader: makes the batches of a source.
      train: source to train on.
      val: to validate on.
      metric: the score that counts.
      class_names: names by index; empty for links.
      metadata: of the weights' file, what reading other graphs needs.
      report: writes scores, tables and pictures, of the trainer, the state and the folder.
    """

    config: Config
    placement: training.Placement
    task: training.Task
    loader: Any
    train: Any
    val: Any
    metric: str
    class_names: tuple[str, ...]
    metadata: dict[str, Any]
    report: Callable[[Trainer, training.TrainState, Path], None]


def prepare(config: Config) -> Setup:
    """Opens the data and builds the network; whatever does not fit is said here."""
    if config.data.fan_out and config.task != "node":
        raise ValueError(f"--data.fan-out is for --task node, got --task {config.task}; leave it out")
    if config.task == "graph":
        return prepare_graphs(config, training.open_placement(config.run))
    data = open_nodes(config, needs_labels=config.task == "node")
    if config.task == "node" and config.data.fan_out:
        return prepare_nodes(config, training.open_placement(config.run), data)
    if config.run.parallel != "jit":
        raise ValueError(
            f"--run.parallel {config.run.parallel} does not share out one whole graph: take jit, which "
            "shares out its edges, or train on neighbourhoods with --task node --data.fan-out 10 10"
        )
    jitted = training.open_placement(config.run)
    assert isinstance(jitted, training.JitPlacement)
    placement = EdgeShardedPlacement(jitted.mesh)
    return (prepare_links if config.task == "link" else prepare_nodes)(config, placement, data)


def prepare_nodes(config: Config, placement: training.Placement, data: NodeGraph) -> Setup:
    """Classes of the nodes of one whole graph, or by their neighbourhoods."""
    loader = node_loader(config, data, shards=placement.num_devices, plan=_wants_plan(placement))
    if isinstance(loader, SampledNodes):
        print(f"a step on each device is padded to {loader.bucket}")
    task = make_node_task(config, loader, data.num_classes)
    metadata = run_metadata(shape_of(data.graph), feature_names=data.feature_names, encoding={})

    def report(trainer: Trainer, state: training.TrainState, folder: Path) -> None:
        write_node_report(folder, data, trainer.predict(state, "all"))

    val = "val" if data.val.any() else None
    names = data.class_names
    return Setup(config, placement, task, loader, "train", val, "accuracy", names, metadata, report)


def prepare_graphs(config: Config, placement: training.Placement) -> Setup:
    """Classes of graphs."""
    parts = config.data.open_graph_set()
    everything = open_graphs(config, parts.everything)
    train, val, test = (everything.take(chosen) for chosen in (parts.train, parts.val, parts.test))
    names = everything.class_names
    loader = GraphSetBatches(
        everything,
        batch_size=config.data.batch_size,
        shards=placement.num_devices,
        bucket=config.data.bucket,
    )
    print(f"a step on each device is padded to {loader.bucket}")
    task = make_graph_task(config, everything, len(names))
    shape = shape_of(everything.graphs[0])
    metadata = run_metadata(shape, feature_names=(), encoding=everything.encoding)

    def report(trainer: Trainer, state: training.TrainState, folder: Path) -> None:
        logits = trainer.predict(state, test)
        write_class_report(folder, logits, test.labels, names, noun="test graphs")
        rows = [str(index) for index in range(len(test))]
        write_class_predictions(folder / "predictions.csv", rows, logits, test.labels, names, columns={})

    return Setup(config, placement, task, loader, train, val, "accuracy", names, metadata, report)


def prepare_links(config: Config, placement: training.Placement, data: NodeGraph) -> Setup:
    """Which pairs of nodes have an edge."""
    loader = LinkBatches(
        config.data.split_links(data), edge_multiple=placement.num_devices, plan=_wants_plan(placement)
    )
    task = make_link_task(config, loader.split.graph)
    metadata = run_metadata(shape_of(data.graph), feature_names=data.feature_names, encoding={})

    def report(trainer: Trainer, state: training.TrainState, folder: Path) -> None:
        scores, _ = trainer.evaluate(state, "test")
        write_scores(folder / "scores.json", scores)
        (batch,) = loader.ordered_batches("test")
        logits, names = trainer.predict(state, "test"), data.node_names
        pairs, labels = batch["pairs"][0], batch["labels"][0]
        write_link_predictions(folder / "predictions.csv", pairs, logits, labels, names)
        print("  ".join(f"{name} {value:.4f}" for name, value in scores.items()))

    return Setup(config, placement, task, loader, "train", "val", "auc", (), metadata, report)


def _wants_plan(placement: training.Placement) -> bool:
    """Whether sums over neighbours are made of gathers: what one CPU is fast at."""
    return placement.num_devices == 1 and jax.default_backend() == "cpu"


def train(config: Config, resumed: Path | None) -> int:
    """Trains, evaluates and reports; returns the exit code."""
    setup = prepare(config)
    trainer = Trainer(
        setup.task,
        setup.placement,
        data=setup.loader,
        optimizer=config.optimizer,
        run=config.run,
        metric=setup.metric,
        inputs=lambda batch: batch,
    )
    batches = setup.loader.batches(setup.train, seed=config.run.seed)
    folder = training.open_folder(config, f"{config.data.source}-{config.model.name}", resumed)
    print(f"{folder}: {config.model.name}, {setup.placement.num_devices} device(s)")
    progress = trainer.fit(batches, folder, resumed=resumed is not None, validation=setup.val)
    if code := explain_end(progress, folder, program=PROGRAM):
        return code
    variables = trainer.host_variables(progress.state)
    write_run_weights(folder, config, variables, setup.class_names, **setup.metadata)
    records = training.read_json_lines(folder / "metrics.jsonl")
    write_curves(folder / "curves.png", records, title=setup.metric, metric=setup.metric)
    setup.report(trainer, progress.state, folder)
    print(f"weights, scores, tables and pictures are in {folder}")
    return 0


def train_seeds(config: Config, resumed: Path | None) -> int:
    """Trains from many seeds, and writes mean and spread of the accuracy; returns the exit code."""
    if config.task != "node" or config.data.fan_out:
        raise ValueError("--seeds is for --task node on a whole graph; leave out --data.fan-out")
    if config.seeds_at_once < 1:
        raise ValueError(f"--seeds-at-once: got {config.seeds_at_once}, expected 1 or more")
    setup = prepare(dataclasses.replace(config, run=dataclasses.replace(config.run, devices=1)))
    params = jax.eval_shape(setup.task.init, jax.random.key(0))["params"]
    optimizer, _ = config.optimizer.build(params, steps=config.run.steps)
    parts = {part: setup.placement.shard(setup.loader.batch(part)) for part in ("train", "val", "test")}
    check_seed_parts(parts, patience=config.run.patience)
    run = make_seed_run(
        setup.task,
        optimizer,
        epochs=config.run.steps,
        patience=config.run.patience,
        eval_every=config.run.eval_every,
        measure=node_measure,
    )
    folder = training.open_folder(config, f"{config.data.source}-{config.model.name}-seeds", resumed)
    path = folder / "seeds.jsonl"
    done = {found.seed for found in read_seeds(path)}
    first = config.run.seed
    seeds = [seed for seed in range(first, first + config.seeds) if seed not in done]
    results = run_seeds(
        run, setup.task, optimizer, parts, seeds, at_once=config.seeds_at_once, score="accuracy"
    )
    found = finish_seeds(results, path, total=config.seeds)
    title = f"{config.model.name} on {config.data.root or config.data.source}"
    write_seed_scores(folder, found, title=title)
    return 0


def predict(config: PredictConfig) -> int:
    """Predicts of the run's own data, or of other files of its kind."""
    trained, metadata = read_run_metadata(config.weights, Config)
    if config.root is not None:
        if trained.data.source not in ("csv", "planetoid", "tu"):
            raise ValueError(f"--root: the network was trained on {trained.data.source}, which is no file")
        data = dataclasses.replace(trained.data, root=config.root, edges=config.edges)
        trained = dataclasses.replace(trained, data=data)
    if config.pairs is not None and trained.task != "link":
        raise ValueError(f"--pairs: the network was trained on --task {trained.task}, which scores no pairs")
    run = TrainedRun(config.weights, trained, metadata, weights.read_variables(config.weights))
    path = config.out / "predictions.csv"
    if trained.task == "graph":
        count = predict_graphs(run, path)
    elif trained.task == "node":
        count = predict_nodes(run, path)
    else:
        count = predict_links(run, path, pairs=config.pairs, top=config.top)
    print(f"{count} predictions -> {path}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Trains once or from many seeds, or predicts if the first word says so."""
    if arguments[:1] == ["predict"]:
        return predict(tyro.cli(PredictConfig, args=arguments[1:], prog=f"{PROGRAM} predict"))
    config, resumed = training.parse_command(
        Config, arguments, description=__doc__ or "", program=PROGRAM, default=default_config(arguments)
    )
    return train_seeds(config, resumed) if config.seeds > 1 else train(config, resumed)


if __name__ == "__main__":
    # A module that is not found is an extra that is not installed; the message has the command.
    errors = (ValueError, OSError, FloatingPointError, ModuleNotFoundError, training.CheckpointError)
    training.run_script(main, errors)
