"""Records -> batches: shuffled, sharded and resumable for training; each image exactly once for evaluation.

Grain (https://google-grain.readthedocs.io) reads records and applies transforms in threads or in worker
processes. A batch is a dict of numpy arrays:

* ``images`` float32 [N, H, W, 3];
* ``labels`` int32 [N, H, W], 255 = void, of records with a ``mask``; int32 [N] of records with a ``label``;
* ``where`` bool [N], False for padding.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from jaxvision.core import VOID
from jaxvision.data.positions import check_position
from jaxvision.data.records import Record, Source, Transform

__all__ = [
    "EvalBatches",
    "TrainBatches",
    "eval_batches",
    "train_batches",
]

NO_LABEL = -1  # of a padding image: 255 would be a class of ImageNet

Batch = dict[str, np.ndarray]


def train_batches(
    source: Source,
    transform: Transform,
    *,
    batch_size: int,
    seed: int,
    num_epochs: int | None = None,
    num_workers: int = 0,
    num_threads: int = 1,
    shard_index: int = 0,
    shard_count: int = 1,
    as_bytes: bool = False,
) -> "TrainBatches":
    """An iterator over shuffled, augmented batches whose position can be saved and restored exactly.

    Each epoch is shuffled anew and cut into batches, and each batch into the parts of the shards; what is
    left of an epoch after its last full batch is dropped. The batches depend on the seed and the position
    alone: the number of workers and threads changes nothing in them. Nor does the number of shards in all
    parts of a batch, laid end to end, as long as they hold as many records together; so a position fits any
    number of shards.

    Args:
      source: random access to records with ``image``, and ``mask`` or ``label``.
      transform: called as ``transform(record, rng)``; ends with ``Normalize``. Each record of each epoch gets
        a generator of its own.
      batch_size: records in a batch of this shard.
      seed: of the shuffling and the augmentation, 0 to 2**32 - 1.
      num_epochs: ends after that many epochs; by default never.
      num_workers: processes that make batches; 0 makes them in threads of this process. A script that uses
        workers must guard its main code by ``if __name__ == "__main__"``, because they are spawned.
      num_threads: threads where there are no workers; 0 makes each batch when it is asked for.
      shard_index: which shard this process reads (``jax.process_index()``).
      shard_count: number of shards (``jax.process_count()``).
      as_bytes: the transform leaves images uint8, without ``Normalize``; the device does the rest.

    Raises:
      ValueError: if a shard of the source is smaller than a batch, or an argument is out of its range.
    """
    _check_arguments(batch_size, num_workers, num_threads, shard_index, shard_count)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: got {seed}, expected 0 to 2**32 - 1")
    if len(source) < batch_size * shard_count:
        share = len(source) // shard_count
        raise ValueError(
            f"train_batches: the source holds {len(source)} records, {share} for each of {shard_count} "
            f"shard(s), expected at least batch_size = {batch_size}; lower the batch size or add images"
        )
    dataset = grain.MapDataset.source(source).seed(seed).shuffle().random_map(transform)
    if shard_count > 1:
        dataset = _Share(dataset, batch_size, shard_index, shard_count)
    dataset = dataset.map(_bytes_example if as_bytes else _example).batch(
        batch_size, drop_remainder=True, batch_fn=_stack
    )
    identity = {"seed": seed, "num_records": len(source), "batch_size": batch_size * shard_count}
    return TrainBatches(
        dataset,
        identity,
        shard_count=shard_count,
        num_epochs=num_epochs,
        num_workers=num_workers,
        num_threads=num_threads,
    )


class _Share(grain.MapDataset[Record]):
    """One shard's part of every batch, all of them contiguous: rows 4 to 7 of 8 are those of shard 1 of 2."""

    def __init__(
        self, parent: "grain.MapDataset[Record]", batch_size: int, shard_index: int, shard_count: int
    ) -> None:
        super().__init__(parent)
        self._records = parent
        self._batch_size = batch_size
        self._shard_index = shard_index
        self._shard_count = shard_count

    def __len__(self) -> int:
        return len(self._records) // (self._batch_size * self._shard_count) * self._batch_size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        epoch, place = divmod(index, len(self))
        number, row = divmod(place, self._batch_size)
        first = (number * self._shard_count + self._shard_index) * self._batch_size
        return self._records[epoch * len(self._records) + first + row]


class TrainBatches(Iterator[Batch]):
    """What :func:`train_batches` returns: an iterator with ``get_state``, ``set_state`` and ``close``.

    Attributes:
      batches_per_epoch: number of batches in an epoch.
      shard_count: in how many parts each batch is read; this is one of them.
    """

    def __init__(
        self,
        dataset: "grain.MapDataset[Batch]",
        identity: dict[str, int],
        *,
        num_epochs: int | None,
        num_workers: int,
        num_threads: int,
        shard_count: int = 1,
    ) -> None:
        self.batches_per_epoch = len(dataset)
        self.shard_count = shard_count
        self._dataset = dataset.repeat(num_epochs)
        self._identity = identity
        self._num_workers = num_workers
        self._num_threads = num_threads
        self._next_batch = 0
        self._reader: grain.DatasetIterator[Batch] | None = None

    def __next__(self) -> Batch:
        if self._next_batch >= len(self._dataset):
            raise StopIteration
        if self._reader is None:
            rest = self._dataset.slice(slice(self._next_batch, None))
            self._reader = iter(_read(rest, num_workers=self._num_workers, num_threads=self._num_threads))
        batch = next(self._reader)
        self._next_batch += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """The position, as a dict of ints that goes into JSON or a checkpoint.

        A batch is a function of its number, so its number is the whole state; the rest says what the
        number counts.
        """
        return {"next_batch": self._next_batch, **self._identity}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes to a position: the next batches are those that followed ``get_state``, bit for bit.

        Raises:
          ValueError: if the state is of batches made with another seed, source size, or size over all shards.
        """
        check_position(state, self._identity)
        self.close()
        self._next_batch = int(state["next_batch"])

    def close(self) -> None:
        """Stops threads and worker processes; the next call of ``next`` starts them again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def eval_batches(
    source: Source,
    transform: Transform,
    *,
    batch_size: int,
    num_workers: int = 0,
    num_threads: int = 1,
    shard_index: int = 0,
    shard_count: int = 1,
) -> "EvalBatches":
    """Batches in fixed order, to be iterated any number of times; over all shards each image comes once.

    The last batch is padded to ``batch_size``: ``where`` is False there, images 0, labels 255 (void) of masks
    and -1 of whole images. All shards give the same number of batches, so that processes stay in step.
    ``index`` int32 [N] is the position in the source, -1 for padding.

    Args:
      source: random access to records with ``image``, and ``mask`` or ``label``.
      transform: called as ``transform(record, rng)`` with a generator that depends on the index alone; all
        its images must have one size.
      batch_size: records in a batch of this shard.
      num_workers: as in :func:`train_batches`.
      num_threads: as in :func:`train_batches`.
      shard_index: which shard this process reads.
      shard_count: number of shards.

    Raises:
      ValueError: if the source is empty or an argument is out of its range.
    """
    _check_arguments(batch_size, num_workers, num_threads, shard_index, shard_count)
    if len(source) == 0:
        raise ValueError("eval_batches: the source is empty, expected at least one record")
    numbered = _NumberedBatches(source, transform, batch_size, shard_index, shard_count)
    return EvalBatches(numbered, num_workers=num_workers, num_threads=num_threads)


class EvalBatches:
    """What :func:`eval_batches` returns: ``len`` batches, from the first on at each ``iter``."""

    def __init__(self, numbered: "_NumberedBatches", *, num_workers: int, num_threads: int) -> None:
        self._dataset = grain.MapDataset.source(numbered)
        self._num_workers = num_workers
        self._num_threads = num_threads

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Batch]:
        reader = iter(_read(self._dataset, num_workers=self._num_workers, num_threads=self._num_threads))
        try:
            yield from reader
        finally:
            reader.close()


class _NumberedBatches:
    """Random access to the padded batches of one shard."""

    def __init__(
        self, source: Source, transform: Transform, batch_size: int, shard_index: int, shard_count: int
    ) -> None:
        self._source = source
        self._transform = transform
        self._batch_size = batch_size
        self._shard_index = shard_index
        self._shard_count = shard_count

    def __len__(self) -> int:
        return -(-len(self._source) // (self._batch_size * self._shard_count))

    def __getitem__(self, number: int) -> Batch:
        first = (number * self._shard_count + self._shard_index) * self._batch_size
        indices = np.arange(first, first + self._batch_size)
        valid = indices < len(self._source)
        examples = [self._example(int(index)) for index in indices[valid]]
        # A shard can run out before the others: record 0 then tells the shape of its padding.
        pattern = examples[0] if examples else self._example(0)
        padding = {
            "images": np.zeros_like(pattern["images"]),
            "labels": np.full_like(pattern["labels"], VOID if pattern["labels"].ndim else NO_LABEL),
            "where": np.bool_(False),
        }
        batch = _stack(examples + [padding] * (self._batch_size - len(examples)))
        return {**batch, "index": np.where(valid, indices, -1).astype(np.int32)}

    def _example(self, index: int) -> dict[str, Any]:
        return _example(self._transform(self._source[index], np.random.default_rng(index)))


def _bytes_example(record: Record) -> dict[str, Any]:
    """As :func:`_example`, with an image that the device is to normalise."""
    image = record["image"]
    if image.dtype != np.uint8:
        raise ValueError(f"image: got {image.dtype} after the transform, expected uint8; leave out Normalize")
    return {"images": image, "labels": _labels(record), "where": np.bool_(True)}


def _example(record: Record) -> dict[str, Any]:
    """A transformed record -> one row of a batch."""
    image = record["image"]
    if image.dtype != np.float32:
        raise ValueError(
            f"image: got {image.dtype} after the transform, expected float32; end it with Normalize"
        )
    return {"images": image, "labels": _labels(record), "where": np.bool_(True)}


def _labels(record: Record) -> np.ndarray:
    """The mask of a record, int32 [H, W], or where it has none its label, int32 []."""
    if "mask" in record:
        mask, size = record["mask"], record["image"].shape[:2]
        if size != mask.shape:
            raise ValueError(
                f"mask: got {list(mask.shape)} for an image of {list(size)}, expected equal sizes"
            )
        return np.asarray(mask, np.int32)
    if "label" not in record:
        raise ValueError(
            f"a record with {', '.join(record)}, expected a mask or a label beside the image; "
            "look whether the transform drops it"
        )
    return np.asarray(record["label"], np.int32)


def _stack(examples: Sequence[dict[str, Any]]) -> Batch:
    sizes = sorted({example["images"].shape[:2] for example in examples})
    if len(sizes) > 1:
        shown = ", ".join(f"{height}x{width}" for height, width in sizes[:3])
        raise ValueError(
            f"images of different sizes in one batch ({shown}), expected one size; "
            "add Resize or RandomCrop to the transform, or take batch_size=1"
        )
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _read(
    dataset: "grain.MapDataset[Batch]", *, num_workers: int, num_threads: int
) -> "grain.IterDataset[Batch]":
    """Reads ahead by two batches a worker or thread: batches are large, so more would only fill memory."""
    if num_workers == 0:
        ahead = 2 * num_threads
        return dataset.to_iter_dataset(grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead))
    # Grain 0.2.18 reads this flag before a worker starts, which absl forbids in a program that parses its own
    # command line (google/grain issue 1355, mended later). Marking it as given leaves it at its default.
    profiling = "grain_enable_multiprocess_worker_profiling"
    if profiling in flags.FLAGS:
        flags.FLAGS[profiling].present = 1
    alone = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)  # a worker process needs no threads
    options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
    return dataset.to_iter_dataset(alone).mp_prefetch(options, _prepare_worker)


def _prepare_worker(worker_index: int, worker_count: int) -> None:
    """Ties a worker process to this one: Ctrl-C is for the parent alone, and no worker outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that was killed tells its workers nothing: they would fill their queues and wait for ever.
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _check_arguments(
    batch_size: int, num_workers: int, num_threads: int, shard_index: int, shard_count: int
) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, expected at least 1")
    if min(num_workers, num_threads) < 0:
        raise ValueError(f"num_workers, num_threads: got {num_workers} and {num_threads}, expected 0 or more")
    if not 0 <= shard_index < shard_count:
        raise ValueError(f"shard_index: got {shard_index} of {shard_count}, expected 0 <= index < count")
