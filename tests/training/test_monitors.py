"""Norms and statistics against numpy, vanishing and exploding nets by name, runs a monitor leaves alone."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.core import Term
from jaxvision.training import (
    Extremes,
    GradientMonitor,
    RunOptions,
    Task,
    activation_statistics,
    create_train_state,
    find_vanishing_and_exploding,
    fit,
    layer_norms,
    leaf_statistics,
    make_gradient_norms,
    make_placement,
    read_json_lines,
    train,
)


def test_norms_are_those_of_numpy():
    rng = np.random.default_rng(0)
    tree = {
        "a": {
            "kernel": rng.normal(size=(3, 4)).astype(np.float32),
            "bias": rng.normal(size=4).astype(np.float32),
        },
        "b": {"c": {"scale": rng.normal(size=5).astype(np.float32)}},
        "loose": rng.normal(size=2).astype(np.float32),
    }
    norms = jax.jit(layer_norms)(tree)
    a = np.concatenate([tree["a"]["bias"], tree["a"]["kernel"].ravel()])
    assert norms.keys() == {"a", "b/c", ""}
    np.testing.assert_allclose(norms["a"], np.linalg.norm(a), rtol=1e-6)
    np.testing.assert_allclose(norms["b/c"], np.linalg.norm(tree["b"]["c"]["scale"]), rtol=1e-6)
    np.testing.assert_allclose(norms[""], np.linalg.norm(tree["loose"]), rtol=1e-6)
    kernel = jax.jit(leaf_statistics)(tree)["a/kernel"]
    flat = tree["a"]["kernel"].ravel()
    np.testing.assert_allclose(kernel.norm, np.linalg.norm(flat), rtol=1e-6)
    np.testing.assert_allclose(kernel.rms, np.sqrt(np.mean(flat**2)), rtol=1e-6)
    assert kernel.largest == np.abs(flat).max()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_whose_squares_leave_float32(scale):
    np.testing.assert_allclose(
        jax.jit(layer_norms)({"a": {"k": scale * jnp.array([3.0, 4.0])}})["a"], 5 * scale, rtol=1e-6
    )


def test_norms_of_empty_half_and_bad_arrays():
    statistics = jax.jit(leaf_statistics)(
        {"empty": jnp.zeros((0, 3)), "half": jnp.full(4096, 0.1, jnp.bfloat16)}
    )
    assert statistics["empty"] == (0, 0, 0)
    assert statistics["half"].norm.dtype == jnp.float32
    np.testing.assert_allclose(statistics["half"].norm, 64 * float(jnp.bfloat16(0.1)), rtol=1e-6)
    norms = jax.jit(layer_norms)(
        {"nan": {"k": jnp.array([1.0, jnp.nan])}, "inf": {"k": jnp.array([1.0, -jnp.inf])}}
    )
    assert np.isnan(norms["nan"])
    assert np.isinf(norms["inf"])


def test_extremes():
    norms = {"zero": 0.0, "low": 1e-9, "good": 1.0, "high": 1e6, "inf": np.inf, "nan": np.nan}
    assert find_vanishing_and_exploding(norms, low=1e-9, high=1e6) == Extremes(
        ("zero", "low"), ("high", "inf", "nan")
    )
    assert find_vanishing_and_exploding(norms, low=0.0, high=1e9).vanishing == ("zero",)
    with pytest.raises(ValueError, match="expected 0 <= low < high, got 2 and 1"):
        find_vanishing_and_exploding(norms, low=2, high=1)


class Deep(nn.Module):
    """Dense layers and a linear one."""

    activation: Callable[[jax.Array], jax.Array]
    kernel_init: Callable[..., jax.Array]
    layers: int = 30

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        for number in range(1, self.layers + 1):
            x = self.activation(nn.Dense(16, kernel_init=self.kernel_init, name=f"layer{number:02}")(x))
        return nn.Dense(1, name="head")(x)


NETS = {
    "vanishing": Deep(nn.sigmoid, nn.initializers.normal(0.1)),
    "exploding": Deep(nn.relu, nn.initializers.normal(0.7)),
    "healthy": Deep(nn.relu, nn.initializers.he_normal()),
}


def deep_task(net: nn.Module) -> Task:
    def loss(params, model_state, batch, key):
        errors = (net.apply({"params": params}, batch["x"], train=True)[:, 0] - batch["y"]) ** 2
        return {"l2": Term(errors.sum(), jnp.float32(errors.size))}, model_state

    return Task(
        init=lambda key: net.init(key, jnp.ones((1, 3)), train=False),
        loss=loss,
        predict=lambda variables, x: net.apply(variables, x, train=False),
        counts=lambda variables, batch: {},
        score=lambda counts: {},
    )


class Records:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.records = []

    def write(self, record):
        self.records.append(record)

    def close(self):
        pass


@pytest.mark.parametrize("name", NETS)
def test_a_monitor_names_what_vanishes_and_explodes(line_batches, placement, name):
    task = deep_task(NETS[name])
    state = placement.place(create_train_state(task, optax.sgd(0.1), seed=0))

    def step(state, batch):  # the monitor looks at the initial net
        return state, {}

    norms = placement.compile_count(make_gradient_norms(task, axis_name=placement.axis_name))
    writer, lines = Records(), []
    monitor = GradientMonitor(norms, placement, [writer], every=2, say=lines.append)
    progress = fit(state, step, map(placement.shard, line_batches), [monitor], steps=5)
    assert [(record["kind"], record["step"]) for record in writer.records] == [
        ("gradients", 2),
        ("gradients", 4),
    ]
    record = writer.records[0]
    assert len(record) == 2 + 31
    assert json.loads(json.dumps(record)) == record
    assert progress.paused > 0
    if name == "healthy":
        assert lines == []
        assert all(1e-7 < record[f"gradient_norm/layer{n:02}"] < 1e3 for n in range(1, 31))
    else:
        assert len(lines) == 1  # at step 4 the same layers are found
        bound = {"vanishing": "norm at most 1e-07", "exploding": "norm at least 1000"}[name]
        assert lines[0].startswith(f"step 2: {name} gradients ({bound}): ")
        assert "layer01 " in lines[0]
        assert " more" in lines[0]
    if name == "vanishing":
        assert "head" not in lines[0]
        # Each layer's gradient is a fraction of the next one's.
        values = [record[f"gradient_norm/layer{n:02}"] for n in range(1, 31)]
        assert all(before < after for before, after in itertools.pairwise(values))
        assert values[0] < 1e-12


def test_a_recovery_is_told(line_run, line_batches, placement):
    found = iter([{"a": 0.0, "": 1.0}, {"a": 0.0, "": 1e9}, {"a": 1.0, "": 1.0}, {"a": 1.0, "": 1.0}])
    lines = []
    writer = Records()
    monitor = GradientMonitor(
        lambda state, batch: next(found), placement, [writer], every=1, say=lines.append
    )

    def step(state, batch):
        return state, {}

    fit(line_run[0], step, line_batches, [monitor], steps=4)
    assert lines == [
        "step 1: vanishing gradients (norm at most 1e-07): a 0.0e+00",
        "step 2: vanishing gradients (norm at most 1e-07): a 0.0e+00",
        "step 2: exploding gradients (norm at least 1000): parameters 1.0e+09",
        "step 3: no gradient vanishes or explodes any more",
    ]
    assert writer.records[0] == {"kind": "gradients", "step": 1, "gradient_norm/a": 0.0, "gradient_norm": 1.0}
    with pytest.raises(ValueError, match="every: expected at least 1 step, got 0"):
        GradientMonitor(lambda state, batch: {}, placement, [], every=0)


def test_the_norms_are_those_of_the_gradient(line_task, line_batches, line_run):
    state, _ = line_run
    batch = line_batches[0]
    norms = jax.jit(make_gradient_norms(line_task))(state, batch)
    gradient = 2 * batch["x"].T @ (batch["x"] @ np.zeros(3) - batch["y"]) / 8
    np.testing.assert_allclose(norms[""], np.linalg.norm(gradient), rtol=1e-5)


class Positions:
    """Batches that know where they stand."""

    def __init__(self, batches, placement):
        self.batches, self.placement, self.next = batches, placement, 0

    def __iter__(self):
        while self.next < len(self.batches):
            self.next += 1
            yield self.placement.shard(self.batches[self.next - 1])

    def get_state(self):
        return self.next

    def set_state(self, state):
        self.next = state


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_a_monitored_and_resumed_run_is_the_run_without(line_task, line_batches, tmp_path, parallel, capsys):
    placement = make_placement(parallel, devices=jax.devices()[:1])

    def run(name, *, steps, resumed=False, monitor_every=None):
        options = RunOptions(
            steps=steps, log_every=2, eval_every=4, checkpoint_every=2, monitor_every=monitor_every
        )
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        progress = train(
            line_task,
            optax.adam(0.1),
            Positions(line_batches, placement),
            placement,
            options,
            folder,
            resumed=resumed,
            batch_size=8,
            metric="error",
            evaluate=lambda state: {"error": 0.0},
        )
        return placement.fetch(progress.state)

    plain = run("plain", steps=8)
    monitored = run("monitored", steps=8, monitor_every=3)
    run("resumed", steps=4, monitor_every=3)
    resumed = run("resumed", steps=8, resumed=True, monitor_every=3)
    for other in (monitored, resumed):
        jax.tree.map(np.testing.assert_array_equal, other, plain)

    def looks(name):
        records = read_json_lines(tmp_path / name / "metrics.jsonl")
        return {r["step"]: r["gradient_norm"] for r in records if r["kind"] == "gradients"}

    assert looks("plain") == {}
    assert looks("monitored").keys() == {3, 6}
    assert looks("resumed") == looks("monitored")


class Small(nn.Module):
    """A shared layer, a branch and a norm with state."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        dense = nn.Dense(4, name="dense")
        x = nn.relu(dense(dense(x)))
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        return {"mean": x.mean(-1), "count": (x > 0).sum(-1), "x": x}


def test_activation_statistics_are_those_of_the_values():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4)), jnp.float32)
    model = Small()
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(x)
    for mode in (False, True):
        found = jax.jit(lambda v, x, mode=mode: activation_statistics(model, v, x, train=mode))(variables, x)
        assert found.keys() == {"0/mean", "0/x", "dense/0", "dense/1", "norm"}
        kernel, bias = (np.asarray(variables["params"]["dense"][name]) for name in ("kernel", "bias"))
        first = np.asarray(x) @ kernel + bias
        second = np.maximum(first @ kernel + bias, 0)
        if mode:
            norm = (second - second.mean(0)) / np.sqrt(second.var(0) + 1e-5)
        else:
            norm = second / np.sqrt(1 + 1e-5)
        for name, values in {"dense/0": first, "norm": norm, "0/x": norm, "0/mean": norm.mean(-1)}.items():
            expected = values.mean(), values.std(), (values == 0).mean(), np.linalg.norm(values)
            np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)
        if not mode:
            assert found["norm"].zeros > 0.1  # behind the ReLU


def test_activation_statistics_of_bfloat16_and_empty_batches():
    dense = nn.Dense(3, dtype=jnp.bfloat16)
    variables = {"params": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}
    run = jax.jit(lambda x: activation_statistics(dense, variables, x)[""])
    found = run(jnp.full((512, 2), 0.05))
    assert found.mean.dtype == jnp.float32
    np.testing.assert_allclose(found.mean, 0.1, rtol=1e-2)
    assert found.std < 1e-6
    assert run(jnp.zeros((0, 2))) == (0, 0, 0, 0)


DEVICES = """
import sys
import jax, numpy as np, optax
sys.path.insert(0, sys.argv[1])
from test_monitors import NETS, deep_task
from jaxvision.training import create_train_state, make_gradient_norms, make_placement
assert jax.device_count() == 8
task = deep_task(NETS["healthy"].clone(layers=3))
rng = np.random.default_rng(0)
batch = {"x": rng.normal(size=(16, 3)).astype(np.float32), "y": rng.normal(size=16).astype(np.float32)}
found = []
for parallel, count in (("jit", 1), ("jit", 8), ("pmap", 8)):
    placement = make_placement(parallel, devices=jax.devices()[:count])
    norms = placement.compile_count(make_gradient_norms(task, axis_name=placement.axis_name))
    state = placement.place(create_train_state(task, optax.sgd(0.1), seed=0))
    found.append(placement.fetch(norms(state, placement.shard(batch))))
for other in found[1:]:
    assert other.keys() == found[0].keys()
    for name, norm in found[0].items():
        np.testing.assert_allclose(other[name], norm, rtol=1e-4, err_msg=name)
"""


@pytest.mark.slow
def test_eight_devices_give_the_norms_of_one():
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", DEVICES, os.path.dirname(__file__)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
