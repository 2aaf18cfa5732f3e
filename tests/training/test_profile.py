"""Where a step's time goes: the layers of a program's instructions, and a real trace."""

import csv

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.core import Term
from jaxvision.training import (
    CompiledStep,
    Profile,
    Task,
    create_train_state,
    fit,
    instruction_layers,
    layer_times,
    make_placement,
    make_train_step,
)

PROGRAM = """HloModule jit_step

%fused_computation.1 (p0: f32[4]) -> f32[4] {
  %p0 = f32[4]{0} parameter(0)
  %multiply.1 = f32[4]{0} multiply(%p0, %p0), metadata={op_name="jit(step)/jvp(Net)/body/norm/mul"}
  ROOT %add.1 = f32[4]{0} add(%multiply.1, %p0), metadata={op_name="jit(step)/jvp(Net)/body/conv/add"}
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %dot.3 = f32[4]{0} dot(%a, %a), metadata={op_name="jit(step)/transpose(jvp(Net))/while/body/head/dot"}
  %copy.2 = f32[4]{0} copy(%a)
  ROOT %fusion.7 = f32[4]{0} fusion(%dot.3), kind=kLoop, calls=%fused_computation.1
}
"""


def test_instructions_and_fusions_have_names():
    names = instruction_layers(PROGRAM)
    assert names["dot.3"].endswith("head/dot")
    assert names["fusion.7"] == names["add.1"] == "jit(step)/jvp(Net)/body/conv/add"
    assert "copy.2" not in names


def test_times_are_summed_by_layer_and_direction():
    def event(instruction, duration, **more):
        return {"ph": "X", "dur": duration, "args": {"hlo_op": instruction}} | more

    events = [
        event("dot.3", 3000.0),
        event("dot.3", 1000.0),
        event("fusion.7", 500.0),
        event("add.1", 1500.0),
        event("copy.2", 200.0),
        {"ph": "X", "dur": 9999.0, "args": {}},  # of Python
        {"ph": "X", "dur": 9999.0},
        event("dot.3", 9999.0, ph="M"),
    ]
    head, conv, copy = layer_times(events, instruction_layers(PROGRAM), steps=2)
    assert head == ("head", 0.0, 2.0)
    assert conv == ("body/conv", 1.0, 0.0)
    assert copy == ("(copy)", pytest.approx(0.1), 0.0)


class _Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, name="narrow")(nn.Dense(2048, name="wide")(x))


def _task():
    model = _Net()

    def loss(params, model_state, batch, key):
        errors = model.apply({"params": params}, batch["x"]) ** 2
        return {"l2": Term(errors.sum(), jnp.float32(errors.size))}, model_state

    return Task(
        init=lambda key: model.init(key, jnp.zeros((1, 256))),
        loss=loss,
        predict=lambda variables, x: x,
        counts=lambda variables, batch: {},
        score=lambda counts: {},
    )


@pytest.mark.parametrize(("steps", "made"), [(8, True), (4, True), (2, False)])
def test_a_run_leaves_trace_and_table(tmp_path, capsys, steps, made):
    placement, optimizer = make_placement("jit", devices=jax.devices()[:1]), optax.sgd(1e-6)
    step = CompiledStep(placement.compile_step(make_train_step(_task(), optimizer)))
    state = placement.place(create_train_state(_task(), optimizer, seed=0))
    batch = placement.shard({"x": np.ones((64, 256), np.float32)})
    fit(state, step, [batch] * steps, [Profile(tmp_path, step, steps=3)], steps=steps)
    shown = capsys.readouterr().out
    if not made:
        assert "no profile: the run ended after 2 steps" in shown
        assert not (tmp_path / "profile.csv").exists()
        return
    with open(tmp_path / "profile.csv", newline="") as file:
        rows = {row["layer"]: row for row in csv.DictReader(file)}
    assert float(rows["wide"]["forward_ms"]) > 0
    assert float(rows["wide"]["backward_ms"]) > 0
    assert f"mean of {min(3, steps - 3)}" in shown
    assert "wide" in shown
    assert list((tmp_path / "profile").rglob("*.xplane.pb")), "the trace that TensorBoard reads"
