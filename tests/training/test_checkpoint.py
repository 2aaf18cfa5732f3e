import contextlib
import resource
import subprocess
import sys
import textwrap
import threading

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from jaxvision.training import EarlyStopping, Hook, create_train_state, fit, make_train_step
from jaxvision.training.checkpoint import Checkpoint, CheckpointError, Checkpoints, resume

# The storage library's own threads report a failed read or write a second time, on standard error.
reports_twice = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)


@pytest.fixture
def state(line_task):
    return jax.device_get(create_train_state(line_task, optax.adam(0.1), seed=0))


def _same(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_a_restored_state_is_bit_equal(state, tmp_path):
    noisy = state.replace(params={"slope": np.random.default_rng(0).normal(size=3).astype(np.float32)})
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, noisy, {"row": [1, 2]})
    checkpoints.close()
    again = Checkpoints(tmp_path)
    restored, position = again.restore(state)
    assert again.latest() == 7
    assert _same(restored, noisy)
    assert type(restored) is type(state)
    assert position == {"row": [1, 2]}


def test_the_newest_and_the_best_are_kept(state, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2, best="mean_iou")
    for step, score in enumerate([0.1, 0.9, 0.3, None, 0.2]):
        checkpoints.save(step, state, None, scores=None if score is None else {"mean_iou": score})
    checkpoints.wait()
    assert checkpoints.steps() == [1, 3, 4]


def test_the_least_is_best_for_a_loss(state, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, best="loss", mode="min")
    for step, score in enumerate([0.1, 0.05, 0.3]):
        checkpoints.save(step, state, None, scores={"loss": score})
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2]


def test_the_best_is_known_after_a_restart(state, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, best="a")
    checkpoints.save(1, state, None, scores={"a": 0.9, "b": 2.0})
    checkpoints.save(2, state, None)
    checkpoints.close()
    again = Checkpoints(tmp_path, keep=1, best="a")
    found = [again.improves({"a": value}) for value in (0.5, 0.9, float("nan"), 0.95)]
    assert found == [False, False, False, True]
    assert not again.improves({}) and not Checkpoints(tmp_path).improves({"a": 1.0})
    for step in (3, 4):
        again.save(step, state, None, scores={"a": 0.1})
    again.wait()
    assert again.steps() == [1, 4]


def test_an_evaluation_better_than_all_before_makes_a_checkpoint(line_run, line_batches, placement, tmp_path):
    class Scores(Hook):
        def after_step(self, progress):
            progress.scores = {2: {"a": 0.5}, 4: {"a": 0.3}, 7: {"a": 0.6}}.get(progress.step, {})

    checkpoints = Checkpoints(tmp_path, keep=1, best="a")
    saved = []
    save = checkpoints.save
    checkpoints.save = lambda step, *rest, **more: (saved.append(step), save(step, *rest, **more))
    hook = Checkpoint(checkpoints, placement, every=5, position=lambda: None)
    fit(*line_run, line_batches, [Scores(), hook], steps=9)
    assert saved == [2, 5, 7, 9]
    assert checkpoints.steps() == [7, 9]


def test_no_checkpoint(state, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        Checkpoints(tmp_path).restore(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.replace(params={"slope": np.zeros(4, np.float32)}),
            r"float32\[3\], this run float32\[4\]",
        ),
        (lambda s: s.replace(params={"line": np.zeros(3, np.float32)}), "params/line: .* nothing"),
        (lambda s: s.replace(opt_state=()), "opt_state/0/count"),
    ],
)
def test_another_model_is_refused_by_name(state, tmp_path, change, message):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, None)
    checkpoints.wait()
    with pytest.raises(CheckpointError, match=message):
        checkpoints.restore(change(state))


@reports_twice
def test_a_broken_checkpoint_names_the_others(state, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, state, None)
    checkpoints.wait()
    for file in (tmp_path / "2" / "state" / "d").glob("*"):
        file.write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=r"delete that folder .* \[1, 2\]"):
        checkpoints.restore(state)
    assert _same(checkpoints.restore(state, step=1)[0], state)


@contextlib.contextmanager
def _files_limited_to(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@reports_twice
def test_a_failed_write_keeps_the_last_good_checkpoint(state, tmp_path):
    big = state.replace(params={"slope": np.random.default_rng(0).normal(size=100_000)})
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, big, "first")
    checkpoints.wait()
    with _files_limited_to(4096), pytest.raises(CheckpointError, match="last whole one is of step 1"):
        checkpoints.save(2, big.replace(step=np.int32(2)), "second")
        checkpoints.wait()
    again = Checkpoints(tmp_path)
    restored, position = again.restore(big)
    assert (position, int(restored.step)) == ("first", 0)
    again.save(2, big, "again")
    again.close()
    assert again.steps() == [1, 2]


def test_a_kill_in_the_middle_of_a_save_leaves_whole_checkpoints(tmp_path):
    program = textwrap.dedent(
        """
        import sys, numpy as np
        from pathlib import Path
        from jaxvision.training.checkpoint import Checkpoints
        checkpoints = Checkpoints(Path(sys.argv[1]))
        for step in range(1000):
            state = {"x": np.full(2_000_000, step, np.float32)}
            checkpoints.save(step, state, step)
            print(step, flush=True)
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    for line in child.stdout:
        if int(line) == 4:
            break
    child.kill()
    child.wait()
    child.stdout.close()
    restored, position = Checkpoints(tmp_path).restore({"x": np.empty(2_000_000, np.float32)})
    assert position >= 2
    assert np.array_equal(restored["x"], np.full(2_000_000, position, np.float32))


class Position:
    """Counts what the loop took."""

    def __init__(self, batches, *, start=0):
        self.batches, self.taken = batches, start

    def __iter__(self):
        for batch in self.batches[self.taken :]:
            self.taken += 1
            yield batch


def test_a_resumed_run_ends_where_the_unbroken_one_does(line_task, line_batches, placement, tmp_path):
    optimizer = optax.adam(0.1)
    initial = jax.device_get(create_train_state(line_task, optimizer, seed=0))
    step = placement.compile_step(make_train_step(line_task, optimizer))
    whole = fit(placement.place(initial), step, line_batches, [], steps=12)

    data = Position(line_batches)
    stopping = EarlyStopping("a", patience=3)
    stopping.best = 0.5
    checkpoints = Checkpoints(tmp_path)
    save = Checkpoint(checkpoints, placement, every=4, position=lambda: data.taken, hooks=[stopping])
    fit(placement.place(initial), step, data, [save], steps=6)
    assert checkpoints.steps() == [4, 6]

    other = EarlyStopping("a", patience=3)
    restored, taken = resume(Checkpoints(tmp_path), initial, [other])
    assert (taken, other.best) == (6, 0.5)
    rest = fit(placement.place(restored), step, Position(line_batches, start=taken), [], steps=12)
    assert _same(placement.fetch(rest.state), placement.fetch(whole.state))


def test_a_hook_that_is_new_to_a_resumed_run_starts_afresh(line_task, placement, tmp_path):
    state = jax.device_get(create_train_state(line_task, optax.sgd(0.1), seed=0))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, {"data": 5, "hooks": {}})
    checkpoints.wait()
    stopping = EarlyStopping("a", patience=3)
    restored, taken = resume(checkpoints, state, [stopping])
    assert _same(restored, state)
    assert (taken, stopping.waited) == (5, 0)


def test_neither_an_error_nor_a_bad_step_makes_a_checkpoint(line_task, line_batches, placement, tmp_path):
    class Fails(Hook):
        def after_step(self, progress):
            if progress.step == 5:
                raise RuntimeError("broken")

    optimizer = optax.sgd(0.1)
    state = placement.place(create_train_state(line_task, optimizer, seed=0))
    step = placement.compile_step(make_train_step(line_task, optimizer))
    line_batches[3]["x"][0, 0] = np.nan
    checkpoints = Checkpoints(tmp_path)
    save = Checkpoint(checkpoints, placement, every=2, position=lambda: None)
    with pytest.raises(RuntimeError, match="broken"):
        fit(state, step, line_batches, [save, Fails()], steps=10)
    assert checkpoints.steps() == [2]


def test_data_that_cannot_be_read_ends_the_run_with_its_steps_saved(
    line_task, line_batches, placement, tmp_path
):
    def batches():
        yield from line_batches[:3]
        raise ValueError("frame7.png: truncated")

    optimizer = optax.adam(0.1)
    step = placement.compile_step(make_train_step(line_task, optimizer))
    checkpoints = Checkpoints(tmp_path)
    hook = Checkpoint(checkpoints, placement, every=100, position=lambda: None)
    state = placement.place(create_train_state(line_task, optimizer, seed=0))
    with pytest.raises(ValueError, match="frame7"):
        fit(state, step, batches(), [hook], steps=10)
    assert checkpoints.steps() == [3]


def test_a_slow_disk_does_not_stall_the_steps(line_task, line_batches, placement, tmp_path, monkeypatch):
    """The disk takes what is saved at step 2 only after step 6; no clock is asked."""
    disk_is_free = threading.Event()

    class Slow:
        def __init__(self, future):
            self._future = future

        def result(self, timeout=None):
            assert disk_is_free.wait(60)
            return self._future.result(timeout)

    write = ocp.JsonCheckpointHandler.async_save

    async def async_save(self, *arguments, **options):
        return [Slow(future) for future in await write(self, *arguments, **options)]

    monkeypatch.setattr(ocp.JsonCheckpointHandler, "async_save", async_save)
    checkpoints, seen = Checkpoints(tmp_path), []

    class Look(Hook):
        def after_step(self, progress):
            whole = [path.name for path in tmp_path.iterdir() if path.name.isdigit()]  # renamed when written
            seen.append((progress.step, whole))
            if progress.step == 6:
                disk_is_free.set()

    optimizer = optax.adam(0.1)
    step = placement.compile_step(make_train_step(line_task, optimizer))
    initial = jax.device_get(create_train_state(line_task, optimizer, seed=0))
    expected = placement.fetch(fit(placement.place(initial), step, line_batches, [], steps=2).state)
    save = Checkpoint(checkpoints, placement, every=2, position=lambda: None)

    class SaveOnce(Hook):
        def after_step(self, progress):
            if progress.step == 2:
                save.after_step(progress)

    fit(placement.place(initial), step, line_batches, [SaveOnce(), Look()], steps=7)
    assert seen[:6] == [(number, []) for number in range(1, 7)], "the loop went on while nothing was written"
    checkpoints.wait()
    restored, _ = checkpoints.restore(initial)
    assert _same(restored, expected), "later steps have not leaked into what was saved"
