import numpy as np
import pytest

from jaxvision.training import Evaluate, evaluate, fit, make_count_step


def test_counts_add_up_over_padded_batches(line_task, line_batches, placement):
    count = placement.compile_count(make_count_step(line_task))
    variables = placement.place({"params": {"slope": np.zeros(3, np.float32)}})
    padded = {**line_batches[1], "where": np.arange(8) < 3}
    scores, counts = evaluate(count, line_task.score, variables, [line_batches[0], padded], placement)
    expected = np.concatenate([line_batches[0]["y"], padded["y"][:3]]) ** 2
    np.testing.assert_allclose(scores["error"], expected.mean(), rtol=1e-5)
    assert counts["examples"] == 11


def test_integer_counts_do_not_overflow(placement):
    count = placement.compile_count(lambda variables, batch: batch["x"].sum())
    big = {"x": np.full(1, 2**31 - 1, np.int32)}
    _, counts = evaluate(count, lambda c: {}, {}, [big] * 3, placement)
    assert counts == 3 * (2**31 - 1)


def test_nothing_to_evaluate(line_task, placement):
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(lambda v, b: b, line_task.score, {}, [], placement)


def test_evaluates_on_time_and_tells_the_optimizer(line_run, line_batches):
    seen = []

    def run(state):
        return {"score": float(state.step)}

    def observe(opt_state, scores):
        seen.append(scores["score"])
        return opt_state

    progress = fit(*line_run, line_batches, [Evaluate(run, every=3, last=7, observe=observe)], steps=7)
    assert seen == [3.0, 6.0, 7.0]
    assert progress.scores == {"score": 7.0}
    assert progress.paused > 0
