"""Trains a text classifier and shows how good it is; or classifies texts with a trained one.

Train on sentences of Python's own documentation, without any download: to which theme of it (files, mail,
web, the language itself, ...) does a sentence belong?

    python train/text_classification.py

As a bidirectional LSTM with attention; with published word vectors that stay as they are:

    python train/text_classification.py --model.cell lstm --model.pooling attention
    python train/text_classification.py --model.vectors glove.6B.100d.txt --model.freeze-vectors

On a table of texts and classes; on a folder that holds one folder of text files a class:

    python train/text_classification.py --data.source csv --data.root reviews.tsv
    python train/text_classification.py --data.source folder --data.root aclImdb --data.max-length 400

Classify your own texts:

    python train/text_classification.py predict letters/ --weights runs/python-mean-1/weights.safetensors \\
        --text "Return the head of the queue without removing it."
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxvision import optimizers, training, weights
from jaxvision.core import name_some, refuse_unread
from jaxvision.data import LabelledSource, Vocabulary
from jaxvision.pictures import worst_mistakes
from jaxvision.sequence import TextClassifier
from jaxvision.tasks.classification_options import Parts
from jaxvision.tasks.classification_predict import softmax, write_predictions
from jaxvision.tasks.classification_report import write_report
from jaxvision.tasks.report_files import write_table
from jaxvision.tasks.scripts import (
    Trainer,
    explain_end,
    read_run_metadata,
    write_run_weights,
)
from jaxvision.tasks.text_classification import text_classification_task
from jaxvision.tasks.text_classification_options import (
    PreparedTexts,
    TextClassificationData,
    TextLossOptions,
    encode_texts,
)
from jaxvision.tasks.text_inputs import gather_texts, predict_rows
from jaxvision.tasks.text_vocabulary import (
    VOCABULARY,
    check_resumed_vocabulary,
    embedding_width,
    load_vectors,
    with_vectors,
)

PROGRAM = "train/text_classification.py"
EMBEDDING = "embedding/embedding"  # the table in the parameters


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The network."""

    cell: Literal["none", "rnn", "gru", "lstm"] = "none"
    """Recurrent network over the words, or none: then their vectors are pooled as they are."""
    pooling: Literal["last", "mean", "max", "attention"] = "mean"
    """How the steps become one vector; last is the last state of each direction, and needs a cell."""
    embedding: int | None = None
    """Width of the word vectors; by default 100, or that of --model.vectors."""
    features: int = 128
    """Units of a layer and direction, with a cell."""
    layers: int = 1
    """Recurrent layers, with a cell."""
    bidirectional: bool = True
    """Read the text both ways, with a cell."""
    dropout: float = 0.3
    """Dropout rate of word vectors, between layers and of the pooled vector."""
    vectors: Path | None = None
    """Start from these word vectors: a file of word2vec's text or binary format, or of GloVe's."""
    vectors_format: Literal["text", "binary", "glove"] | None = None
    """Format of that file; by default told by its name and first line."""
    freeze_vectors: bool = False
    """Leave the word vectors as they are in the file; by default they are trained too."""
    bfloat16: bool = False
    """Compute in bfloat16; parameters and losses stay float32."""

    def check_read(self) -> None:
        """Raises a ValueError for an option that is given and does nothing."""
        if self.cell == "none":
            recurrent = ("features", "layers", "bidirectional")
            why = "is not read beside --model.cell none"
            refuse_unread(self, recurrent, prefix="model.", why=why, remedy="change that")
        if self.vectors is None:
            why, remedy = "is not read without word vectors", "give --model.vectors FILE"
            refuse_unread(self, ("vectors_format",), prefix="model.", why=why, remedy=remedy)


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run."""

    data: TextClassificationData = dataclasses.field(default_factory=TextClassificationData)
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    loss: TextLossOptions = dataclasses.field(default_factory=TextLossOptions)
    optimizer: optimizers.OptimizerOptions = dataclasses.field(
        default_factory=lambda: optimizers.OptimizerOptions(learning_rate=3e-3, clip_norm=1.0)
    )
    run: training.RunOptions = dataclasses.field(
        default_factory=lambda: training.RunOptions(
            steps=1500, log_every=100, eval_every=300, checkpoint_every=300
        )
    )


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Classifies texts: writes predictions.json and predictions.csv."""

    weights: Path
    """weights.safetensors of a run."""
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Text files, or folders of them."""
    text: tuple[str, ...] = ()
    """Texts themselves."""
    by: Literal["file", "line"] = "file"
    """What of a file is a text."""
    encoding: str = "utf-8"
    """Of the files."""
    out: Path = Path("predictions")
    """Folder for the results."""
    top: int = 3
    """Classes to list of each text, the most probable first."""
    batch_size: int = 64
    """Texts that are classified at once."""
    calibrated: bool = False
    """Divide the scores by the temperature that was fitted on the validation texts."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that is made from a configuration before anything is trained."""

    config: Config
    parts: Parts
    texts: PreparedTexts
    placement: training.Placement
    task: training.Task
    optimizer: optimizers.OptimizerOptions
    table: np.ndarray | None


def build_model(
    options: ModelOptions, vocabulary: Vocabulary, num_classes: int, *, width: int | None
) -> TextClassifier:
    """The network; ``width`` is that of the word vectors where they come from a file."""
    return TextClassifier(
        len(vocabulary),
        num_classes,
        embedding_features=embedding_width(options.embedding, width, vectors=options.vectors, usual=100),
        cell=None if options.cell == "none" else options.cell,
        features=options.features,
        num_layers=options.layers,
        bidirectional=options.bidirectional,
        pooling=options.pooling,
        dropout_rate=options.dropout,
        dtype=jnp.bfloat16 if options.bfloat16 else None,
    )


def prepare(config: Config, resumed: Path | None) -> Setup:
    """Reads texts and vectors and builds the network; whatever does not fit is said here."""
    if resumed is None:
        config.model.check_read()
    placement = training.open_placement(config.run)
    placement.check_batch_size(config.data.batch_size)
    parts = config.data.open_parts()
    names = parts.train.class_names
    vocabulary = config.data.build_vocabulary(parts.train)
    check_resumed_vocabulary(vocabulary, resumed)
    texts = PreparedTexts(config.data, vocabulary)
    table = load_vectors(
        config.model.vectors,
        vocabulary,
        seed=config.run.seed,
        format=config.model.vectors_format,
        width=config.model.embedding,
        resumed=resumed,
    )
    optimizer = config.optimizer
    if config.model.freeze_vectors:
        if config.model.vectors is None:
            raise ValueError("--model.freeze-vectors: there are none; give --model.vectors FILE as well")
        optimizer = dataclasses.replace(optimizer, freeze=(*optimizer.freeze, EMBEDDING))
    width = None if table is None else table.shape[1]
    model = build_model(config.model, vocabulary, len(names), width=width)
    if table is not None:  # the width is part of the run, which then goes on without the file
        options = dataclasses.replace(config.model, embedding=table.shape[1])
        config = dataclasses.replace(config, model=options)
    task = text_classification_task(model, config.loss.build(len(names)), length=config.data.max_length)
    return Setup(config, parts, texts, placement, task, optimizer, table)


def describe(setup: Setup, folder: Path) -> None:
    """Says what the network sees of the texts."""
    parts, texts = setup.parts, setup.texts
    print(
        f"{folder}: {setup.config.model.cell} and {setup.config.model.pooling} on {len(parts.train):,} texts "
        f"of {name_some(parts.train.class_names)}, {len(texts.vocabulary):,} tokens, "
        f"{setup.placement.num_devices} device(s)"
    )
    for name, source in zip(("training", "validation", "test"), parts, strict=True):
        encoded = texts.encode(source)
        print(
            f"  {len(source):,} {name} texts: {encoded.cut:,} cut to {texts.options.max_length} tokens, "
            f"{encoded.empty:,} without a token, {100 * encoded.unknown:.1f} % of the tokens unknown"
        )


def train(config: Config, resumed: Path | None) -> int:
    """Trains, evaluates and reports; returns the exit code."""
    setup = prepare(config, resumed)
    config = setup.config
    trainer = Trainer(
        setup.task,
        setup.placement,
        data=setup.texts,
        optimizer=setup.optimizer,
        run=config.run,
        metric="accuracy",
        inputs=lambda batch: batch["tokens"],
        unit="texts",
    )
    batches = setup.texts.batches(setup.parts.train, seed=config.run.seed)
    variables = None
    if setup.table is not None:
        variables = with_vectors(trainer.initialise(config.run.seed), setup.table, path=EMBEDDING)
    label = config.model.pooling if config.model.cell == "none" else config.model.cell
    folder = training.open_folder(config, f"{config.data.source}-{label}", resumed)
    if training.is_first_process():
        setup.texts.vocabulary.save(folder / VOCABULARY)
    describe(setup, folder)
    progress = trainer.fit(
        batches,
        folder,
        resumed=resumed is not None,
        validation=setup.parts.validation,
        variables=variables,
    )
    if code := explain_end(progress, folder, program=PROGRAM):
        return code
    report(setup, trainer, progress.state, folder)
    return 0


def report(setup: Setup, trainer: Trainer, state: training.TrainState, folder: Path) -> None:
    """Writes weights, scores, tables and pictures into the run's folder."""
    parts = setup.parts
    tested, validated = trainer.predict(state, parts.test), trainer.predict(state, parts.validation)
    variables = trainer.host_variables(state)
    if not training.is_first_process():
        return
    temperature = write_report(
        folder,
        parts.test,
        tested,
        held_out=(parts.validation.labels, validated),
        is_tested_apart=parts.is_tested_apart,
        unit="texts",
        write_mistakes=write_mistakes,
    )
    write_run_weights(
        folder,
        setup.config,
        variables,
        parts.train.class_names,
        vocabulary=list(setup.texts.vocabulary.tokens),
        embedding=variables["params"]["embedding"]["embedding"].shape[1],
        temperature=temperature,
    )
    print(f"weights, tables and pictures are in {folder}")


def write_mistakes(folder: Path, source: LabelledSource, logits: np.ndarray) -> None:
    """Lists the texts whose wrong class the network is surest of, as mistakes.csv."""
    probabilities = softmax(logits)
    names = source.class_names
    rows = [
        {
            "prediction": names[probabilities[index].argmax()],
            "probability": float(probabilities[index].max()),
            "truth": names[source.labels[index]],
            "name": source[index]["name"],
            "text": source[index]["text"],
        }
        for index in map(int, worst_mistakes(probabilities, source.labels, limit=50))
    ]
    if rows:
        write_table(folder / "mistakes.csv", rows)


def predict(config: PredictConfig) -> int:
    """Classifies the texts; a file that cannot be read is named, and the others are still done."""
    trained, metadata = read_run_metadata(config.weights, Config)
    names, vocabulary = tuple(metadata["class_names"]), Vocabulary(metadata["vocabulary"])
    temperature = metadata["temperature"] if config.calibrated else 1.0
    if temperature is None:
        raise ValueError(f"{config.weights}: no temperature was fitted; leave out --calibrated")
    model = build_model(trained.model, vocabulary, len(names), width=metadata["embedding"])
    variables = weights.read_variables(config.weights)
    texts, broken = gather_texts(config.paths, config.text, by=config.by, encoding=config.encoding)
    encoded = encode_texts(
        [document.text for document in texts],
        vocabulary,
        tokens=trained.data.tokens,
        length=trained.data.max_length,
    )
    logits = jax.jit(lambda batch: model.apply(variables, batch["tokens"], train=False))
    rows = predict_rows(logits, {"tokens": encoded.tokens}, batch_size=config.batch_size)
    found: list[Any] = [
        (document.name, softmax(row / temperature)) for document, row in zip(texts, rows, strict=True)
    ]
    written = write_predictions(config.out, found, names, top=config.top, kind="text")
    print(f"{len(found)} texts, {encoded.cut} of them cut -> {', '.join(map(str, written))}")
    for name, probabilities in found[:10]:
        best = int(probabilities.argmax())
        print(f"  {names[best]} ({100 * probabilities[best]:.0f} %): {name}")
    return 1 if broken else 0


def main(arguments: Sequence[str]) -> int:
    """Trains, or does what the first word says."""
    if arguments[:1] == ["predict"]:
        return predict(tyro.cli(PredictConfig, args=arguments[1:], prog=f"{PROGRAM} predict"))
    config, resumed = training.parse_command(Config, arguments, description=__doc__ or "", program=PROGRAM)
    return train(config, resumed)


if __name__ == "__main__":
    errors = (ValueError, OSError, FloatingPointError, ModuleNotFoundError, training.CheckpointError)
    training.run_script(main, errors)
