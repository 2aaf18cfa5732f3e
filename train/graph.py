"""Trains a graph network: classes of nodes, classes of graphs, or which nodes are linked.

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

The whole graph is shared out over the devices by its edges; graphs and neighbourhoods are shared out by
--run.parallel jit or pmap.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxvision import optimizers, training
from jaxvision.core import Graph, write_atomically
from jaxvision.data import (
    FullGraphNodes,
    GraphSetBatches,
    LinkBatches,
    NodeGraph,
    SampledNodes,
)
from jaxvision.tasks.graph import GraphShape, Penalty, graph_task, link_task, node_task
from jaxvision.tasks.graph_networks import (
    GraphModelOptions,
    graph_classifier,
    link_scorer,
    node_classifier,
)
from jaxvision.tasks.graph_options import GraphData, GraphParts, Source
from jaxvision.tasks.graph_placement import EdgeShardedPlacement
from jaxvision.tasks.graph_recipes import DEFAULT_NETWORKS, find_recipe
from jaxvision.tasks.graph_report import (
    write_class_predictions,
    write_class_report,
    write_link_predictions,
    write_node_map,
)
from jaxvision.tasks.graph_seeds import (
    finish_seeds,
    make_seed_run,
    read_seeds,
    run_seeds,
    seed_statistics,
)
from jaxvision.tasks.report_files import write_curves, write_scores
from jaxvision.tasks.scripts import Trainer, explain_end, write_run_weights

PROGRAM = "train/graph.py"

TaskName = Literal["node", "graph", "link"]
SOURCES: dict[str, Source] = {"node": "karate", "graph": "motifs", "link": "blocks"}


@dataclasses.dataclass(frozen=True)
class LossOptions:
    """What is minimised beside the cross entropy."""

    l2: float = 5e-4
    """Strength of the L2 penalty on matrices: half the sum of squares."""
    l2_layers: tuple[str, ...] = ("conv0",)
    """Path patterns of the parameters that it is on; none for all."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run; what is not given is as in the paper of the network."""

    task: TaskName = "node"
    """node: classes of nodes. graph: classes of graphs. link: which pairs of nodes have an edge."""
    data: GraphData = dataclasses.field(default_factory=GraphData)
    model: GraphModelOptions = dataclasses.field(default_factory=GraphModelOptions)
    loss: LossOptions = dataclasses.field(default_factory=LossOptions)
    optimizer: optimizers.OptimizerOptions = dataclasses.field(default_factory=optimizers.OptimizerOptions)
    run: training.RunOptions = dataclasses.field(default_factory=training.RunOptions)
    seeds: int = 1
    """Train from that many seeds, from --run.seed on, each in one compiled program; mean and spread of the
    accuracy on the test nodes are written. For --task node on a whole graph."""
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
    return Config(
        task=task,  # type: ignore[arg-type]  # find_recipe knows the tasks
        data=GraphData(
            source=SOURCES[task],
            normalize=source == "planetoid",
            val_share=shares[0],
            test_share=shares[1],
        ),
        model=GraphModelOptions(name=network, **recipe.fields),
        loss=LossOptions(recipe.l2, recipe.l2_layers),
        optimizer=optimizers.OptimizerOptions(
            name=recipe.optimizer, learning_rate=recipe.learning_rate, schedule="constant"
        ),
        run=training.RunOptions(
            steps=recipe.steps, log_every=every, eval_every=every, checkpoint_every=5 * every
        ),
    )


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
    report: Callable[[Trainer, training.TrainState, Path], None]


def prepare(config: Config) -> Setup:
    """Opens the data and builds the network; whatever does not fit is said here."""
    if config.task == "graph":
        placement = training.open_placement(config.run)
        return prepare_graphs(config, placement)
    data = config.data.open_node_graph()
    if config.task == "node" and config.data.fan_out:
        placement = training.open_placement(config.run)
        return prepare_sampled(config, placement, data)
    if config.run.parallel != "jit":
        raise ValueError(
            f"--run.parallel {config.run.parallel} does not share out one whole graph: take jit, which "
            "shares out its edges, or train on neighbourhoods with --task node --data.fan-out 10 10"
        )
    jitted = training.open_placement(config.run)
    assert isinstance(jitted, training.JitPlacement)
    placement = EdgeShardedPlacement(jitted.mesh)
    return (prepare_links if config.task == "link" else prepare_nodes)(config, placement, data)


def penalty_of(config: Config) -> Penalty:
    """The penalty that the options name."""
    return Penalty(config.loss.l2, config.loss.l2_layers)


def shape_of(graph: Graph) -> GraphShape:
    """What the parameters depend on, of a graph of the data."""
    edges = None if graph.edges is None else tuple(graph.edges.shape[1:])
    return GraphShape(graph.nodes.shape[1], edges)


def prepare_nodes(config: Config, placement: training.Placement, data: NodeGraph) -> Setup:
    """Classes of the nodes of one whole graph."""
    loader = FullGraphNodes(
        data,
        edge_multiple=placement.num_devices,
        plan=_wants_plan(placement),
        nonzero=config.model.drops_features,
    )
    return _node_setup(config, placement, data, loader)


def prepare_sampled(config: Config, placement: training.Placement, data: NodeGraph) -> Setup:
    """Classes of nodes by their neighbourhoods."""
    loader = SampledNodes(
        data,
        config.data.fan_out,
        batch_size=config.data.batch_size,
        shards=placement.num_devices,
        seed=config.run.seed,
    )
    print(f"a step on each device is padded to {loader.bucket}")
    return _node_setup(config, placement, data, loader)


def _node_setup(config: Config, placement: training.Placement, data: NodeGraph, loader: Any) -> Setup:
    task = node_task(
        node_classifier(config.model, data.num_classes), shape_of(data.graph), penalty=penalty_of(config)
    )

    def report(trainer: Trainer, state: training.TrainState, folder: Path) -> None:
        logits, labels, names = trainer.predict(state, "all"), data.labels, data.class_names
        part = next((part for part in ("test", "val", "train") if getattr(data, part).any()), "train")
        chosen = getattr(data, part)
        write_class_report(folder, logits[chosen], labels[chosen], names, noun=f"{part} nodes")
        nodes = data.node_names or [str(index) for index in range(len(labels))]
        parts = {"part": data.part_names()}
        write_class_predictions(folder / "predictions.csv", nodes, logits, labels, names, columns=parts)
        write_node_map(folder / "map.png", data, logits)

    val = "val" if data.val.any() else None
    return Setup(config, placement, task, loader, "train", val, "accuracy", data.class_names, report)


def prepare_graphs(config: Config, placement: training.Placement) -> Setup:
    """Classes of graphs."""
    parts: GraphParts = config.data.open_graph_set()
    names = parts.everything.class_names
    loader = GraphSetBatches(
        parts.everything,
        batch_size=config.data.batch_size,
        shards=placement.num_devices,
        bucket=config.data.bucket,
    )
    print(f"a step on each device is padded to {loader.bucket}")
    task = graph_task(
        graph_classifier(config.model, len(names)),
        shape_of(parts.everything.graphs[0]),
        penalty=penalty_of(config),
    )

    def report(trainer: Trainer, state: training.TrainState, folder: Path) -> None:
        logits, labels = trainer.predict(state, parts.test), parts.test.labels
        write_class_report(folder, logits, labels, names, noun="test graphs")
        rows = [str(index) for index in range(len(labels))]
        write_class_predictions(folder / "predictions.csv", rows, logits, labels, names, columns={})

    return Setup(config, placement, task, loader, parts.train, parts.val, "accuracy", names, report)


def prepare_links(config: Config, placement: training.Placement, data: NodeGraph) -> Setup:
    """Which pairs of nodes have an edge."""
    loader = LinkBatches(
        config.data.split_links(data), edge_multiple=placement.num_devices, plan=_wants_plan(placement)
    )
    task = link_task(link_scorer(config.model), shape_of(loader.split.graph), penalty=penalty_of(config))

    def report(trainer: Trainer, state: training.TrainState, folder: Path) -> None:
        scores, _ = trainer.evaluate(state, "test")
        write_scores(folder / "scores.json", scores)
        (batch,) = loader.ordered_batches("test")
        logits, names = trainer.predict(state, "test"), data.node_names
        pairs, labels = batch["pairs"][0], batch["labels"][0]
        write_link_predictions(folder / "predictions.csv", pairs, logits, labels, names)
        print("  ".join(f"{name} {value:.4f}" for name, value in scores.items()))

    return Setup(config, placement, task, loader, "train", "val", "auc", (), report)


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
    write_run_weights(folder, config, variables, setup.class_names)
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
    recipe = find_recipe(config.task, config.model.name)
    patience = recipe.patience if config.run.patience is None else config.run.patience
    if setup.val is None and patience is not None:
        raise ValueError("the data has no nodes to validate on, which patience looks at")
    params = jax.eval_shape(setup.task.init, jax.random.key(0))["params"]
    optimizer, _ = config.optimizer.build(params, steps=config.run.steps)
    parts = {part: setup.placement.shard(setup.loader.batch(part)) for part in ("train", "val", "test")}
    run = make_seed_run(
        setup.task, optimizer, epochs=config.run.steps, patience=patience, measure=node_measure
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
    mean, spread = seed_statistics(found)
    scores = {"accuracy_mean": mean, "accuracy_std": spread, "seeds": len(found)}
    write_atomically(folder / "scores.json", lambda file: file.write(json.dumps(scores, indent=2).encode()))
    print(
        f"{config.model.name} on {config.data.root or config.data.source}: test accuracy {100 * mean:.2f} +- "
        f"{100 * spread:.2f} % over {len(found)} seeds; {folder}"
    )
    return 0


def node_measure(counts: Any) -> tuple[jax.Array, jax.Array]:
    """Cross entropy and accuracy of a part's counts, inside of a compiled run."""
    total = jnp.maximum(counts["confusion"].sum(), 1)
    return counts["calibration"].nll / total, jnp.trace(counts["confusion"]) / total


def main(arguments: Sequence[str]) -> int:
    """Trains once, or from many seeds."""
    config, resumed = training.parse_command(
        Config, arguments, description=__doc__ or "", program=PROGRAM, default=default_config(arguments)
    )
    return train_seeds(config, resumed) if config.seeds > 1 else train(config, resumed)


if __name__ == "__main__":
    # A module that is not found is an extra that is not installed; the message has the command.
    errors = (ValueError, OSError, FloatingPointError, ModuleNotFoundError, training.CheckpointError)
    training.run_script(main, errors)
