"""Trains a segmentation network on images and shows the result; or segments images with a trained one.

Train a U-Net on the embedded digit scenes:

    python train/segmentation.py

Train on a folder (labelme, voc, voc_aug, cityscapes, coco, ade20k, camvid; folder: images/ and masks/), whose
images are resized to 256 x 256 unless another height and width are given:

    python train/segmentation.py --data.source labelme --data.root my_labelme
    python train/segmentation.py --data.source camvid --data.root CamVid --data.size 180 240

Weigh rare classes, and add a loss of regions:

    python train/segmentation.py --loss.class-weights median --loss.lovasz 1.0

Score a trained network again, on other data:

    python train/segmentation.py evaluate --weights runs/camvid-unet_bn-1/weights.safetensors \\
        --data.source camvid --data.root CamVid --part test

Score it as benchmarks do, on masks that are not resized; so also with the options of predict:

    python train/segmentation.py evaluate --weights runs/camvid-unet_bn-1/weights.safetensors --whole
    python train/segmentation.py evaluate --weights runs/camvid-unet_bn-1/weights.safetensors --flip

Train on crops of large images at their own size, and score them whole, in windows:

    python train/segmentation.py --data.source cityscapes --data.root cityscapes --data.crop 512 512

Write masks and overlays of your own images:

    python train/segmentation.py predict --weights runs/digits-unet_bn-1/weights.safetensors photos/

Large images in overlapping windows, from several scales, and their mirror images; published weights:

    python train/segmentation.py predict scans/ --weights weights.safetensors --window 512 512
    python train/segmentation.py predict photos/ --weights weights.safetensors --scales 0.75 1.0 1.25 --flip
    python train/segmentation.py predict photos/ --model.name unet_bn --weights unet.safetensors
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxvision import optimizers, training, weights, zoo
from jaxvision.data import VOC_CLASSES, CheckedMasks, palette_of
from jaxvision.tasks import SegmentationData, SegmentationLossOptions, segmentation_task
from jaxvision.tasks.image_inputs import find_images
from jaxvision.tasks.networks import layer_order, score_shape
from jaxvision.tasks.published import PublishedModel, check_filled, names_of_classes
from jaxvision.tasks.report_files import write_curves
from jaxvision.tasks.scripts import (
    Trainer,
    check_classes,
    explain_end,
    read_run_metadata,
    write_run_weights,
)
from jaxvision.tasks.segmentation_losses import resolve_class_weights
from jaxvision.tasks.segmentation_options import checked_sources
from jaxvision.tasks.segmentation_predict import (
    InferenceOptions,
    Segmenter,
    compiled_scores,
    published_preparation,
    run_segmenter,
    segment_files,
)
from jaxvision.tasks.segmentation_report import ReportOptions, write_report, write_whole_report

PROGRAM = "train/segmentation.py"


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The network."""

    name: str = "unet_bn"
    """Any segmentation network of jaxvision.zoo.names()."""
    features: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of each level of unet and unet_bn; the paper's are 64 128 256 512 1024."""
    hidden: int = 4096
    """Channels of fc6 and fc7 of an FCN on VGG or of a DeconvNet."""
    aux_head: bool = False
    """Train an auxiliary head too: of DeepLabV3, PSPNet, and FCN on a ResNet; see --loss.auxiliary."""
    dropout: float | None = None
    """Dropout rate; by default the network's own, but 0 for a U-Net."""
    bfloat16: bool = False
    """Compute in bfloat16; parameters and losses stay float32."""
    weights: str | None = None
    """Start from these: the weights.safetensors of an earlier run; or, in a file or as hf://OWNER/NAME,
    published ones of the network, or of the classifier with the same backbone, which start the backbone."""
    set: tuple[str, ...] = ()
    """Other fields of the network as FIELD=VALUE, such as deep_supervision=True of a UNet++."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run."""

    data: SegmentationData = dataclasses.field(default_factory=SegmentationData)
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    # Most pixels are background: cross entropy alone looks at little else for the first thousand steps.
    loss: SegmentationLossOptions = dataclasses.field(
        default_factory=lambda: SegmentationLossOptions(dice=1.0)
    )
    optimizer: optimizers.OptimizerOptions = dataclasses.field(
        default_factory=lambda: optimizers.OptimizerOptions(learning_rate=3e-3)
    )
    run: training.RunOptions = dataclasses.field(
        default_factory=lambda: training.RunOptions(
            steps=4000, log_every=50, eval_every=1000, checkpoint_every=1000
        )
    )
    report: ReportOptions = dataclasses.field(default_factory=ReportOptions)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Segments images: for each, a palette PNG of class indices, an overlay, and both with a legend."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, or folders of them."""
    weights: str
    """weights.safetensors of a run; or with --model.name any weights of that network, in a file or as
    hf://OWNER/NAME."""
    model: PublishedModel = dataclasses.field(default_factory=PublishedModel)
    inference: Annotated[InferenceOptions, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=InferenceOptions
    )
    out: Path = Path("predictions")
    """Folder for the results."""
    native_size: bool = False
    """Segment images whole at their own size instead of the size trained at; windows always do, and are the
    default for a run on crops of images at their own size."""
    probabilities: bool = False
    """Also write the probabilities of all classes, as float16 in an npz file."""
    palette: Literal["digits", "camvid", "cityscapes", "voc"] | None = None
    """Colours of the classes; by default those of the data trained on."""
    alpha: float = 0.5
    """Opacity of the overlay."""


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Scores a trained network: scores.json, classes.csv, confusion.png, predictions.png and worst.png."""

    weights: Path
    """weights.safetensors of a run."""
    data: SegmentationData
    """The images; what is not given is as in the run."""
    report: ReportOptions
    """What is looked at; what is not given is as in the run."""
    part: Literal["train", "val", "test"] = "test"
    """Which part of the data."""
    whole: bool = False
    """Resize predictions to the images' own size, and score them against masks that are not resized, as
    benchmarks do, on one device and without a loss; by default masks are resized as in the run's training,
    if they were. The options below do so in any case."""
    inference: Annotated[InferenceOptions, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=InferenceOptions
    )
    native_size: bool = False
    """Segment images whole at their own size instead of the size trained at; windows always do, and are the
    default for a run on crops of images at their own size."""
    out: Path = Path("evaluation")
    """Folder for the results."""
    devices: int | None = None
    """How many devices to use; by default all."""
    compilation_cache: bool = True
    """Keep compiled programs in the user's cache folder (~/.cache/jaxvision/xla)."""


def model_fields(options: ModelOptions, num_classes: int) -> dict[str, Any]:
    """The fields of the network that the options set."""
    fields: dict[str, Any] = {"num_classes": num_classes}
    if options.name in ("unet", "unet_bn"):
        fields |= {"features": options.features, "dropout_rate": 0.0}
    elif options.name.startswith(("fcn8s", "fcn16s", "fcn32s", "deconvnet")):
        fields["hidden"] = options.hidden
    if options.aux_head:
        fields["aux_head"] = True
    if options.dropout is not None:
        fields["dropout_rate"] = options.dropout
    if options.bfloat16:
        fields["dtype"] = jnp.bfloat16
    return fields | zoo.read_overrides(options.name, options.set, taken=("num_classes", "axis_name"))


def build_network(config: Config, num_classes: int, norm_axis: str | None) -> nn.Module:
    """The network of a run, whose batch normalisation averages over an axis.

    Raises:
      ValueError: if it is not for segmentation.
    """
    model = zoo.create(config.model.name, axis_name=norm_axis, **model_fields(config.model, num_classes))
    remedy = "train/classification.py trains networks that give one score an image"
    score_shape(model, config.model.name, config.data.image_size, axes="N H W K", remedy=remedy)
    return model


def initial_variables(
    options: ModelOptions, num_classes: int, task: training.Task, resumed: Path | None, *, seed: int
) -> tuple[Any, weights.Preprocessing]:
    """Variables from a file of weights, or None to initialise all; and how they expect their images."""
    # A checkpoint holds all that a resumed run needs: the file that it once started from may be gone.
    if options.weights is None or (resumed is not None and training.holds_checkpoint(resumed)):
        return None, zoo.find_entry(options.name).preprocessing
    fields, key = model_fields(options, num_classes), jax.random.key(seed, impl="rbg")
    variables, expected, line = zoo.starting_variables(
        options.name, fields, options.weights, task.init, key=key
    )
    if line:
        print(line)
    usual = weights.Preprocessing()
    if (expected.mean, expected.std) != (usual.mean, usual.std):
        mean, std = (" ".join(map(str, values)) for values in (expected.mean, expected.std))
        print(f"{options.weights}: expects --data.mean {mean} --data.std {std}, the default now")
    return variables, expected


def train(config: Config, resumed: Path | None) -> int:
    """Trains, evaluates and reports; returns the exit code."""
    placement = training.open_placement(config.run)
    placement.check_batch_size(config.data.batch_size)
    train_source, val_source, test_source, part = checked_sources(config.data)
    num_classes, names = train_source.num_classes, train_source.class_names
    model = build_network(config, num_classes, training.norm_axis(config.run, placement))
    loss = resolve_class_weights(config.loss, train_source, resumed=resumed is not None)
    task = segmentation_task(
        model,
        loss.build(num_classes),
        num_classes=num_classes,
        image_size=config.data.image_size,
        frozen=config.optimizer.freeze,
        aux_weight=loss.auxiliary,
    )
    variables, expected = initial_variables(config.model, num_classes, task, resumed, seed=config.run.seed)
    config = dataclasses.replace(config, data=config.data.resolved(expected), loss=loss)
    layers = layer_order(model, config.data.image_size) if config.optimizer.layer_decay is not None else ()
    trainer = Trainer(
        task,
        placement,
        data=config.data,
        optimizer=config.optimizer,
        run=config.run,
        metric="mean_iou",
        layers=layers,
    )
    batches = config.data.batches(train_source, seed=config.run.seed)
    folder = training.open_folder(config, f"{config.data.source}-{config.model.name}", resumed)
    where = f"{len(train_source)} images {config.data.size_in_words}, {placement.num_devices} device(s)"
    print(f"{folder}: {config.model.name} on {where}")
    progress = trainer.fit(
        batches, folder, resumed=resumed is not None, validation=val_source, variables=variables
    )
    if code := explain_end(progress, folder, program=PROGRAM):
        return code
    variables = trainer.host_variables(progress.state)
    if training.is_first_process():
        write_files(folder, config, variables, names)
    report(config, folder, model, variables, test_source, placement, part=part)
    return 0


def write_files(folder: Path, config: Config, variables: Any, class_names: Sequence[str]) -> None:
    """Writes the weights and the curves of a run."""
    expected = weights.preprocessing_to_dict(config.data.preprocessing())
    write_run_weights(folder, config, variables, class_names, preprocessing=expected)
    records = training.read_json_lines(folder / "metrics.jsonl")
    write_curves(folder / "curves.png", records, title="mIoU", metric="mean_iou")


def report(
    config: Config,
    folder: Path,
    model: nn.Module,
    variables: Any,
    source: CheckedMasks,
    placement: training.Placement,
    *,
    part: str,
    segmenter: Segmenter | None = None,
) -> None:
    """Evaluates on a part of the data and writes scores, tables and pictures into a folder.

    With a segmenter, and where images keep their size, on masks as they are.
    """
    data, options = config.data, config.report
    if segmenter is None and data.resize is None:
        inference = InferenceOptions(batch_size=data.batch_size)
        segmenter = run_segmenter(model, variables, data, inference)
    if segmenter is not None:
        write_whole_report(folder, segmenter.labels, source, data=data, options=options, part=part)
        return
    loss = config.loss.build(source.num_classes)
    write_report(folder, model, loss, variables, source, placement, data=data, options=options, part=part)


def evaluate(arguments: Sequence[str]) -> int:
    """Scores a trained network on a part of a data set, by default that of its run."""
    _, path = training.take_option(list(arguments), "--weights")
    data, looked_at = SegmentationData(), ReportOptions()
    if path is not None:  # else the next lines end with what is missing, or with the help
        trained, metadata = read_run_metadata(path, Config)
        data, looked_at = trained.data, trained.report
    options = tyro.cli(
        EvaluateConfig,
        args=arguments,
        default=EvaluateConfig(tyro.MISSING if path is None else path, data, looked_at),
        prog=f"{PROGRAM} evaluate",
    )
    where = training.RunOptions(devices=options.devices, compilation_cache=options.compilation_cache)
    placement = training.make_placement("jit", devices=training.configure_devices(where))
    placement.check_batch_size(options.data.batch_size)
    opened, part = options.data.open_part(options.part)
    source = CheckedMasks(opened)
    if part != options.part:
        print("the data has no test part: scored on val")
    check_classes(options.weights, metadata["class_names"], source.class_names)
    config = dataclasses.replace(trained, data=options.data, report=options.report)
    model = zoo.create(config.model.name, **model_fields(config.model, source.num_classes))
    variables = weights.read_variables(options.weights)
    segmenter = None
    if options.whole or options.native_size or options.inference != InferenceOptions():
        native, inference = options.native_size, options.inference
        segmenter = run_segmenter(model, variables, config.data, inference, native_size=native)
    report(config, options.out, model, variables, source, placement, part=part, segmenter=segmenter)
    return 0


def open_segmenter(config: PredictConfig) -> tuple[Segmenter, tuple[str, ...], np.ndarray]:
    """The network that the weights are of, the names of its classes, and their colours."""
    palette = palette_of("voc" if config.palette is None else config.palette)
    if config.model.name is None:
        config.model.check_left_out()
        path = Path(config.weights)
        trained, metadata = read_run_metadata(path, Config)
        names = tuple(metadata["class_names"])
        model = zoo.create(trained.model.name, **model_fields(trained.model, len(names)))
        variables, data = weights.read_variables(path), trained.data
        palette = data.palette() if config.palette is None else palette
        segmenter = run_segmenter(model, variables, data, config.inference, native_size=config.native_size)
    else:
        name, fields = config.model.name, zoo.read_overrides(config.model.name, config.model.set)
        loaded = zoo.load(name, weights=config.weights, num_classes=config.model.num_classes, **fields)
        check_filled(config.weights, loaded.initialised)
        model, variables = loaded.model, loaded.variables
        remedy = "train/classification.py predict takes networks that give one score an image"
        size = loaded.preprocessing.size
        *_, count = score_shape(model, name, size, axes="N H W K", remedy=remedy, variables=variables)
        names = names_of_classes(count, config.model.class_names, [VOC_CLASSES])
        native = config.native_size or config.inference.window is not None
        prepare = published_preparation(loaded.preprocessing, native_size=native)
        segmenter = Segmenter(compiled_scores(model, variables), prepare, config.inference)
    return segmenter, names, palette


def predict(config: PredictConfig) -> int:
    """Segments the images; a broken one is named, and the others are still done."""
    images = find_images(config.images)
    segmenter, names, palette = open_segmenter(config)
    done = segment_files(
        segmenter,
        images,
        config.out,
        class_names=names,
        palette=palette,
        alpha=config.alpha,
        batch_size=config.inference.batch_size,
        probabilities=config.probabilities,
    )
    return 0 if done == len(images) else 1


def main(arguments: Sequence[str]) -> int:
    """Trains, or evaluates or predicts if the first word says so."""
    if arguments[:1] == ["evaluate"]:
        return evaluate(arguments[1:])
    if arguments[:1] == ["predict"]:
        return predict(tyro.cli(PredictConfig, args=arguments[1:], prog=f"{PROGRAM} predict"))
    config, resumed = training.parse_command(Config, arguments, description=__doc__ or "", program=PROGRAM)
    return train(config, resumed)


if __name__ == "__main__":
    # A module that is not found is an extra that is not installed; the message has the command.
    errors = (ValueError, OSError, FloatingPointError, ModuleNotFoundError, training.CheckpointError)
    training.run_script(main, errors)
