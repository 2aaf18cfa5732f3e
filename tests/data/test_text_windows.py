"""Windows of a long text: rows go on, every token is a target once, positions are exact."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.data import TextWindows, ordered_windows

TEXT = np.arange(47, dtype=np.int32)


def _take(windows, count):
    return [next(windows) for _ in range(count)]


def test_rows_go_on_from_batch_to_batch():
    windows = TextWindows(TEXT, batch_size=3, window=4)
    assert windows.batches_per_epoch == 3  # rows of 15 tokens
    first, second, _, again = _take(windows, 4)
    assert first["tokens"].tolist() == [[0, 1, 2, 3], [15, 16, 17, 18], [30, 31, 32, 33]]
    assert second["tokens"][:, 0].tolist() == [4, 19, 34]
    assert first["starts"].all() and not second["starts"].any()
    for batch in (first, second):
        np.testing.assert_array_equal(batch["targets"], batch["tokens"] + 1)
        assert batch["where"].all()
        assert batch["tokens"].dtype == batch["targets"].dtype == np.int32
    for name, array in again.items():
        np.testing.assert_array_equal(array, first[name])


def test_a_position_is_gone_back_to():
    windows = TextWindows(TEXT, batch_size=2, window=5)
    _take(windows, 3)
    state = windows.get_state()
    wanted = _take(windows, 4)
    other = TextWindows(TEXT, batch_size=2, window=5)
    other.set_state(state)
    for found, batch in zip(_take(other, 4), wanted, strict=True):
        for name, array in batch.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("text", "options", "named"),
    [
        (TEXT, {"window": 4}, "window 5 there, 4 here"),
        (TEXT[:-1], {}, "num_tokens 47 there, 46 here"),
        (TEXT[::-1], {}, "checksum"),
        (TEXT, {"shard_count": 2}, "batch_size 2 there, 4 here"),
    ],
)
def test_a_position_in_another_text_is_refused(text, options, named):
    state = TextWindows(TEXT, batch_size=2, window=5).get_state()
    other = TextWindows(text, **{"batch_size": 2, "window": 5, **options})
    with pytest.raises(ValueError, match=f"other text or batches.*{named}"):
        other.set_state(state)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(2, 60),
    batch_size=st.integers(1, 7),
    window=st.integers(1, 9),
    shards=st.integers(1, 3),
)
def test_every_token_but_the_first_is_a_target_once(length, batch_size, window, shards):
    tokens = np.arange(length, dtype=np.int32)
    parts = [
        list(
            ordered_windows(
                tokens, batch_size=batch_size, window=window, shard_index=index, shard_count=shards
            )
        )
        for index in range(shards)
    ]
    assert len({len(part) for part in parts}) == 1  # or some process would wait for ever
    batches = [batch for part in parts for batch in part]
    targets = np.concatenate([batch["targets"][batch["where"]] for batch in batches])
    assert sorted(targets) == list(range(1, length))
    for batch in batches:
        assert batch["tokens"].shape == batch["where"].shape == (batch_size, window)
        np.testing.assert_array_equal(batch["tokens"][batch["where"]] + 1, batch["targets"][batch["where"]])
    for part in parts:  # what a row reads goes on where it ended
        for before, after in itertools.pairwise(part):
            inside = after["where"][:, 0]
            np.testing.assert_array_equal(after["tokens"][inside, 0], before["targets"][inside, -1])
            assert not after["starts"].any()


def test_shards_share_the_rows_of_a_batch():
    whole = next(TextWindows(TEXT, batch_size=4, window=3))
    halves = [
        next(TextWindows(TEXT, batch_size=2, window=3, shard_index=index, shard_count=2)) for index in (0, 1)
    ]
    np.testing.assert_array_equal(np.concatenate([half["tokens"] for half in halves]), whole["tokens"])


def test_a_position_of_two_shards_fits_one():
    half = TextWindows(TEXT, batch_size=2, window=3, shard_index=1, shard_count=2)
    whole = TextWindows(TEXT, batch_size=4, window=3)
    _take(half, 3)
    whole.set_state(half.get_state())
    assert whole.get_state() == half.get_state()
    np.testing.assert_array_equal(next(whole)["tokens"][2:], next(half)["tokens"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TextWindows(TEXT, batch_size=10, window=5), "47 tokens, expected at least 51 for a batch"),
        (lambda: TextWindows(TEXT, batch_size=0, window=5), "got 0 and 5, expected 1 or more"),
        (lambda: TextWindows(TEXT, batch_size=2, window=5, shard_index=1), "shard_index: got 1 of 1"),
        (lambda: ordered_windows(TEXT[:1], batch_size=1, window=5), "1 token.*at least two"),
        (lambda: ordered_windows(TEXT, batch_size=1, window=0), "got 1 and 0, expected 1 or more"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
