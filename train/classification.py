"""Trains an image classifier and shows how good it is; or classifies images with a trained one.

Train on the embedded handwritten digits:

    python train/classification.py

Fine-tune published weights on a folder that holds one folder a class (or train/, val/ and test/ with these):

    python train/classification.py --data.source folder --data.root flowers \\
        --model.name resnet50 --model.weights hf://timm/resnet50.a1_in1k --optimizer.freeze backbone

Find a learning rate; cross-validate; classify your own images:

    python train/classification.py lr-range --data.source folder --data.root flowers
    python train/classification.py --folds 5
    python train/classification.py predict --weights runs/digits-cifar_resnet20-1/weights.safetensors photos/

Classify them with published weights:

    python train/classification.py predict photos/ --model.name resnet50 --weights hf://timm/resnet50.a1_in1k
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxvision import optimizers, training, weights, zoo
from jaxvision.core import name_some
from jaxvision.data import (
    LabelledSource,
    Subset,
    imagenet_classes,
    prefetch_to_device,
    stratified_folds,
)
from jaxvision.tasks import ClassificationData, ClassificationLossOptions, classification_task
from jaxvision.tasks.classification_options import Parts, PreparedImages
from jaxvision.tasks.classification_predict import classify_files, write_predictions
from jaxvision.tasks.classification_report import write_report
from jaxvision.tasks.cross_validation import report_folds, run_folds
from jaxvision.tasks.image_inputs import find_images
from jaxvision.tasks.networks import layer_order, score_shape
from jaxvision.tasks.published import PublishedModel, check_filled, names_of_classes
from jaxvision.tasks.report_files import write_rate_range
from jaxvision.tasks.scripts import Trainer, explain_end, read_run_metadata, write_run_weights
from jaxvision.weights import Preprocessing, preprocessing_from_dict, preprocessing_to_dict

PROGRAM = "train/classification.py"


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The network."""

    name: str = "cifar_resnet20"
    """Any classifier of jaxvision.zoo.names()."""
    weights: str | None = None
    """Start from these: published weights in a file or as hf://OWNER/NAME, or the weights.safetensors of an
    earlier run. A head of other classes is made anew."""
    dropout: float | None = None
    """Dropout rate in front of the head; by default the network's own."""
    drop_path: float | None = None
    """Greatest rate of stochastic depth, for networks that have it; by default the network's own."""
    blocks: tuple[int, ...] | None = None
    """Blocks of each stage, for networks that have stages of blocks; by default the network's own."""
    features: tuple[int, ...] | None = None
    """Channels of each stage, for networks that have stages; by default the network's own."""
    auxiliary: bool = False
    """Train the auxiliary classifiers of a GoogLeNet or an Inception-v3 too; see --loss.auxiliary."""
    bfloat16: bool = False
    """Compute in bfloat16; parameters and losses stay float32."""
    set: tuple[str, ...] = ()
    """Other fields of the network as FIELD=VALUE, such as "backbone={'output_stride': 16}"."""

    def overrides(self) -> dict[str, Any]:
        """What :func:`jaxvision.zoo.create` takes beside the name."""
        parts = {"blocks": self.blocks, "features": self.features, "drop_path_rate": self.drop_path}
        fields = {
            "backbone": {name: value for name, value in parts.items() if value is not None},
            "dropout_rate": self.dropout,
            "aux_heads": self.auxiliary or None,
            "dtype": jnp.bfloat16 if self.bfloat16 else None,
        }
        own: dict[str, Any] = {k: value for k, value in fields.items() if value is not None and value != {}}
        given = zoo.read_overrides(self.name, self.set, taken=("num_classes", "axis_name"))
        if "backbone" in own and "backbone" in given:
            given["backbone"] = {**own["backbone"], **given["backbone"]}
        return own | given


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run."""

    data: ClassificationData = dataclasses.field(default_factory=ClassificationData)
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    loss: ClassificationLossOptions = dataclasses.field(default_factory=ClassificationLossOptions)
    optimizer: optimizers.OptimizerOptions = dataclasses.field(
        default_factory=lambda: optimizers.OptimizerOptions(learning_rate=3e-3)
    )
    run: training.RunOptions = dataclasses.field(
        default_factory=lambda: training.RunOptions(
            steps=1000, log_every=50, eval_every=250, checkpoint_every=250
        )
    )
    folds: int | None = None
    """Cross-validate first: train this many models, each without a part of the images that it is scored on;
    then train on all of them."""


@dataclasses.dataclass(frozen=True)
class RangeOptions:
    """The learning rates of a range test."""

    least: float = 1e-6
    """The first learning rate."""
    greatest: float = 10.0
    """The last one, if the loss does not explode before."""
    steps: int = 200
    """Batches."""


@dataclasses.dataclass(frozen=True)
class RangeConfig(Config):
    """A learning-rate range test: a short run whose rate rises, written as a picture and a table."""

    rates: RangeOptions = dataclasses.field(default_factory=RangeOptions)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Classifies images: writes predictions.json and predictions.csv."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, or folders of them."""
    weights: str
    """weights.safetensors of a run; or with --model.name any weights of that network, in a file or as
    hf://OWNER/NAME."""
    model: PublishedModel = dataclasses.field(default_factory=PublishedModel)
    out: Path = Path("predictions")
    """Folder for the results."""
    top: int = 5
    """Classes to list of each image, the most probable first."""
    batch_size: int = 16
    """Images that are classified at once."""
    calibrated: bool = False
    """Divide the scores by the temperature that was fitted on the validation images."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that is made from a configuration before anything is trained."""

    config: Config
    parts: Parts
    images: PreparedImages
    placement: training.Placement
    task: training.Task
    layers: Sequence[Sequence[str]]
    variables: Any


def prepare(config: Config, resumed: Path | None) -> Setup:
    """Opens data and weights and builds the network; whatever does not fit is said here."""
    placement = training.open_placement(config.run)
    placement.check_batch_size(config.data.batch_size)
    parts = config.data.open_parts()
    names = parts.train.class_names
    # A checkpoint holds all that a resumed run needs: the file that it once started from may be gone.
    fresh = resumed is None or not training.holds_checkpoint(resumed)
    pretrained = None
    if config.model.weights is not None and fresh:
        pretrained = load_pretrained(config.model, names, seed=config.run.seed)
    published = zoo.find_entry(config.model.name) if pretrained is None else pretrained
    images = PreparedImages(config.data, published.preprocessing)
    config = dataclasses.replace(config, data=images.options)
    size = images.preprocessing.size
    model = build_model(config.model, len(names), axis_name=training.norm_axis(config.run, placement))
    remedy = "train/segmentation.py trains networks that give one a pixel"
    score_shape(model, config.model.name, size, axes="N K", remedy=remedy)
    loss = config.loss.build(len(names))
    task = classification_task(
        model, loss, num_classes=len(names), image_size=size, frozen=config.optimizer.freeze
    )
    layers = layer_order(model, size) if config.optimizer.layer_decay is not None else ()
    variables = None if pretrained is None else pretrained.variables
    return Setup(config, parts, images, placement, task, layers, variables)


def build_model(options: ModelOptions, num_classes: int, *, axis_name: str | None = None) -> nn.Module:
    """The network by name, with the options that concern it."""
    return zoo.create(options.name, num_classes=num_classes, axis_name=axis_name, **options.overrides())


def load_pretrained(options: ModelOptions, class_names: Sequence[str], *, seed: int) -> zoo.Pretrained:
    """Reads the weights to start from; of a head that is kept for other classes, a line says so."""
    assert options.weights is not None
    fields, key = options.overrides(), jax.random.key(seed, impl="rbg")
    pretrained = zoo.load(
        options.name, weights=options.weights, num_classes=len(class_names), key=key, **fields
    )
    before = weights.read_note(options.weights, "class_names")
    if not pretrained.initialised and before is not None and before != list(class_names):
        print(
            f"{options.weights}: its classes were {name_some(before)}, here they are "
            f"{name_some(class_names)}; the head starts from theirs"
        )
    return pretrained


def make_trainer(setup: Setup) -> Trainer:
    """The trainer of a run."""
    config = setup.config
    return Trainer(
        setup.task,
        setup.placement,
        data=setup.images,
        optimizer=config.optimizer,
        run=config.run,
        metric="accuracy",
        layers=setup.layers,
    )


def train(config: Config, resumed: Path | None) -> int:
    """Trains, evaluates and reports; returns the exit code."""
    setup = prepare(config, resumed)
    config, parts, seed = setup.config, setup.parts, setup.config.run.seed
    trainer = make_trainer(setup)
    pool = parts.train if config.folds is None else parts.pool()
    batches = setup.images.batches(pool, seed=seed)
    folds = [] if config.folds is None else divide(config, pool)
    fold_batches = [setup.images.batches(trained_on, seed=seed) for trained_on, _ in folds]
    folder = training.open_folder(config, f"{config.data.source}-{config.model.name}", resumed)
    print(f"{folder}: {config.model.name} on {len(pool)} images, {setup.placement.num_devices} device(s)")
    variables = setup.variables
    if folds:
        variables = trainer.initialise(seed) if variables is None else variables
        held_out = [held for _, held in folds]
        rows, stopped = run_folds(trainer, fold_batches, held_out, folder, variables=variables)
        if stopped is not None:
            return explain_end(stopped, folder, program=PROGRAM)
        report_folds(folder, rows)
    progress = trainer.fit(
        batches,
        folder,
        resumed=resumed is not None,
        validation=None if folds else parts.validation,
        variables=variables,
    )
    if code := explain_end(progress, folder, program=PROGRAM):
        return code
    report(setup, trainer, progress.state, folder)
    return 0


def divide(config: Config, pool: LabelledSource) -> list[tuple[Subset, Subset]]:
    """The folds of a cross-validation: what each model is trained on, and what it is scored on."""
    if config.run.patience is not None or config.optimizer.plateau is not None:
        raise ValueError(
            "--folds: --run.patience and --optimizer.plateau follow the score on images that the model is to "
            "be judged by, and the last fit has none; leave them out"
        )
    assert config.folds is not None
    rng = np.random.default_rng(config.data.split_seed)
    folds = stratified_folds(pool.labels, config.folds, rng=rng, class_names=pool.class_names)
    return [(Subset(pool, trained_on), Subset(pool, held_out)) for trained_on, held_out in folds]


def report(setup: Setup, trainer: Trainer, state: training.TrainState, folder: Path) -> None:
    """Predicts the test images; the first process writes weights, scores, tables and pictures."""
    parts, config = setup.parts, setup.config
    # The last fit of a cross-validation has seen the validation images.
    unseen = None if config.folds is not None else parts.validation
    logits = trainer.predict(state, parts.test)
    held_out = None if unseen is None else (unseen.labels, trainer.predict(state, unseen))
    variables = trainer.host_variables(state)
    if not training.is_first_process():
        return
    temperature = write_report(
        folder, parts.test, logits, held_out=held_out, is_tested_apart=parts.is_tested_apart
    )
    write_run_weights(
        folder,
        config,
        variables,
        parts.train.class_names,
        preprocessing=preprocessing_to_dict(setup.images.preprocessing),
        temperature=temperature,
    )
    print(f"weights, tables and pictures are in {folder}")


def find_rate(config: RangeConfig) -> int:
    """Runs a learning-rate range test."""
    if config.folds is not None or config.optimizer.accumulate != 1:
        raise ValueError("lr-range takes a step a rate, on one part: leave out --folds and accumulate")
    setup = prepare(config, None)
    rates, run = config.rates, config.run
    task = setup.images.prepare_task(setup.task)
    task = training.rematerialise(task) if run.remat else task
    schedule = training.rising_schedule(rates.least, rates.greatest, steps=rates.steps)
    params = jax.eval_shape(setup.task.init, jax.random.key(0))["params"]
    optimizer, rate_of = config.optimizer.build(
        params, steps=rates.steps, layers=setup.layers, schedule=schedule
    )
    batches = setup.images.batches(setup.parts.train, seed=run.seed)
    folder = training.open_folder(config, f"lr-range-{config.data.source}-{config.model.name}", None)
    state = training.create_train_state(task, optimizer, seed=run.seed, variables=setup.variables)
    found = training.run_rate_range(
        setup.placement.place(state),
        training.compile_step(task, optimizer, setup.placement),
        prefetch_to_device(batches, setup.placement.shard),
        [rate_of(step) for step in range(rates.steps)],
    )
    batches.close()
    if not training.is_first_process():
        return 0
    picture = write_rate_range(folder, found)
    if found.suggestion is None:
        print(f"the loss never fell: try a lower --rates.least; see {picture}")
    else:
        print(f"suggestion: --optimizer.learning-rate {found.suggestion:.2g}; see {picture}")
    return 0


def open_classifier(config: PredictConfig) -> tuple[nn.Module, Any, tuple[str, ...], Preprocessing, float]:
    """The network that the weights are of, its variables, the names of its classes, how it takes images, and
    the temperature of its scores."""
    if config.model.name is None:
        config.model.check_left_out()
        path = Path(config.weights)
        trained, metadata = read_run_metadata(path, Config)
        names = tuple(metadata["class_names"])
        temperature = metadata["temperature"] if config.calibrated else 1.0
        if temperature is None:
            raise ValueError(
                f"{path}: no temperature was fitted, for the run kept no validation images apart, or made no "
                "mistake on them"
            )
        model, variables = build_model(trained.model, len(names)), weights.read_variables(path)
        return model, variables, names, preprocessing_from_dict(metadata["preprocessing"]), temperature
    if config.calibrated:
        raise ValueError("--calibrated: only the weights of a run come with a temperature; leave it out")
    name, fields = config.model.name, zoo.read_overrides(config.model.name, config.model.set)
    loaded = zoo.load(name, weights=config.weights, num_classes=config.model.num_classes, **fields)
    check_filled(config.weights, loaded.initialised)
    remedy = "train/segmentation.py predict takes networks that give one score a pixel"
    size = loaded.preprocessing.size
    _, count = score_shape(loaded.model, name, size, axes="N K", remedy=remedy, variables=loaded.variables)
    noted = weights.read_note(config.weights, "class_names") or ()
    names = names_of_classes(count, config.model.class_names, [noted, imagenet_classes()])
    return loaded.model, loaded.variables, names, loaded.preprocessing, 1.0


def predict(config: PredictConfig) -> int:
    """Classifies the images; a broken one is named, and the others are still done."""
    model, variables, names, preprocessing, temperature = open_classifier(config)
    paths = find_images(config.images)
    logits = jax.jit(lambda images: model.apply(variables, images, train=False))
    found = classify_files(
        logits, paths, preprocessing, temperature=temperature, batch_size=config.batch_size
    )
    written = write_predictions(config.out, found, names, top=config.top)
    print(f"{len(found)} of {len(paths)} images -> {', '.join(map(str, written))}")
    return 0 if len(found) == len(paths) else 1


def main(arguments: Sequence[str]) -> int:
    """Trains, or does what the first word says."""
    if arguments[:1] == ["predict"]:
        return predict(tyro.cli(PredictConfig, args=arguments[1:], prog=f"{PROGRAM} predict"))
    if arguments[:1] == ["lr-range"]:
        text, program = RangeConfig.__doc__ or "", f"{PROGRAM} lr-range"
        ranged, resumed = training.parse_command(
            RangeConfig, arguments[1:], description=text, program=program
        )
        if resumed is not None:
            raise ValueError("lr-range is short and starts anew; leave out --resume")
        return find_rate(ranged)
    config, resumed = training.parse_command(Config, arguments, description=__doc__ or "", program=PROGRAM)
    return train(config, resumed)


if __name__ == "__main__":
    # A module that is not found is an extra that is not installed; the message has the command.
    errors = (ValueError, OSError, FloatingPointError, ModuleNotFoundError, training.CheckpointError)
    training.run_script(main, errors)
