"""Trains a tagger of sequences and shows how good it is; or tags sentences with a trained one.

Train on lines of Python's own source, without any download: does a character belong to a name, a keyword, a
number, a string, a comment or an operator?

    python train/sequence_tagging.py

On names, parts of speech or chunks in files of CoNLL's columns, with characters and published word vectors:

    python train/sequence_tagging.py --data.source conll --data.root eng.train --data.val eng.testa \\
        --data.test eng.testb --model.characters --model.vectors glove.6B.100d.txt

Tag lines of text:

    python train/sequence_tagging.py predict program.py --weights runs/python-lstm-1/weights.safetensors \\
        --text "print('a # b')  # note"
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
from jaxvision.core import refuse_unread, write_atomically
from jaxvision.data import TaggedSentence, Vocabulary
from jaxvision.metrics import SpanTags, read_span_tags
from jaxvision.sequence import SequenceTagger
from jaxvision.tasks.scripts import Trainer, explain_end, read_run_metadata, write_run_weights
from jaxvision.tasks.sequence_tagging import sequence_tagging_task, tagger_inputs
from jaxvision.tasks.tagging_options import (
    PreparedSentences,
    TaggingData,
    TagVocabularies,
    build_vocabularies,
    encode_sentences,
)
from jaxvision.tasks.tagging_report import write_tagging_report
from jaxvision.tasks.text_inputs import gather_texts, predict_rows
from jaxvision.tasks.text_vocabulary import (
    VOCABULARY,
    check_resumed_vocabulary,
    embedding_width,
    load_vectors,
    with_vectors,
)

PROGRAM = "train/sequence_tagging.py"
EMBEDDING = "embedding/embedding"  # the table in the parameters
FILES = (VOCABULARY, "tags.txt", "characters.txt")  # of the vocabularies, in the run's folder


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The network."""

    cell: Literal["rnn", "gru", "lstm"] = "lstm"
    """Recurrent network over the tokens, both ways."""
    features: int = 64
    """Units of a layer and direction."""
    layers: int = 1
    """Recurrent layers."""
    crf: bool = True
    """Score neighbouring tags too: a conditional random field."""
    characters: bool = False
    """Look at the characters of the tokens too; of no use where tokens are characters."""
    embedding: int | None = None
    """Width of the tokens' vectors; by default 50, or that of --model.vectors."""
    character_features: int = 25
    """Width of the characters' vectors, and units of their LSTM in each direction."""
    dropout: float = 0.2
    """Dropout rate into, between and out of the recurrent layers."""
    vectors: Path | None = None
    """Start from these word vectors: a file of word2vec's text or binary format, or of GloVe's."""
    bfloat16: bool = False
    """Compute in bfloat16; parameters, scores and losses stay float32."""

    def __post_init__(self) -> None:
        if not self.characters:
            why, remedy = "is not read without the characters of tokens", "give --model.characters"
            refuse_unread(self, ("character_features",), prefix="model.", why=why, remedy=remedy)


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run."""

    data: TaggingData = dataclasses.field(default_factory=TaggingData)
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    optimizer: optimizers.OptimizerOptions = dataclasses.field(
        default_factory=lambda: optimizers.OptimizerOptions(learning_rate=5e-3, clip_norm=5.0)
    )
    run: training.RunOptions = dataclasses.field(
        default_factory=lambda: training.RunOptions(
            steps=600, log_every=50, eval_every=200, checkpoint_every=200
        )
    )


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Tags lines of text: writes tags.conll, a token and its tag a line."""

    weights: Path
    """weights.safetensors of a run."""
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Files with a sentence a line, tokens apart by blanks; for a run on python, source text."""
    text: tuple[str, ...] = ()
    """Sentences themselves."""
    encoding: str = "utf-8"
    """Of the files."""
    out: Path = Path("predictions")
    """Folder for the results."""
    batch_size: int = 32
    """Sentences that are tagged at once."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that is made from a configuration before anything is trained."""

    config: Config
    sentences: PreparedSentences
    spans: SpanTags | None
    placement: training.Placement
    task: training.Task
    table: np.ndarray | None


def build_model(options: ModelOptions, vocabularies: TagVocabularies, *, width: int | None) -> SequenceTagger:
    """The network; ``width`` is that of the tokens' vectors where they come from a file."""
    characters = vocabularies.characters
    return SequenceTagger(
        len(vocabularies.tokens),
        len(vocabularies.tags),
        character_vocabulary_size=None if characters is None else len(characters),
        embedding_features=embedding_width(options.embedding, width, vectors=options.vectors, usual=50),
        character_features=options.character_features,
        cell=options.cell,
        features=options.features,
        num_layers=options.layers,
        dropout_rate=options.dropout,
        use_crf=options.crf,
        dtype=jnp.bfloat16 if options.bfloat16 else None,
    )


def prepare(config: Config, resumed: Path | None) -> Setup:
    """Reads the sentences and builds the network; whatever does not fit is said here."""
    placement = training.open_placement(config.run)
    placement.check_batch_size(config.data.batch_size)
    parts = config.data.open_parts()
    vocabularies = build_vocabularies(config.data, parts.train, characters=config.model.characters)
    for vocabulary, file in zip(vocabularies, FILES, strict=True):
        if vocabulary is not None:
            check_resumed_vocabulary(vocabulary, resumed, file=file)
    sentences = PreparedSentences(config.data, vocabularies, parts)
    table = load_vectors(
        config.model.vectors,
        vocabularies.tokens,
        seed=config.run.seed,
        width=config.model.embedding,
        resumed=resumed,
    )
    model = build_model(config.model, vocabularies, width=None if table is None else table.shape[1])
    if table is not None:  # the width is part of the run, which then goes on without the file
        options = dataclasses.replace(config.model, embedding=table.shape[1])
        config = dataclasses.replace(config, model=options)
    spans = read_span_tags(vocabularies.tags.tokens)
    task = sequence_tagging_task(
        model,
        num_tags=len(vocabularies.tags),
        spans=spans,
        length=config.data.max_length,
        letters=config.data.letters if config.model.characters else None,
    )
    return Setup(config, sentences, spans, placement, task, table)


def describe(setup: Setup, folder: Path) -> None:
    """Says what the network sees of the sentences."""
    sentences = setup.sentences
    tokens, tags, _ = sentences.vocabularies
    crf = " with a CRF" if setup.config.model.crf else ""
    print(
        f"{folder}: {setup.config.model.cell}{crf}, {len(tokens):,} tokens, {len(tags)} tags, "
        f"{setup.placement.num_devices} device(s)"
    )
    for name, encoded in zip(("training", "validation", "test"), sentences.encoded, strict=True):
        count = encoded.lengths.sum()
        unknown = (encoded.arrays["tokens"] == 1).sum() / max(count, 1)
        print(
            f"  {len(encoded.lengths):,} {name} sentences: {encoded.cut:,} cut to "
            f"{sentences.options.max_length} tokens, {100 * unknown:.1f} % of {count:,} tokens unknown"
        )


def train(config: Config, resumed: Path | None) -> int:
    """Trains, evaluates and reports; returns the exit code."""
    setup = prepare(config, resumed)
    config = setup.config
    parts = setup.sentences.parts
    metric = "accuracy" if setup.spans is None else "span_f1"
    trainer = Trainer(
        setup.task,
        setup.placement,
        data=setup.sentences,
        optimizer=config.optimizer,
        run=config.run,
        metric=metric,
        inputs=tagger_inputs,
        unit="sentences",
    )
    batches = setup.sentences.batches(parts.train, seed=config.run.seed)
    variables = None
    if setup.table is not None:
        variables = with_vectors(trainer.initialise(config.run.seed), setup.table, path=EMBEDDING)
    folder = training.open_folder(config, f"{config.data.source}-{config.model.cell}", resumed)
    for vocabulary, file in zip(setup.sentences.vocabularies, FILES, strict=True):
        if vocabulary is not None and training.is_first_process():
            vocabulary.save(folder / file)
    describe(setup, folder)
    progress = trainer.fit(
        batches, folder, resumed=resumed is not None, validation=parts.validation, variables=variables
    )
    if code := explain_end(progress, folder, program=PROGRAM):
        return code
    report(setup, trainer, progress.state, folder, metric)
    return 0


def report(setup: Setup, trainer: Trainer, state: training.TrainState, folder: Path, metric: str) -> None:
    """Writes weights, scores, tables and pictures into the run's folder."""
    test = setup.sentences.parts.test
    scores, counts = trainer.evaluate(state, test)
    variables = trainer.host_variables(state)
    if not training.is_first_process():
        return
    tags = setup.sentences.vocabularies.tags
    write_tagging_report(folder, scores, counts, tags.tokens, setup.spans, metric=metric, sentences=len(test))
    tokens, _, characters = setup.sentences.vocabularies
    write_run_weights(
        folder,
        setup.config,
        variables,
        tags.tokens,
        vocabulary=list(tokens.tokens),
        characters=None if characters is None else list(characters.tokens),
        embedding=variables["params"]["embedding"]["embedding"].shape[1],
    )
    print(f"weights, tables and pictures are in {folder}")


def predict(config: PredictConfig) -> int:
    """Tags the sentences; a file that cannot be read is named, and the others are still done."""
    trained, metadata = read_run_metadata(config.weights, Config)
    letters = metadata["characters"]
    vocabularies = TagVocabularies(
        Vocabulary(metadata["vocabulary"]),
        Vocabulary(metadata["class_names"]),
        None if letters is None else Vocabulary(letters),
    )
    model = build_model(trained.model, vocabularies, width=metadata["embedding"])
    variables = weights.read_variables(config.weights)
    documents, broken = gather_texts(config.paths, config.text, by="line", encoding=config.encoding)
    first = vocabularies.tags.tokens[0]
    sentences = []
    for document in documents:
        tokens = tuple(document.text) if trained.data.source == "python" else tuple(document.text.split())
        sentences.append(TaggedSentence(document.name, tokens, (first,) * len(tokens)))
    longest = max((len(sentence.tokens) for sentence in sentences), default=1)
    data = dataclasses.replace(trained.data, max_length=longest)  # every token gets its tag
    encoded = encode_sentences(sentences, vocabularies, data)
    inputs = {name: array for name, array in encoded.arrays.items() if name != "labels"}

    @jax.jit
    def tag(batch: dict[str, Any]) -> jax.Array:
        found: Any = model.apply(variables, batch, train=False)
        return found.decode()

    lines = []
    rows = predict_rows(tag, inputs, batch_size=config.batch_size)
    for sentence, row, length in zip(sentences, rows, encoded.lengths, strict=True):
        tags = vocabularies.tags.decode(row[:length])
        lines += [f"{token}\t{tag}\n" for token, tag in zip(sentence.tokens, tags, strict=True)]
        lines.append("\n")
    text = "".join(lines)
    path = write_atomically(config.out / "tags.conll", lambda file: file.write(text.encode()))
    print(f"{len(sentences)} sentences -> {path}")
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
