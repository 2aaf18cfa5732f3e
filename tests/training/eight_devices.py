"""One run in every placement on 8 virtual CPU devices; prints what ``test_eight_devices.py`` looks at.

A process of its own, for the number of CPU devices is fixed once JAX has started.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import optax

from jaxvision import training, zoo
from jaxvision.core import flatten_paths
from jaxvision.ops import convolution
from jaxvision.tasks import ClassificationLossOptions, classification_task
from jaxvision.training.checkpoint import Checkpoints

STEPS = 5


def make_task(axis_name):
    model = zoo.create(
        "cifar_resnet20",
        num_classes=8,
        axis_name=axis_name,
        backbone={"blocks": (1, 1, 1), "features": (16, 16, 32)},
    )
    loss = ClassificationLossOptions().build(8)
    return classification_task(model, loss, num_classes=8, image_size=(8, 8))


def batches():
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        images = rng.normal(size=(16, 8, 8, 3)).astype(np.float32)
        # The last image does not count: the devices' shares of the loss are of different weight.
        yield {
            "images": images,
            "labels": rng.integers(0, 8, 16).astype(np.int32),
            "where": np.arange(16) < 15,
        }


def run(placement):
    task, optimizer = make_task(placement.axis_name), optax.sgd(0.05, momentum=0.9)
    step = training.compile_step(task, optimizer, placement)
    state = training.create_train_state(task, optimizer, seed=0, placement=placement)
    for batch in batches():
        state, metrics = step(state, placement.shard(batch))
    count = placement.compile_count(training.make_count_step(task, axis_name=placement.axis_name))
    counts = placement.fetch(count(state.variables(), placement.shard(batch)))
    return step, state, metrics, counts


def difference(tree, other):
    """The largest difference, in units of 1e-5 of the value and 1e-5 beside."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(a - b) / (1e-5 + 1e-5 * np.abs(b)))) for a, b in pairs if np.size(a))


def describe(placement, step, state, one):
    host = placement.fetch(state)
    return {
        "params": difference(host.params, one.params),
        "model_state": difference(host.model_state, one.model_state),
        "opt_state": difference(host.opt_state, one.opt_state),
        "memory": step.memory._asdict(),
        "collectives": training.count_collectives(step.program_text(), num_devices=8),
    }


def sent_for_a_kernel(placement):
    """Collectives of a kernel's gradient that is summed over blocks: of the batch, and of rows."""

    def gradient(kernel, images):
        return jax.grad(lambda kernel: jax.numpy.square(convolution(images, kernel, padding=1)).sum())(kernel)

    images = placement.shard(np.ones((32, 32, 32, 32), np.float32))
    kernel = placement.place(np.ones((3, 3, 32, 8), np.float32))
    program = placement.compile_count(gradient).lower(kernel, images).compile().as_text()
    return training.count_collectives(program, num_devices=8)


def main(folder):
    devices = jax.devices()
    mesh = training.make_placement("jit").mesh
    placements = {
        "one": training.make_placement("jit", devices=devices[:1]),
        "jit": training.make_placement("jit"),
        "pmap": training.make_placement("pmap"),
        "fsdp": training.FsdpPlacement(mesh, rules=(training.ShardRule("norm", "none"),), least=64),
    }
    report, states, all_counts = {}, {}, {}
    for name, placement in placements.items():
        step, state, _, all_counts[name] = run(placement)
        states[name] = state
        one = placements["one"].fetch(states["one"])
        report[name] = describe(placement, step, state, one)
    one = placements["one"].fetch(states["one"])
    report["kernel"] = sent_for_a_kernel(placements["jit"])
    report["gradient_bytes"] = sum(x.nbytes for x in jax.tree.leaves(one.params))
    report["statistic_bytes"] = sum(x.nbytes for x in jax.tree.leaves(one.model_state))
    report["counts"] = {name: difference(counts, all_counts["one"]) for name, counts in all_counts.items()}
    report["layout"] = {
        path: [list(x.shape), list(x.addressable_shards[0].data.shape)]
        for path, x in flatten_paths(states["fsdp"]).items()
    }
    # A checkpoint is the state, wherever it was: saved from each placement, read into each.
    report["restored"] = {}
    for name in ("jit", "pmap", "fsdp"):
        checkpoints = Checkpoints(Path(folder) / name)
        saved = placements[name].snapshot(states[name])
        checkpoints.save(STEPS, saved, None)
        checkpoints.wait()
        restored, _ = checkpoints.restore(one)
        for other in ("jit", "pmap", "fsdp"):
            placed = placements[other].fetch(placements[other].place(restored))
            same = all(map(np.array_equal, jax.tree.leaves(placed), jax.tree.leaves(saved)))
            report["restored"][f"{name} -> {other}"] = same
    print(json.dumps(report))


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    main(sys.argv[1])
