"""The vocabulary of a run and its vectors: checked when the run is resumed, filled from a file of vectors."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision import training, weights
from jaxvision.core import flatten_paths, name_some, unflatten_paths
from jaxvision.data import PADDING, Vocabulary, check_same_vocabulary

VOCABULARY = "vocabulary.txt"
"""Name of the file in a run's folder."""


def check_resumed_vocabulary(vocabulary: Vocabulary, resumed: Path | None, *, file: str = VOCABULARY) -> None:
    """Checks that a resumed run goes on with the tokens that it began with.

    Args:
      vocabulary: of the data at hand.
      resumed: folder of the run, or None for a new one.
      file: name of the vocabulary in the folder.

    Raises:
      ValueError: if the run in the folder has another vocabulary.
    """
    if resumed is not None and (resumed / file).exists():
        check_same_vocabulary(vocabulary, Vocabulary.load(resumed / file), name=str(resumed / file))


class VectorTable(NamedTuple):
    """Vectors for a vocabulary.

    Attributes:
      table: float32 ``[V, D]``.
      found: number of tokens that the file has a vector of.
    """

    table: np.ndarray
    found: int


def read_vector_table(
    path: Path, vocabulary: Vocabulary, *, seed: int, format: str | None = None
) -> VectorTable:
    """The vectors of a vocabulary from a file of word2vec's or GloVe's formats.

    The vector of padding is zero. A token that the file does not have gets normal numbers of the mean and
    variance that the vectors have in each of their places.

    Args:
      path: the file, as :func:`jaxvision.weights.read_word_vectors` takes it.
      vocabulary: tokens by index.
      seed: of the numbers for tokens without a vector.
      format: of the file; by default told by its name and first line.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, or has none of the tokens.

    References:
      Kim 2014, *Convolutional Neural Networks for Sentence Classification*, section 4.3: new vectors of the
      variance of the given ones.
    """
    read = weights.read_word_vectors(path, format=format)
    rows = {word: row for row, word in enumerate(read.words)}
    tokens = enumerate(vocabulary.tokens)
    known = [index for index, token in tokens if token in rows and token != PADDING]
    if not known:
        raise ValueError(
            f"{path}: none of the {len(vocabulary)} tokens of the data ({name_some(vocabulary.tokens)}) is "
            f"among its words ({name_some(read.words)}); look at --data.tokens and at the language"
        )
    rng = np.random.default_rng(seed)
    mean, deviation = read.vectors.mean(axis=0), read.vectors.std(axis=0)  # [D]
    table = rng.normal(mean, deviation, (len(vocabulary), len(mean))).astype(np.float32)  # [V, D]
    table[known] = read.vectors[[rows[vocabulary.tokens[index]] for index in known]]
    if PADDING in vocabulary:
        table[vocabulary.index(PADDING)] = 0
    return VectorTable(table, len(known))


def load_vectors(
    path: Path | None,
    vocabulary: Vocabulary,
    *,
    seed: int,
    format: str | None = None,
    width: int | None = None,
    resumed: Path | None = None,
) -> np.ndarray | None:
    """The table of :func:`read_vector_table`, and says how many tokens it has; None where none is needed.

    Args:
      path: the file, or None.
      vocabulary: as there.
      seed: as there.
      format: as there.
      width: of the network's embeddings, if it is known without the file.
      resumed: folder of the run, or None for a new one.

    Raises:
      FileNotFoundError: as there.
      ValueError: as there.
    """
    # A checkpoint holds all that a resumed run needs: the file that it once started from may be gone.
    if path is None or (width is not None and resumed is not None and training.holds_checkpoint(resumed)):
        return None
    read = read_vector_table(path, vocabulary, seed=seed, format=format)
    print(f"{path}: vectors of {read.found:,} of {len(vocabulary):,} tokens")
    return read.table


def embedding_width(given: int | None, table: int | None, *, vectors: Path | None, usual: int) -> int:
    """The width of a network's embeddings.

    Args:
      given: by the options, or None.
      table: of vectors that come from a file, or None.
      vectors: that file, for the message.
      usual: where neither says anything.

    Raises:
      ValueError: if the two differ.
    """
    if table is not None and given not in (None, table):
        raise ValueError(
            f"--model.embedding {given}: the vectors in {vectors} have {table} numbers; leave it out"
        )
    return table or given or usual


def with_vectors(variables: Any, table: np.ndarray, *, path: str) -> dict[str, Any]:
    """The variables of a network with a table of embeddings replaced.

    Args:
      variables: as the task initialises them.
      table: float32 ``[V, D]``.
      path: of the table in the parameters, such as ``"embedding/embedding"``.

    Raises:
      ValueError: if the network's table has another shape.
    """
    flat = flatten_paths(variables["params"])
    if flat[path].shape != table.shape:
        raise ValueError(
            f"vectors: {list(table.shape)} for a table of {list(flat[path].shape)}; give the network "
            f"embeddings of width {table.shape[1]}"
        )
    return {**variables, "params": unflatten_paths({**flat, path: table})}
