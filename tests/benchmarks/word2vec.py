"""Times word2vec here and in gensim on one text, and compares what both have learned.

    python tests/benchmarks/word2vec.py                            # where jax and gensim are installed
    python tests/benchmarks/word2vec.py --gensim-python PATH       # gensim in another environment
    python tests/benchmarks/word2vec.py --source ptb --paths ptb.zip
    python tests/benchmarks/word2vec.py --source files --paths text8

The text, by default the documentation that comes with Python, is written to a file of one sentence a line,
which all peers read. Each peer runs in a process of its own, on as many cores as ``--threads`` says, one
after the other, once a seed. A figure counts the words of the text as it is, before any is left out, times
the epochs, over the seconds of training alone: reading, counting and compiling are not in it. gensim runs
twice, as it reads sentences from a list (the usual way) and from a file (its fastest, threads without
Python's lock); the ratio is to the faster one.

Quality is Spearman's correlation of the cosines with

* ``ppmi``: the cosines of the rows of the text's own positive pointwise mutual information (counts in the
  same windows, weighed by distance as the dynamic window does), over pairs of words that training thins out
  little: near ones and random ones. Levy and Goldberg 2014, *Neural Word Embedding as Implicit Matrix
  Factorization*, say why it is what word2vec should find;
* ``wordsim``, ``simlex``: people's scores, WordSim-353 and SimLex-999, as they ship with gensim's own tests,
  on the pairs that the text knows.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PEERS = ("jaxvision", "gensim, list", "gensim, file")
PAIRS = {"wordsim": "wordsim353.tsv", "simlex": "simlex999.txt"}
CHUNK = 32768


def write_corpus(options: argparse.Namespace, path: Path) -> int:
    """Writes one sentence a line; returns how many words there are."""
    from jaxvision.tasks import TextData

    paths = tuple(Path(name) for name in options.paths)
    text = TextData(source=options.source, paths=paths).read(baskets=False)
    words = [text.types[index] for index in text.tokens]
    with path.open("w") as file:
        start = 0
        for length in text.sentence_lengths:
            file.write(" ".join(words[start : start + length]) + "\n")
            start += length
    return len(words)


def read_corpus(path: Path, min_count: int) -> Any:
    """Packed text and vocabulary."""
    from jaxvision.data import Document, Vocabulary, index_text

    document = Document("corpus", path.read_text())
    text = index_text([document], str.split, sentences=str.splitlines)
    vocabulary = Vocabulary.build(text.counts(), min_count=min_count)
    return text.pack(vocabulary), vocabulary


def train_jaxvision(options: argparse.Namespace) -> float:
    """Trains, writes the vectors, returns seconds."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxvision.sequence import Word2Vec, train_chunk, word_corpus
    from jaxvision.weights import write_word_vectors

    packed, vocabulary = read_corpus(Path(options.corpus), options.min_count)
    model = Word2Vec(
        len(vocabulary),
        options.kind,
        options.loss,
        features=options.features,
        window=options.window,
        negatives=options.negatives,
        batch_size=options.batch_size,
        shared_negatives=options.shared_negatives,
    )
    corpus = word_corpus(
        model, *packed, vocabulary.counts, chunk_size=CHUNK, subsample=options.subsample or None
    )
    chunks = len(corpus.starts)
    steps = options.epochs * chunks
    size = corpus.chunk_size

    @functools.partial(jax.jit, donate_argnums=0)
    def train(tables: Any, corpus: Any, chunk: Any, step: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(options.seed), step)
        rate = options.learning_rate * (1.0 - step / steps)
        return train_chunk(model, tables, corpus, chunk, key, rate, chunk_size=size).tables

    tables = jax.jit(model.init)(jax.random.key(options.seed))
    program = train.lower(tables, corpus, np.int32(0), np.int32(0)).compile()
    rng = np.random.default_rng(options.seed)
    jax.block_until_ready((tables, corpus))
    start = time.perf_counter()
    for epoch in range(options.epochs):
        for place, chunk in enumerate(rng.permutation(chunks).astype(np.int32)):
            tables = program(tables, corpus, chunk, np.int32(epoch * chunks + place))
    jax.block_until_ready(tables)
    seconds = time.perf_counter() - start
    assert bool(jnp.isfinite(tables["input"]).all())
    write_word_vectors(options.vectors, vocabulary.tokens, np.asarray(tables["input"]), format="binary")
    return seconds


def train_gensim(options: argparse.Namespace, *, as_list: bool) -> float:
    """Trains, writes the vectors, returns seconds."""
    from gensim.models import Word2Vec
    from gensim.models.word2vec import LineSentence

    tree = options.loss == "hierarchical"
    model = Word2Vec(
        vector_size=options.features,
        window=options.window,
        min_count=options.min_count,
        sample=options.subsample,
        sg=int(options.kind == "skipgram"),
        hs=int(tree),
        negative=0 if tree else options.negatives,
        alpha=options.learning_rate,
        workers=options.threads,
        seed=options.seed + 1,
        epochs=options.epochs,
    )
    source: dict[str, Any] = {"corpus_file": options.corpus}
    if as_list:
        source = {"corpus_iterable": list(LineSentence(options.corpus))}
    model.build_vocab(**source)
    start = time.perf_counter()
    model.train(
        **source,
        total_examples=model.corpus_count,
        total_words=model.corpus_total_words,
        epochs=options.epochs,
    )
    seconds = time.perf_counter() - start
    model.wv.save_word2vec_format(options.vectors, binary=True)
    return seconds


def serve(options: argparse.Namespace) -> None:
    """A peer's process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if options.serve == "jaxvision":
        seconds = train_jaxvision(options)
    else:
        seconds = train_gensim(options, as_list=options.serve == "gensim, list")
    print(json.dumps({"seconds": seconds}))


def ppmi_pairs(path: Path, options: argparse.Namespace) -> list[tuple[str, str, float]]:
    """Pairs of words with the cosines of their rows of positive pointwise mutual information."""
    import numpy as np
    from scipy import sparse

    from jaxvision.tasks.word_report import telling_words

    packed, vocabulary = read_corpus(path, options.min_count)
    size = len(vocabulary)
    counts = sparse.csr_matrix((size, size))
    for distance in range(1, options.window + 1):
        near = packed.sentences[distance:] == packed.sentences[:-distance]
        places = (packed.tokens[:-distance][near], packed.tokens[distance:][near])
        weight = np.full(len(places[0]), (options.window + 1 - distance) / options.window)
        counts = counts + sparse.coo_matrix((weight, places), (size, size)).tocsr()
    counts = (counts + counts.T).tocoo()
    sums = np.asarray(counts.sum(axis=1)).ravel()
    information = np.log(counts.data * sums.sum() / (sums[counts.row] * sums[counts.col]))
    kept = information > 0
    rows = sparse.csr_matrix((information[kept], (counts.row[kept], counts.col[kept])), (size, size))
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    chosen = telling_words(vocabulary, options.subsample or None)[:600]
    unit = sparse.diags(1 / np.maximum(norms[chosen], 1e-12)) @ rows[chosen]
    cosines = (unit @ unit.T).toarray()
    rng, pairs = np.random.default_rng(0), []
    for first, row in enumerate(cosines):
        others = {*np.argsort(-row)[1:11].tolist(), *rng.choice(len(chosen), 10).tolist()} - {first}
        pairs += [(first, second) for second in sorted(others) if second > first or first not in others]
    names = [vocabulary.tokens[index] for index in chosen]
    return [(names[first], names[second], float(cosines[first, second])) for first, second in pairs]


def human_pairs(python: str) -> dict[str, list[tuple[str, str, float]]]:
    """The lists that ship with gensim."""
    from jaxvision.data import read_word_pairs

    command = "from gensim.test.utils import datapath; print(datapath('x'))"
    shown = subprocess.run([python, "-c", command], capture_output=True, text=True, check=True)
    folder = Path(shown.stdout.strip()).parent
    return {name: read_word_pairs(folder / file) for name, file in PAIRS.items() if (folder / file).exists()}


def run_peer(peer: str, seed: int, corpus: Path, options: argparse.Namespace) -> tuple[float, Any]:
    """Seconds of a peer, and its words and vectors."""
    from jaxvision.data import Vocabulary
    from jaxvision.sequence import WordSpace
    from jaxvision.weights import read_word_vectors

    python = sys.executable if peer == "jaxvision" else options.gensim_python
    vectors = corpus.with_name("vectors.bin")
    given = [*sys.argv[1:], "--serve", peer, "--seed", str(seed)]
    command = [python, __file__, *given, "--corpus", str(corpus), "--vectors", str(vectors)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = read_word_vectors(vectors, format="binary")
    return json.loads(done.stdout)["seconds"], WordSpace(Vocabulary(found.words), found.vectors)


def compare(options: argparse.Namespace) -> None:
    """Runs the peers and prints a markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        words = write_corpus(options, corpus)
        sets = {"ppmi": ppmi_pairs(corpus, options), **human_pairs(options.gensim_python)}
        speeds: dict[str, list[float]] = {peer: [] for peer in options.peers}
        scores: dict[str, dict[str, list[float]]] = {peer: {name: [] for name in sets} for peer in speeds}
        known = {}
        for seed in range(options.seeds):
            for peer in options.peers:
                seconds, space = run_peer(peer, seed, corpus, options)
                speeds[peer].append(options.epochs * words / seconds)
                for name, pairs in sets.items():
                    score, known[name] = space.rank_correlation(pairs)
                    scores[peer][name].append(score)
    print(f"{options.source}: {words:,} words, {options.epochs} epochs, {options.kind}, {options.loss}")
    headings = [f"{name} ({known[name]} pairs)" for name in sets]
    print(f"| peer | words/s | {' | '.join(headings)} |\n|---|---:|{'---:|' * len(sets)}")
    for peer, found in scores.items():
        shown = [f"{statistics.mean(values):.3f}±{_spread(values):.3f}" for values in found.values()]
        print(f"| {peer} | {statistics.median(speeds[peer]):,.0f} | {' | '.join(shown)} |")
    medians = {peer: statistics.median(values) for peer, values in speeds.items()}
    theirs = [speed for peer, speed in medians.items() if peer != "jaxvision"]
    if theirs and "jaxvision" in medians:
        print(f"jaxvision / gensim's faster way: {medians['jaxvision'] / max(theirs):.2f}")
    if options.output:
        Path(options.output).write_text(json.dumps({"words_per_second": speeds, "scores": scores}, indent=1))


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def main() -> None:
    """Compares the peers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", choices=("python", "files", "ptb"), default="python")
    parser.add_argument("--paths", nargs="*", default=[], help="of files or ptb, as in train/word2vec.py")
    parser.add_argument("--kind", choices=("skipgram", "cbow"), default="skipgram")
    parser.add_argument("--loss", choices=("negative", "hierarchical"), default="negative")
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--negatives", type=int, default=5)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--subsample", type=float, default=1e-3, help="0 keeps every word")
    parser.add_argument("--learning-rate", type=float, default=0.025, help="of all peers")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=256, help="of jaxvision")
    parser.add_argument("--shared-negatives", type=int, help="of jaxvision, a batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each peer")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--gensim-python", default=sys.executable, help="interpreter with gensim")
    parser.add_argument("--output", help="write the figures to this JSON file")
    for hidden in ("--serve", "--corpus", "--vectors"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
