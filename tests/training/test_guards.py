import os
import signal

import jax
import numpy as np
import optax
import pytest

from jaxvision.training import (
    EarlyStopping,
    Hook,
    NaNGuard,
    Progress,
    StopOnSignal,
    create_train_state,
    fit,
    make_placement,
    make_train_step,
)


def _gradients(task):
    def gradients(state, batch):
        def objective(params):
            terms, _ = task.loss(params, state.model_state, batch, jax.random.key(0))
            return sum(term.total for term in terms.values())

        return jax.grad(objective)(state.params)

    return gradients


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_a_bad_batch_is_named_and_saved(line_task, line_batches, tmp_path, parallel):
    placement = make_placement(parallel, devices=jax.devices()[:1])
    optimizer = optax.sgd(0.1)
    state = placement.place(create_train_state(line_task, optimizer, seed=0))
    step = placement.compile_step(make_train_step(line_task, optimizer, axis_name=placement.axis_name))
    line_batches[3]["y"][5] = np.nan
    guard = NaNGuard(tmp_path, placement, _gradients(line_task))
    with pytest.raises(FloatingPointError, match=r"step 4: the loss is nan .* batch/y\.") as caught:
        fit(state, step, map(placement.shard, line_batches), [guard], steps=10)
    assert "bad_batch_step4.npz" in str(caught.value)
    with np.load(tmp_path / "bad_batch_step4.npz") as saved:
        np.testing.assert_array_equal(saved["y"], line_batches[3]["y"])
        assert saved["x"].shape == (8, 3)


def test_the_last_step_is_checked_too(line_run, line_task, line_batches, placement, tmp_path):
    line_batches[3]["x"][0, 0] = np.inf
    guard = NaNGuard(tmp_path, placement, _gradients(line_task))
    with pytest.raises(FloatingPointError, match="step 4"):
        fit(*line_run, line_batches, [guard], steps=4)


def test_an_overflowing_gradient_is_named(line_task, line_batches, placement, tmp_path):
    huge = line_task._replace(
        loss=lambda p, s, b, k: line_task.loss(p, s, {**b, "x": b["x"] * 1e20, "y": b["y"] * 0 + 1e18}, k)
    )
    optimizer = optax.sgd(0.1)
    state = placement.place(create_train_state(huge, optimizer, seed=0))
    step = placement.compile_step(make_train_step(huge, optimizer))
    with pytest.raises(FloatingPointError, match="gradients/slope"):
        fit(state, step, line_batches, [NaNGuard(tmp_path, placement, _gradients(huge))], steps=2)


def test_a_step_that_learns_in_place_is_told_so(line_run, line_task, line_batches, placement, tmp_path):
    line_batches[1]["x"][0, 0] = np.inf
    guard = NaNGuard(tmp_path, placement, _gradients(line_task), keeps_state=False)
    with pytest.raises(
        FloatingPointError, match=r"step 2: .*learned from it.*Resume from the last"
    ) as caught:
        fit(*line_run, line_batches, [guard], steps=2)
    assert "changed nothing" not in str(caught.value)


def test_finite_steps_pass(line_run, line_task, line_batches, placement, tmp_path):
    progress = fit(*line_run, line_batches, [NaNGuard(tmp_path, placement, _gradients(line_task))], steps=5)
    assert progress.step == 5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_the_handlers_come_back(line_run, line_batches, number):
    class Sender(Hook):
        def after_step(self, progress):
            if progress.step == 2:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    stop = StopOnSignal()
    progress = fit(*line_run, line_batches, [Sender(), stop], steps=10)
    assert progress.step == 2
    assert progress.stop == f"stopped by {signal.Signals(number).name}"
    assert stop.received == number
    assert signal.getsignal(number) is before


def test_a_second_interrupt_ends_at_once(line_run, line_batches):
    class Sender(Hook):
        def after_step(self, progress):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(*line_run, line_batches, [Sender(), StopOnSignal()], steps=10)


def _stops_at(scores, **options):
    hook = EarlyStopping("mean_iou", **options)
    for i, score in enumerate(scores):
        progress = Progress(None, i, scores={"mean_iou": score})
        hook.after_step(progress)
        if progress.stop:
            return i
    return None


def test_early_stopping():
    assert _stops_at([0.1, 0.2, 0.2, 0.2, 0.2], patience=2) == 4
    assert _stops_at([0.1, 0.2, 0.1, 0.3, 0.2, 0.2], patience=2) is None
    assert _stops_at([3.0, 2.0, 2.5, 2.5], patience=1, mode="min") == 3
    assert _stops_at([0.10, 0.15, 0.2, 0.25], patience=1, min_delta=0.2) == 2
    assert _stops_at([0.1, float("nan"), float("nan")], patience=1) == 2


def test_early_stopping_remembers():
    first, second = EarlyStopping("a", patience=1), EarlyStopping("a", patience=1)
    for score in (0.5, 0.4):
        first.after_step(Progress(None, 0, scores={"a": score}))
    second.remember(first.memory())
    progress = Progress(None, 0, scores={"a": 0.4})
    second.after_step(progress)
    assert progress.stop == "a has not improved for 2 evaluations"


def test_early_stopping_ignores_steps_without_scores_and_names_a_wrong_metric():
    hook = EarlyStopping("miou", patience=0)
    progress = Progress(None, 1)
    hook.after_step(progress)
    assert progress.stop is None
    with pytest.raises(ValueError, match=r"'miou'.*\['mean_iou'\]"):
        hook.after_step(Progress(None, 1, scores={"mean_iou": 0.1}))
    with pytest.raises(ValueError, match="'max' or 'min'"):
        EarlyStopping("a", patience=1, mode="more")
