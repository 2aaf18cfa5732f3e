"""Learns vectors of words, of documents or of the items of baskets, and shows what they know.

Train on the documentation that comes with Python, without any download:

    python train/word2vec.py

On text of your own; as CBOW with the hierarchical softmax; vectors of documents; of items bought together:

    python train/word2vec.py --data.source files --data.paths books/ notes.txt
    python train/word2vec.py --model.kind cbow --model.loss hierarchical
    python train/word2vec.py --model.kind pv-dm --data.source files --data.paths articles/
    python train/word2vec.py --model.kind item2vec --data.source files --data.paths baskets.txt

Ask for neighbours, in any file of word2vec's or GloVe's formats; for analogies; find vectors of new
documents:

    python train/word2vec.py neighbours --vectors runs/python-skipgram-1/vectors.bin list string
    python train/word2vec.py neighbours --vectors vectors.bin --analogy man king woman
    python train/word2vec.py infer --run runs/files-pv-dm-1 new.txt
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
from jaxvision.core import refuse_unread
from jaxvision.data import (
    IndexedText,
    PackedText,
    Vocabulary,
    array_checksum,
    check_same_vocabulary,
    prefetch_to_device,
)
from jaxvision.sequence import Word2Vec, WordCorpus, WordSpace, infer_documents, word_corpus
from jaxvision.tasks.report_files import print_table, write_scores
from jaxvision.tasks.scripts import explain_end, write_run_weights
from jaxvision.tasks.text_options import TextData
from jaxvision.tasks.word_options import WordModelOptions, WordReportOptions, WordTrainOptions
from jaxvision.tasks.word_report import (
    check_word_report,
    document_names,
    evaluate_words,
    neighbour_rows,
    write_word_report,
)
from jaxvision.tasks.word_training import ChunkBatches, compile_word_step, mean_loss, word_table, word_task

PROGRAM = "train/word2vec.py"
VOCABULARY = "vocabulary.txt"  # in the run's folder
DOCUMENTS = "documents.txt"


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run."""

    data: TextData = dataclasses.field(default_factory=TextData)
    model: WordModelOptions = dataclasses.field(default_factory=WordModelOptions)
    train: WordTrainOptions = dataclasses.field(default_factory=WordTrainOptions)
    report: WordReportOptions = dataclasses.field(default_factory=WordReportOptions)
    run: training.RunOptions = dataclasses.field(
        default_factory=lambda: training.RunOptions(steps=0, log_every=5, eval_every=50, checkpoint_every=50)
    )
    """A step is a chunk of the text; 0 steps, the default, are as many as --train.epochs take."""


@dataclasses.dataclass(frozen=True)
class NeighboursConfig:
    """Lists the nearest words; or with --analogy answers "A is to B as C is to"."""

    words: Annotated[tuple[str, ...], tyro.conf.Positional]
    """The words to ask for."""
    vectors: Path
    """A file of word2vec's text or binary format, or of GloVe's."""
    analogy: bool = False
    """Take three words as A, B and C."""
    method: str = "add"
    """Of analogies: add (3CosAdd) or mul (3CosMul)."""
    top: int = 10
    """Words to list."""
    limit: int | None = None
    """Read only the first words of the file, the most frequent ones; by default all."""


@dataclasses.dataclass(frozen=True)
class InferConfig:
    """Finds vectors of documents that a run of pv-dm or pv-dbow has not seen, and the nearest that it has."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Text files, or folders of them."""
    run: Path
    """Folder of the run."""
    out: Path = Path("documents.txt")
    """File for the vectors, in word2vec's text format."""
    epochs: int = 20
    """Passes over the documents."""
    seed: int = 0
    """Of the vectors that they start from, and of the noise."""
    top: int = 5
    """Nearest documents of the run to list."""

    def __post_init__(self) -> None:
        for name in ("epochs", "top"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected 1 or more")


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that is made from a configuration before anything is trained."""

    config: Config
    placement: training.Placement
    text: IndexedText
    vocabulary: Vocabulary
    packed: PackedText
    model: Word2Vec
    corpus: WordCorpus
    schedule: optax.Schedule


def prepare(config: Config, resumed: Path | None) -> Setup:
    """Reads the text and makes the model; whatever does not fit is said here."""
    if resumed is None and config.model.loss == "hierarchical":
        noise = ("negatives", "shared_negatives")
        why = "is not read beside --model.loss hierarchical"
        refuse_unread(config.model, noise, prefix="model.", why=why, remedy="change that")
    placement = training.open_placement(config.run)
    training.check_one_process(PROGRAM)
    placement.check_batch_size(config.train.batch_size)
    text = config.data.read(baskets=config.model.has_baskets)
    vocabulary = Vocabulary.build(
        text.counts(), min_count=config.data.min_count, max_size=config.data.max_size
    )
    check_word_report(config.report, vocabulary)
    if resumed is not None and (resumed / VOCABULARY).exists():
        check_same_vocabulary(vocabulary, Vocabulary.load(resumed / VOCABULARY), name=str(resumed))
    packed = text.pack(vocabulary)
    lengths = np.bincount(packed.documents, minlength=len(text.document_names))
    model = config.model.build(len(vocabulary), lengths, batch_size=config.train.batch_size)
    corpus = word_corpus(
        model,
        *packed,
        vocabulary.counts,
        chunk_size=config.train.chunk_size,
        subsample=config.train.subsample,
    )
    steps = config.run.steps or config.train.epochs * len(corpus.starts)
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, steps=steps))
    schedule = config.train.schedule(config.model.kind, steps=steps)
    return Setup(config, placement, text, vocabulary, packed, model, corpus, schedule)


def train(config: Config, resumed: Path | None) -> int:
    """Trains and reports; returns the exit code."""
    setup = prepare(config, resumed)
    config, model, placement = setup.config, setup.model, setup.placement
    step = compile_word_step(model, setup.corpus, placement, setup.schedule)
    folder = training.open_folder(config, f"{config.data.source}-{config.model.kind}", resumed)
    setup.vocabulary.save(folder / VOCABULARY)
    print(
        f"{folder}: {config.model.kind} on {len(setup.packed.tokens):,} words, {len(setup.vocabulary):,} of "
        f"them different, {placement.num_devices} device(s)"
    )
    batches = ChunkBatches(
        len(setup.corpus.starts),
        seed=config.run.seed,
        copies=placement.num_devices,
        checksum=array_checksum(*setup.packed),
    )
    progress = training.train(
        word_task(model, setup.corpus),
        optax.identity(),
        prefetch_to_device(batches, placement.shard),
        placement,
        config.run,
        folder,
        resumed=resumed is not None,
        batch_size=setup.corpus.num_words // len(setup.corpus.starts),
        metric="similarity",
        evaluate=evaluation(setup),
        learning_rate=setup.schedule,
        step=step,
        unit="words",
    )
    if code := explain_end(progress, folder, program=PROGRAM):
        return code
    report(setup, placement.fetch(progress.state.params), folder)
    return 0


def evaluation(setup: Setup) -> Any:
    """``state -> scores`` by the pairs of words of the report's options; None without such."""
    options = setup.config.report
    if options.similarity is None:
        return None

    def evaluate(state: training.TrainState) -> dict[str, float]:
        vectors = np.asarray(word_table(setup.placement.fetch(state.params)))
        return evaluate_words(WordSpace(setup.vocabulary, vectors), options, analogies=False)

    return evaluate


def report(setup: Setup, tables: Any, folder: Path) -> None:
    """Writes vectors, scores, tables and pictures into the run's folder."""
    config, model = setup.config, setup.model
    write_run_weights(folder, config, {"params": tables}, ())
    scores: dict[str, Any] = {
        "loss": mean_loss(model, tables, setup.corpus),
        "words": len(setup.packed.tokens),
        "different_words": len(setup.vocabulary),
    }
    if model.has_documents:
        names = document_names(setup.text.document_names)
        weights.write_word_vectors(folder / DOCUMENTS, names, np.asarray(tables["documents"]))
        scores["documents"] = len(names)
    if model.kind == "pv_dbow" and model.loss == "hierarchical":
        write_scores(folder / "scores.json", scores)
        print(
            f"{folder}: pv-dbow with the tree has no vectors of words; {DOCUMENTS} holds those of documents"
        )
        return
    space = WordSpace(setup.vocabulary, np.asarray(word_table(tables)))
    write_word_report(folder, space, config.report, subsample=config.train.subsample, scores=scores)
    print(f"vectors, tables and pictures are in {folder}")


def neighbours(config: NeighboursConfig) -> int:
    """Answers from a file of vectors."""
    if not config.words:
        raise ValueError("neighbours: no word to ask for; name one or more behind the options")
    read = weights.read_word_vectors(config.vectors, limit=config.limit)
    space = WordSpace(Vocabulary(read.words), read.vectors)
    top = min(config.top, len(read.words) - (3 if config.analogy else 1))
    if not config.analogy:
        rows = neighbour_rows(space, config.words, k=top)
        for row in rows:
            listed = [{"word": row[f"neighbour{n}"], "cosine": row[f"cosine{n}"]} for n in range(1, top + 1)]
            print_table(row["word"], listed, {}, headings={"word": "word", "cosine": "cosine"})
        return 0
    if len(config.words) != 3:
        raise ValueError(f"--analogy: expected three words, A B C, got {len(config.words)}")
    a, b, c = config.words
    found = space.analogy(a, b, c, k=top, method=config.method)
    rows = [{"word": word, "score": score} for word, score in found]
    print_table(f"{a} is to {b} as {c} is to", rows, {}, headings={"word": "word", "score": "score"})
    return 0


def infer(config: InferConfig) -> int:
    """Vectors of new documents, and the documents of the run that are nearest."""
    if not (config.run / "config.json").exists():
        raise ValueError(f"--run {config.run}: no run in this folder (it has no config.json)")
    trained = training.load_config(Config, config.run / "config.json")
    if not trained.model.has_documents:
        raise ValueError(f"--run {config.run}: {trained.model.kind} has no vectors of documents")
    tables = weights.read_variables(config.run / "weights.safetensors")["params"]
    vocabulary = Vocabulary.load(config.run / VOCABULARY)
    text = trained.data.of_files(config.paths, baskets=False).read(baskets=False)
    packed = text.pack(vocabulary)
    lengths = np.bincount(packed.documents, minlength=len(text.document_names))
    model = trained.model.build(len(vocabulary), lengths, batch_size=trained.train.batch_size)
    options = trained.train
    corpus = word_corpus(
        model, *packed, vocabulary.counts, chunk_size=options.chunk_size, subsample=options.subsample
    )
    vectors = infer_documents(
        model,
        jax.tree.map(np.asarray, tables),
        corpus,
        seed=config.seed,
        epochs=config.epochs,
        learning_rate=options.rate(trained.model.kind),
    )
    names = document_names(text.document_names)
    weights.write_word_vectors(config.out, names, vectors)
    known = weights.read_word_vectors(config.run / DOCUMENTS)
    both = WordSpace(
        Vocabulary(document_names([*known.words, *names])), np.concatenate([known.vectors, vectors])
    )
    for name, length in zip(both.vocabulary.tokens[len(known.words) :], lengths, strict=True):
        if length == 0:
            print(f"{name}: no word of it is in the run's vocabulary")
            continue
        nearest = both.nearest(name, k=min(config.top + len(names), len(both.vocabulary) - 1))
        rows = [{"document": other, "cosine": cosine} for other, cosine in nearest if other in known.words]
        print_table(name, rows[: config.top], {}, headings={"document": "document", "cosine": "cosine"})
    print(f"{len(names)} document(s) -> {config.out}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Trains, or does what the first word says."""
    if arguments[:1] == ["neighbours"]:
        return neighbours(tyro.cli(NeighboursConfig, args=arguments[1:], prog=f"{PROGRAM} neighbours"))
    if arguments[:1] == ["infer"]:
        return infer(tyro.cli(InferConfig, args=arguments[1:], prog=f"{PROGRAM} infer"))
    config, resumed = training.parse_command(Config, arguments, description=__doc__ or "", program=PROGRAM)
    return train(config, resumed)


if __name__ == "__main__":
    training.run_script(main, (ValueError, OSError, FloatingPointError, training.CheckpointError))
