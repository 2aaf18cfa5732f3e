"""Batches of arrays in memory: order, shards, positions, padding."""

import numpy as np
import pytest

from jaxvision.data import ArrayBatches, ordered_array_batches

ARRAYS = {"tokens": np.arange(22).reshape(11, 2), "labels": np.arange(11)}


def _take(batches, count):
    return [next(batches) for _ in range(count)]


def test_an_epoch_has_each_row_once_and_the_next_another_order():
    batches = ArrayBatches(ARRAYS, batch_size=5, seed=2)
    assert (batches.batches_per_epoch, batches.shard_count) == (2, 1)
    first, second = (np.concatenate([batch["labels"] for batch in _take(batches, 2)]) for _ in range(2))
    for epoch, labels in enumerate((first, second)):
        np.testing.assert_array_equal(labels, np.random.default_rng((2, epoch)).permutation(11)[:10])
    batch = next(batches)
    assert batch["where"].tolist() == [True] * 5
    np.testing.assert_array_equal(batch["tokens"], ARRAYS["tokens"][batch["labels"]])


def test_the_parts_of_shards_end_to_end_are_the_batch_of_one_and_a_position_fits_both():
    one = ArrayBatches(ARRAYS, batch_size=4, seed=1)
    two = [ArrayBatches(ARRAYS, batch_size=2, seed=1, shard_index=index, shard_count=2) for index in (0, 1)]
    for _ in range(3):
        parts = [next(shard)["labels"] for shard in two]
        np.testing.assert_array_equal(np.concatenate(parts), next(one)["labels"])
    position = two[0].get_state()
    assert position == two[1].get_state() == one.get_state()
    again = ArrayBatches(ARRAYS, batch_size=4, seed=1)
    again.set_state(position)
    np.testing.assert_array_equal(next(again)["labels"], next(one)["labels"])
    with pytest.raises(ValueError, match="batch_size 4 there, 2 here"):
        ArrayBatches(ARRAYS, batch_size=2, seed=1).set_state(position)


@pytest.mark.parametrize(("count", "batches"), [(5, 2), (4, 1), (1, 1)])
def test_ordered_shards_have_each_row_once_and_as_many_batches(count, batches):
    arrays = {"labels": np.arange(1, count + 1), "tokens": np.ones((count, 3), np.int32)}
    shards = [
        list(ordered_array_batches(arrays, batch_size=2, shard_index=index, shard_count=2))
        for index in (0, 1)
    ]
    assert [len(shard) for shard in shards] == [batches, batches]
    together = [batch for pair in zip(*shards, strict=True) for batch in pair]
    where = np.concatenate([batch["where"] for batch in together])
    labels = np.concatenate([batch["labels"] for batch in together])
    assert labels[where].tolist() == list(range(1, count + 1)) and not labels[~where].any()
    assert all(batch["tokens"].shape == (2, 3) for batch in together)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ArrayBatches(ARRAYS, batch_size=12, seed=0), "got 12 for 11 examples, expected 1 to 11"),
        (lambda: ArrayBatches(ARRAYS, batch_size=6, seed=0, shard_count=2), "got 12 for 11 examples"),
        (lambda: ArrayBatches(ARRAYS, batch_size=2, seed=0, shard_index=1), "shard_index: got 1 of 1"),
        (lambda: next(ordered_array_batches(ARRAYS, batch_size=0)), "got 0 for 11 examples"),
        (lambda: next(ordered_array_batches({"a": np.zeros(0)}, batch_size=1)), "got 1 for 0 examples"),
        (lambda: ArrayBatches({"a": np.zeros(2), "b": np.zeros(3)}, batch_size=1, seed=0), r"got \[2, 3\]"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
