"""Placements; that they train alike is shown by ``tests/train/test_segmentation_parallel.py``."""

import jax
import numpy as np
import pytest

from jaxvision.training import make_placement

BATCH = {"x": np.arange(24.0, dtype=np.float32).reshape(8, 3), "where": np.arange(8) < 5}


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_a_batch_goes_to_the_devices_and_back(parallel):
    placement = make_placement(parallel, devices=jax.devices()[:1])
    sharded = placement.shard(BATCH)
    assert all(isinstance(array, jax.Array) for array in sharded.values())
    for name, array in placement.unshard(sharded).items():
        np.testing.assert_array_equal(array, BATCH[name])


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_a_step_finds_its_batch_on_the_devices(parallel):
    placement = make_placement(parallel, devices=jax.devices()[:1])
    step = placement.compile_count(lambda variables, batch: (batch["x"] * variables).sum())
    variables = placement.place(np.float32(2.0))
    step(variables, placement.shard(BATCH))
    sharded = placement.shard(BATCH)
    with jax.transfer_guard("disallow"):  # a batch still on the host would have to be copied now
        result = step(variables, sharded)
    assert float(placement.fetch(result)) == 2 * BATCH["x"].sum()


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="'jit', 'pmap' or 'fsdp', got 'xmap'"):
        make_placement("xmap")
    placement = make_placement("pmap")
    with pytest.raises(ValueError, match="one size of the first axis, got \\[2, 3\\]"):
        placement.shard({"x": np.zeros(2), "y": np.zeros(3)})
