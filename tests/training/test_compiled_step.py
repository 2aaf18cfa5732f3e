"""The compiled step: equal to the bare one, one shape only, and the memory that it needs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.training import (
    CompiledStep,
    DeviceMemoryError,
    MemoryUse,
    RecompilationError,
    TrainState,
    create_train_state,
    make_placement,
    make_train_step,
    memory_advice,
)
from jaxvision.training.compiled_step import explain_start

FLOAT = 4


@pytest.fixture(params=["jit", "pmap"])
def run(request, line_task):
    placement = make_placement(request.param, devices=jax.devices()[:1])
    optimizer = optax.adam(0.1)

    def create():
        return placement.place(create_train_state(line_task, optimizer, seed=0))

    step = placement.compile_step(make_train_step(line_task, optimizer, axis_name=placement.axis_name))
    return placement, create, step


def test_equals_the_bare_step_and_compiles_once(run, line_batches):
    placement, create, bare = run
    reports = []
    step = CompiledStep(bare, report=reports.append)
    state, expected = create(), create()
    for batch in line_batches[:3]:
        state, metrics = step(state, placement.shard(batch))
        expected, expected_metrics = bare(expected, placement.shard(batch))
        np.testing.assert_array_equal(metrics["loss"], expected_metrics["loss"])
    np.testing.assert_array_equal(
        placement.fetch(state).params["slope"], placement.fetch(expected).params["slope"]
    )
    assert len(reports) == 1
    assert "ENTRY" in step.program_text()


def test_memory_is_that_of_the_arrays_and_the_program(run, line_batches):
    placement, create, bare = run
    step = CompiledStep(bare)
    assert step.memory is None
    step(create(), placement.shard(line_batches[0]))
    use = step.memory
    assert use.params == 3 * FLOAT
    assert use.model_state == FLOAT
    assert use.optimizer == 2 * 3 * FLOAT + FLOAT  # two moments and the count of steps
    assert use.batch == 8 * 3 * FLOAT + 8 * FLOAT + 8
    assert use.temporaries > 0
    assert use.total == 3 * FLOAT + FLOAT + 7 * FLOAT + use.batch + use.temporaries
    assert use.fits
    assert use.capacity > 2**28, "a share of this machine's memory"


def test_memory_grows_with_the_batch_alone(line_task):
    placement, optimizer = make_placement("jit", devices=jax.devices()[:1]), optax.sgd(0.1)
    uses = []
    for size in (1000, 4000):
        step = CompiledStep(placement.compile_step(make_train_step(line_task, optimizer)))
        state = placement.place(create_train_state(line_task, optimizer, seed=0))
        batch = {
            "x": np.ones((size, 3), np.float32),
            "y": np.ones(size, np.float32),
            "where": np.ones(size, bool),
        }
        step(state, placement.shard(batch))
        uses.append(step.memory)
    small, large = uses
    assert large.batch == 4 * small.batch
    assert large.temporaries > 3 * small.temporaries
    assert large.params == small.params


def test_another_shape_is_named(run, line_batches):
    placement, create, bare = run
    step = CompiledStep(bare)
    state, _ = step(create(), placement.shard(line_batches[0]))
    smaller = {name: array[:4] for name, array in line_batches[1].items()}
    with pytest.raises(RecompilationError, match=r"batch/x was float32\[.*8, 3\] and is float32\[.*4, 3\]"):
        step(state, placement.shard(smaller))
    without = {name: array for name, array in line_batches[1].items() if name != "where"}
    with pytest.raises(RecompilationError, match=r"batch/where was bool\[.*8\] and is absent"):
        step(state, placement.shard(without))
    step(state, placement.shard(line_batches[2]))  # the state is still good


def test_too_little_memory_is_explained(line_batches):
    def hungry(state, batch):
        return state, {"loss": jnp.full((2**45,), batch["x"].sum())}  # 128 TiB, more than an address space

    placement = make_placement("jit", devices=jax.devices()[:1])
    step = CompiledStep(placement.compile_step(hungry))
    state = placement.place(
        TrainState(jnp.int32(0), jnp.zeros(2, jnp.uint32), {"slope": jnp.zeros(3)}, {}, ())
    )
    with pytest.raises(DeviceMemoryError, match=r"ran out of memory.*TiB.*lower --data.batch-size"):
        jax.block_until_ready(step(state, placement.shard(line_batches[0])))
    assert not step.memory.fits


def test_memory_that_runs_out_before_the_first_step_has_its_own_remedy():
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes\nbacktrace")
    explained = explain_start(error)
    assert isinstance(explained, DeviceMemoryError)
    assert "before the first step" in str(explained) and "--run.parallel fsdp" in str(explained)
    assert "batch-size" not in str(explained) and "backtrace" not in str(explained)
    other = jax.errors.JaxRuntimeError("INTERNAL: no")
    assert explain_start(other) is other


def test_other_errors_stay_as_they_are():
    step = CompiledStep(jax.jit(lambda state, batch: (state, {})))
    error = ValueError("INVALID_ARGUMENT")
    assert step.explain(error) is error
    assert isinstance(step.explain(RuntimeError("RESOURCE_EXHAUSTED: 1 GiB")), DeviceMemoryError)
    with pytest.raises(ValueError, match="call it once"):
        step.program_text()


def test_advice_and_text():
    large_batch = MemoryUse(2**20, 0, 2**21, 2**20, 2**33, 2**34)
    assert "batch-size" in memory_advice(large_batch)
    assert "optimizer" in memory_advice(large_batch._replace(temporaries=0))
    assert str(large_batch) == (
        "memory of a step, each device: 8.0 GiB of 16.0 GiB (parameters 1.0 MiB, optimizer 2.0 MiB, "
        "batch 1.0 MiB, activations and temporaries 8.0 GiB)"
    )
    assert large_batch._replace(capacity=None).fits
    assert not large_batch._replace(capacity=2**32).fits
