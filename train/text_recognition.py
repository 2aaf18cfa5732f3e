"""Trains a CRNN that reads words or numbers off pictures, and shows how good it is; or reads your pictures.

Read strings of one to five handwritten digits, without any download:

    python train/text_recognition.py

The network of the paper; on your own pictures, by a table of paths and texts:

    python train/text_recognition.py --model.variant crnn
    python train/text_recognition.py --data.source csv --data.root plates/train.csv --data.width 160

Read pictures with a trained one, by the best path or a search over prefixes:

    python train/text_recognition.py predict --weights runs/digits-crnn_small-1/weights.safetensors photos/
    python train/text_recognition.py predict --weights ... --beam-size 10 photos/
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxvision import optimizers, training, weights
from jaxvision.data import Vocabulary
from jaxvision.pictures import readings_sheet, write_png
from jaxvision.sequence import CRNN, crnn, num_steps
from jaxvision.tasks.image_inputs import find_images, read_or_name
from jaxvision.tasks.recognition_options import (
    BLANK_TOKEN,
    PreparedWords,
    RecognitionData,
    WordParts,
    prepare_word,
)
from jaxvision.tasks.recognition_report import decode, read_strings, write_recognition_report
from jaxvision.tasks.report_files import write_table
from jaxvision.tasks.scripts import Trainer, explain_end, read_run_metadata, write_run_weights
from jaxvision.tasks.text_inputs import predict_rows
from jaxvision.tasks.text_recognition import text_recognition_task
from jaxvision.tasks.text_vocabulary import VOCABULARY, check_resumed_vocabulary

PROGRAM = "train/text_recognition.py"


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The network."""

    variant: Literal["crnn", "crnn_small"] = "crnn_small"
    """crnn is that of the paper; crnn_small a narrow one that a CPU trains in minutes."""
    features: tuple[int, ...] | None = None
    """Channels of the seven convolutions; by default the variant's."""
    hidden: int | None = None
    """Units of the LSTM in each direction; by default the variant's."""
    dropout: float = 0.0
    """Dropout rate between the LSTM layers."""
    bfloat16: bool = False
    """Compute in bfloat16; parameters and losses stay float32."""

    def build(self, num_labels: int, *, axis_name: str | None = None) -> CRNN:
        """The network."""
        fields: dict[str, Any] = {"features": self.features, "hidden": self.hidden}
        return crnn(
            self.variant,
            num_labels=num_labels,
            dropout_rate=self.dropout,
            axis_name=axis_name,
            dtype=jnp.bfloat16 if self.bfloat16 else None,
            **{name: value for name, value in fields.items() if value is not None},
        )


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """The last evaluation, on the test pictures."""

    beam_size: int = 10
    """Prefixes that the search keeps; 1 for the best path alone."""

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise ValueError(f"--report.beam-size: got {self.beam_size}, expected 1 or more")


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run."""

    data: RecognitionData = dataclasses.field(default_factory=RecognitionData)
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    optimizer: optimizers.OptimizerOptions = dataclasses.field(
        default_factory=lambda: optimizers.OptimizerOptions(learning_rate=4e-3, clip_norm=5.0)
    )
    report: ReportOptions = dataclasses.field(default_factory=ReportOptions)
    run: training.RunOptions = dataclasses.field(
        default_factory=lambda: training.RunOptions(
            steps=1500, log_every=50, eval_every=500, checkpoint_every=500
        )
    )


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Reads pictures: writes readings.csv and, of the first pictures, readings.png."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, or folders of them."""
    weights: Path
    """weights.safetensors of a run."""
    out: Path = Path("predictions")
    """Folder for the results."""
    beam_size: int = 1
    """Prefixes that the search keeps; 1 for the best path."""
    batch_size: int = 32
    """Pictures that are read at once."""
    shown: int = 40
    """Pictures on the sheet."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that is made from a configuration before anything is trained."""

    config: Config
    parts: WordParts
    words: PreparedWords
    placement: training.Placement
    task: training.Task


def prepare(config: Config, resumed: Path | None) -> Setup:
    """Opens the data and builds the network; whatever does not fit is said here."""
    if config.data.width < 8:
        raise ValueError(f"--data.width: got {config.data.width}, expected at least 8 pixels")
    placement = training.open_placement(config.run)
    placement.check_batch_size(config.data.batch_size)
    parts = config.data.open_parts()
    alphabet = config.data.build_alphabet(parts.train)
    check_resumed_vocabulary(alphabet, resumed)
    words = PreparedWords(config.data, alphabet, parts, steps=num_steps(config.data.width))
    model = config.model.build(len(alphabet), axis_name=training.norm_axis(config.run, placement))
    task = text_recognition_task(model, image_size=(32, config.data.width))
    return Setup(config, parts, words, placement, task)


def train(config: Config, resumed: Path | None) -> int:
    """Trains, evaluates and reports; returns the exit code."""
    setup = prepare(config, resumed)
    parts, words = setup.parts, setup.words
    trainer = Trainer(
        setup.task,
        setup.placement,
        data=words,
        optimizer=config.optimizer,
        run=config.run,
        metric="accuracy",
    )
    batches = words.batches(parts.train, seed=config.run.seed)
    folder = training.open_folder(config, f"{config.data.source}-{config.model.variant}", resumed)
    if training.is_first_process():
        words.alphabet.save(folder / VOCABULARY)
    print(
        f"{folder}: {config.model.variant} on {len(parts.train):,} pictures, alphabet "
        f"{''.join(words.alphabet.tokens[1:])!r}, {setup.placement.num_devices} device(s)"
    )
    progress = trainer.fit(batches, folder, resumed=resumed is not None, validation=parts.validation)
    if code := explain_end(progress, folder, program=PROGRAM):
        return code
    report(setup, trainer, progress.state, folder)
    return 0


def report(setup: Setup, trainer: Trainer, state: training.TrainState, folder: Path) -> None:
    """Writes weights, scores, tables and pictures into the run's folder."""
    test, words, config = setup.parts.test, setup.words, setup.config
    logits, variables = trainer.predict(state, test), trainer.host_variables(state)
    if not training.is_first_process():
        return
    beam_size = config.report.beam_size
    write_recognition_report(folder, test, words.labels(test), logits, words.alphabet, beam_size=beam_size)
    write_run_weights(folder, config, variables, (), alphabet="".join(words.alphabet.tokens[1:]))
    print(f"weights, tables and pictures are in {folder}")


def predict(config: PredictConfig) -> int:
    """Reads the pictures; a broken one is named, and the others are still done."""
    trained, metadata = read_run_metadata(config.weights, Config)
    alphabet = Vocabulary((BLANK_TOKEN, *metadata["alphabet"]))
    paths = find_images(config.images)
    read = [(path, image) for path in paths if (image := read_or_name(path)) is not None]
    model, variables = trained.model.build(len(alphabet)), weights.read_variables(config.weights)
    if not read:
        print("no picture could be read", file=sys.stderr)
        return 1
    images = np.stack([prepare_word(image, width=trained.data.width) for _, image in read])

    @jax.jit
    def logits(batch: dict[str, jax.Array]) -> Any:
        return model.apply(variables, batch["images"], train=False)

    scores = np.stack(predict_rows(logits, {"images": images}, batch_size=config.batch_size))
    found = jax.jit(lambda scores: decode(scores, beam_size=config.beam_size))(scores)
    readings = read_strings(found, alphabet)
    rows = [
        {"image": str(path), "text": text, "log_probability": float(value)}
        for (path, _), text, value in zip(read, readings, found.log_probabilities, strict=True)
    ]
    config.out.mkdir(parents=True, exist_ok=True)
    write_table(config.out / "readings.csv", rows)
    shown = slice(config.shown)
    sheet = readings_sheet([image for _, image in read[shown]], readings[shown])
    write_png(config.out / "readings.png", sheet)
    print(f"{len(read)} of {len(paths)} pictures -> {config.out / 'readings.csv'}")
    return 0 if len(read) == len(paths) else 1


def main(arguments: Sequence[str]) -> int:
    """Trains, or does what the first word says."""
    if arguments[:1] == ["predict"]:
        return predict(tyro.cli(PredictConfig, args=arguments[1:], prog=f"{PROGRAM} predict"))
    config, resumed = training.parse_command(Config, arguments, description=__doc__ or "", program=PROGRAM)
    return train(config, resumed)


if __name__ == "__main__":
    errors = (ValueError, OSError, FloatingPointError, ModuleNotFoundError, training.CheckpointError)
    training.run_script(main, errors)
