import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxvision.data import (
    Normalize,
    RandomHorizontalFlip,
    compose,
    eval_batches,
    prefetch_to_device,
    train_batches,
)


class Numbers:
    """Record ``i`` has ``i`` in each pixel of its mask, and ramps in its image, so that flips show."""

    def __init__(self, count: int, size: tuple[int, int] = (4, 6)) -> None:
        self.count = count
        self.size = size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        ramp = np.broadcast_to(np.arange(self.size[1], dtype=np.uint8)[None, :, None], (*self.size, 3))
        return {"image": ramp + np.uint8(index), "mask": np.full(self.size, index, np.uint8)}


class Growing(Numbers):
    """Images of different sizes."""

    def __getitem__(self, index: int) -> dict:
        shape = (4 + index % 2, 6)
        return {"image": np.zeros((*shape, 3), np.uint8), "mask": np.zeros(shape, np.uint8)}


class Broken(Numbers):
    """A record that cannot be read."""

    def __getitem__(self, index: int) -> dict:
        if index == 3:
            raise ValueError("picture_3.png: damaged")
        return super().__getitem__(index)


TRANSFORM = compose(RandomHorizontalFlip(), Normalize())


def make(count: int = 20, **options):
    return train_batches(
        Numbers(count), TRANSFORM, **{"batch_size": 4, "seed": 7, "num_threads": 0, **options}
    )


def members(batches) -> list[list[int]]:
    return [batch["labels"][:, 0, 0].tolist() for batch in batches]


def assert_equal_batches(first, second) -> None:
    first, second = list(first), list(second)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_a_batch_keeps_the_contract():
    batch = next(make())
    assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
        "images": ((4, 4, 6, 3), np.float32),
        "labels": ((4, 4, 6), np.int32),
        "where": ((4,), bool),
    }
    assert batch["where"].all()


def test_each_epoch_holds_each_record_once_in_a_new_order():
    batches = members(make(num_epochs=3))
    assert len(batches) == 15
    epochs = [list(itertools.chain(*batches[start : start + 5])) for start in (0, 5, 10)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(20))
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != list(range(20))


def test_the_last_partial_batch_of_an_epoch_is_dropped():
    batches = make(22, num_epochs=2)
    assert batches.batches_per_epoch == 5
    listed = members(batches)
    assert len(listed) == 10
    for start in (0, 5):
        epoch = list(itertools.chain(*listed[start : start + 5]))
        assert len(set(epoch)) == 20


def test_without_a_number_of_epochs_batches_never_end():
    assert len(list(itertools.islice(make(), 100))) == 100


def test_batches_follow_from_the_seed():
    assert_equal_batches(make(num_epochs=2), make(num_epochs=2))
    assert members(make(num_epochs=1)) != members(make(num_epochs=1, seed=8))


def test_augmentation_differs_between_epochs_and_records():
    batches = list(make(num_epochs=6))
    flipped: dict[int, set[bool]] = {}
    for batch in batches:
        for image, label in zip(batch["images"], batch["labels"], strict=True):
            flipped.setdefault(int(label[0, 0]), set()).add(bool(image[0, 0, 0] > image[0, -1, 0]))
    assert sum(len(seen) == 2 for seen in flipped.values()) > 10


@pytest.mark.parametrize("num_threads", [1, 3])
def test_threads_change_nothing(num_threads):
    assert_equal_batches(make(num_epochs=2), make(num_epochs=2, num_threads=num_threads))


@pytest.mark.parametrize("count", [24, 25, 31])
def test_shards_are_disjoint_equal_in_length_and_reshuffled(count):
    shards = [
        members(make(count, batch_size=2, num_epochs=2, shard_index=index, shard_count=3))
        for index in range(3)
    ]
    per_epoch = count // 3 // 2
    assert [len(shard) for shard in shards] == [2 * per_epoch] * 3
    for start in (0, per_epoch):
        seen = [list(itertools.chain(*shard[start : start + per_epoch])) for shard in shards]
        together = list(itertools.chain(*seen))
        assert len(set(together)) == len(together) == 3 * per_epoch * 2
    assert set(itertools.chain(*shards[0][:per_epoch])) != set(itertools.chain(*shards[0][per_epoch:]))


@pytest.mark.parametrize("count", [24, 25, 31])
@pytest.mark.parametrize("shard_count", [2, 3, 6])
def test_the_parts_of_the_shards_laid_end_to_end_are_the_whole_batches(count, shard_count):
    whole = list(make(count, batch_size=6, num_epochs=2))
    size = 6 // shard_count
    parts = [
        make(count, batch_size=size, num_epochs=2, shard_index=index, shard_count=shard_count)
        for index in range(shard_count)
    ]
    assert {part.batches_per_epoch for part in parts} == {count // 6}
    joined = [
        {n: np.concatenate([x[n] for x in batch]) for n in batch[0]} for batch in zip(*parts, strict=True)
    ]
    assert_equal_batches(joined, whole)


def test_a_position_of_one_shard_is_one_of_two():
    one = make(batch_size=4, num_epochs=2)
    for _ in range(3):
        next(one)
    parts = [make(batch_size=2, num_epochs=2, shard_index=index, shard_count=2) for index in range(2)]
    for part in parts:
        part.set_state(json.loads(json.dumps(one.get_state())))
        assert part.get_state() == one.get_state()
    expected = list(one)
    joined = [
        {n: np.concatenate([x[n] for x in batch]) for n in batch[0]} for batch in zip(*parts, strict=True)
    ]
    assert_equal_batches(joined, expected)


@pytest.mark.parametrize("position", [0, 1, 4, 5, 9, 10])
def test_a_restored_position_continues_bit_for_bit(position):
    whole = list(make(num_epochs=2))
    batches = make(num_epochs=2)
    for _ in range(position):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    fresh = make(num_epochs=2)
    fresh.set_state(state)
    assert fresh.get_state() == state
    assert_equal_batches(fresh, whole[position:])
    # And back again on an iterator that has run to its end.
    fresh.set_state(state)
    assert_equal_batches(fresh, whole[position:])


def test_closed_batches_go_on_from_their_position():
    whole = list(make(num_epochs=1))
    batches = make(num_epochs=1, num_threads=2)
    first = next(batches)
    batches.close()
    assert_equal_batches([first, *batches], whole)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": 8}, "seed 7 there, 8 here"),
        ({"batch_size": 5}, "batch_size 4 there, 5 here"),
        ({"count": 21}, "num_records 20 there, 21 here"),
        ({"shard_index": 1, "shard_count": 2}, "batch_size 4 there, 8 here"),
    ],
)
def test_a_position_of_other_batches_is_refused(other, named):
    with pytest.raises(ValueError, match=named):
        make(**other).set_state(make().get_state())


# One program for all that needs worker processes, because each costs a second or two to start.
WORKERS = """
import itertools, sys
import numpy as np
sys.path.insert(0, {folder!r})
from test_batches import Broken, Numbers, TRANSFORM, assert_equal_batches
from jaxvision.data import eval_batches, train_batches

def make(workers):
    return train_batches(Numbers(20), TRANSFORM, batch_size=4, seed=7, num_workers=workers, num_threads=0)

def main():
    whole = list(itertools.islice(make(0), 14))
    batches = make(2)
    assert_equal_batches(itertools.islice(batches, 6), whole[:6])
    state = batches.get_state()
    assert_equal_batches(itertools.islice(batches, 3), whole[6:9])
    resumed = make(1)  # even with another number of workers
    resumed.set_state(state)
    assert_equal_batches(itertools.islice(resumed, 5), whole[6:11])
    resumed.set_state(state)  # while its worker runs
    assert_equal_batches(itertools.islice(resumed, 2), whole[6:8])
    plain = eval_batches(Numbers(10), TRANSFORM, batch_size=4, num_threads=0)
    assert_equal_batches(eval_batches(Numbers(10), TRANSFORM, batch_size=4, num_workers=1), plain)
    try:
        list(train_batches(Broken(4), TRANSFORM, batch_size=4, seed=0, num_workers=1))
    except ValueError as error:
        print("error:", error)
    print("done")  # with the workers of `batches` still running

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_workers_give_the_same_batches_resume_exactly_and_end_quietly(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(WORKERS.format(folder=str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "error: picture_3.png: damaged\ndone\n"
    assert done.stderr == ""


KILLED = """
import signal, sys, time
sys.path.insert(0, {folder!r})
from test_batches import Numbers, TRANSFORM
from jaxvision.data import train_batches

def wait():
    # In short pieces: a signal that comes between Python's last look and the system's call does not end it.
    for _ in range(1000):
        time.sleep(0.1)

if __name__ == "__main__":
    # A shell's background job is started with this signal ignored, and so are the programs that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    batches = train_batches(Numbers(20), TRANSFORM, batch_size=4, seed=7, num_workers=1)
    next(batches)
    try:
        print("reading", flush=True)
        wait()
    except KeyboardInterrupt:
        for _ in range(50):  # more than a worker that has gone could have left behind
            next(batches)
        print("still reading", flush=True)
        wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="process groups and signals are POSIX")
def test_workers_live_on_at_ctrl_c_and_end_with_a_killed_parent(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(KILLED.format(folder=str(Path(__file__).parent)))
    with (
        (tmp_path / "errors.txt").open("w") as errors,
        subprocess.Popen(
            [sys.executable, str(program)],
            stdout=subprocess.PIPE,
            stderr=errors,  # no pipe: the resource tracker writes too, of what a killed program left
            text=True,
            start_new_session=True,
        ) as parent,
    ):
        assert parent.stdout is not None
        assert parent.stdout.readline() == "reading\n"
        os.killpg(parent.pid, signal.SIGINT)  # what a terminal does at Ctrl-C
        assert parent.stdout.readline() == "still reading\n", (tmp_path / "errors.txt").read_text()
        parent.kill()
        try:
            # The worker holds the other end of this pipe too: it ends when the last of them has gone.
            parent.communicate(timeout=20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)


@pytest.mark.parametrize("count", [1, 4, 9, 12])
@pytest.mark.parametrize("shard_count", [1, 2, 3])
def test_evaluation_sees_each_image_once(count, shard_count):
    shards = [
        eval_batches(
            Numbers(count), TRANSFORM, batch_size=4, num_threads=0, shard_index=index, shard_count=shard_count
        )
        for index in range(shard_count)
    ]
    assert len({len(shard) for shard in shards}) == 1
    seen, listed = [], []
    for shard in shards:
        batches = list(shard)
        assert len(batches) == len(shard)
        for batch in batches:
            where = batch["where"]
            assert batch["images"].shape == (4, 4, 6, 3)
            assert batch["images"].dtype == np.float32
            assert batch["labels"].dtype == batch["index"].dtype == np.int32
            assert (batch["images"][~where] == 0).all()
            assert (batch["labels"][~where] == 255).all()
            assert (batch["index"][~where] == -1).all()
            seen += batch["labels"][where][:, 0, 0].tolist()
            listed += batch["index"][where].tolist()
    assert sorted(seen) == list(range(count))
    assert seen == listed


def test_evaluation_in_shards_laid_end_to_end_is_in_order():
    shards = [
        eval_batches(Numbers(10), TRANSFORM, batch_size=2, num_threads=0, shard_index=index, shard_count=2)
        for index in range(2)
    ]
    joined = [
        {n: np.concatenate([x[n] for x in batch]) for n in batch[0]} for batch in zip(*shards, strict=True)
    ]
    assert_equal_batches(joined, eval_batches(Numbers(10), TRANSFORM, batch_size=4, num_threads=0))


def test_evaluation_is_in_order_and_can_be_repeated():
    batches = eval_batches(Numbers(10), TRANSFORM, batch_size=4)
    first = list(batches)
    assert [batch["index"].tolist() for batch in first] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1]]
    assert_equal_batches(batches, first)
    next(iter(batches))  # left unfinished
    assert_equal_batches(batches, first)


def test_prefetching_evaluation_closes_its_reader():
    ahead = prefetch_to_device(eval_batches(Numbers(10), TRANSFORM, batch_size=4), lambda batch: batch)
    next(ahead)
    ahead.close()
    with pytest.raises(StopIteration):
        next(ahead)


def test_a_source_smaller_than_a_batch_is_refused():
    with pytest.raises(
        ValueError, match=r"holds 3 records, 3 for each of 1 shard\(s\).*at least batch_size = 4"
    ):
        make(3)
    with pytest.raises(ValueError, match=r"holds 7 records, 3 for each of 2 shard\(s\)"):
        make(7, shard_count=2)


def test_an_empty_source_cannot_be_evaluated():
    with pytest.raises(ValueError, match="the source is empty"):
        eval_batches(Numbers(0), TRANSFORM, batch_size=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"num_workers": -1}, "num_workers, num_threads: got -1 and 0"),
        ({"shard_index": 2, "shard_count": 2}, "shard_index: got 2 of 2"),
        ({"seed": -1}, "seed: got -1"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_images_of_different_sizes_are_named():
    with pytest.raises(ValueError, match=r"different sizes in one batch \(4x6, 5x6\).*add Resize"):
        list(train_batches(Growing(8), Normalize(), batch_size=8, seed=0, num_threads=0))


def test_a_transform_without_normalize_is_named():
    with pytest.raises(
        ValueError, match="got uint8 after the transform, expected float32; end it with Normalize"
    ):
        next(train_batches(Numbers(8), RandomHorizontalFlip(), batch_size=8, seed=0, num_threads=0))


def test_an_error_of_the_source_comes_through_a_thread():
    with pytest.raises(ValueError, match=r"picture_3\.png: damaged"):
        list(train_batches(Broken(8), Normalize(), batch_size=8, seed=0, num_epochs=1, num_threads=1))


class Labelled(Numbers):
    """Record ``i`` is of class ``100 * i``, so that one of them is 300: labels are wider than a byte."""

    def __getitem__(self, index: int) -> dict:
        record = super().__getitem__(index)
        return {"image": record["image"], "label": np.int32(100 * index), "name": str(index)}


def test_labels_of_whole_images_make_batches():
    batch = next(train_batches(Labelled(8), TRANSFORM, batch_size=8, seed=3, num_threads=0))
    assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
        "images": ((8, 4, 6, 3), np.float32),
        "labels": ((8,), np.int32),
        "where": ((8,), bool),
    }
    assert sorted(batch["labels"].tolist()) == list(range(0, 800, 100))


def test_padding_of_whole_images_has_a_label_that_is_no_class():
    batches = list(eval_batches(Labelled(5), TRANSFORM, batch_size=4))
    assert [batch["labels"].tolist() for batch in batches] == [[0, 100, 200, 300], [400, -1, -1, -1]]
    assert batches[1]["where"].tolist() == [True, False, False, False]


def test_a_record_without_mask_and_label_is_named():
    class Unlabelled(Numbers):
        def __getitem__(self, index: int) -> dict:
            return {"image": super().__getitem__(index)["image"], "name": "a"}

    with pytest.raises(ValueError, match="a record with image, name, expected a mask or a label"):
        next(train_batches(Unlabelled(4), Normalize(), batch_size=4, seed=0, num_threads=0))
