import jax
import numpy as np
import pytest

from jaxvision.training import Hook, fit


class Recorder(Hook):
    def __init__(self, name, log, *, stop_at=None, fail_at=None):
        self.name, self.log, self.stop_at, self.fail_at = name, log, stop_at, fail_at

    def before(self, progress):
        self.log.append((self.name, "before", progress.step))

    def after_step(self, progress):
        self.log.append((self.name, "step", progress.step))
        if progress.step == self.stop_at:
            progress.stop = "enough"
        if progress.step == self.fail_at:
            raise RuntimeError("broken hook")

    def after(self, progress):
        self.log.append((self.name, "after", progress.step))


def test_trains_to_the_solution(line_run, line_batches):
    state, step = line_run
    progress = fit(state, step, line_batches * 10, [], steps=200)
    np.testing.assert_allclose(progress.state.params["slope"], [1, -2, 3], atol=1e-3)
    assert progress.stop == "all 200 steps are done"
    assert progress.step == int(progress.state.step) == 200


def test_hooks_run_in_order_and_end_in_reverse(line_run, line_batches):
    log = []
    fit(*line_run, line_batches, [Recorder("a", log), Recorder("b", log)], steps=1)
    assert log == [
        ("a", "before", 0),
        ("b", "before", 0),
        ("a", "step", 1),
        ("b", "step", 1),
        ("b", "after", 1),
        ("a", "after", 1),
    ]


def test_a_hook_stops_the_loop(line_run, line_batches):
    progress = fit(*line_run, line_batches, [Recorder("a", [], stop_at=3)], steps=10)
    assert (progress.step, progress.stop) == (3, "enough")


def test_the_end_of_the_data_stops_the_loop(line_run, line_batches):
    progress = fit(*line_run, line_batches[:4], [], steps=10)
    assert (progress.step, progress.stop) == (4, "the data ended")


def test_every_hook_ends_also_after_an_error(line_run, line_batches):
    log = []
    hooks = [Recorder("a", log), Recorder("b", log, fail_at=2), Recorder("c", log)]
    with pytest.raises(RuntimeError, match="broken hook"):
        fit(*line_run, line_batches, hooks, steps=10)
    assert [name for name, event, _ in log if event == "after"] == ["c", "b", "a"]


def test_a_resumed_state_counts_on(line_run, line_batches, placement):
    state, step = line_run
    half = placement.fetch(fit(state, step, line_batches[:5], [], steps=5).state)
    rest = fit(placement.place(half), step, line_batches[5:], [], steps=12)
    assert rest.step == 12
    state, _ = line_run
    whole = fit(placement.place(jax.tree.map(np.zeros_like, half)), step, line_batches, [], steps=12)
    np.testing.assert_array_equal(rest.state.params["slope"], whole.state.params["slope"])
