"""One device, and eight of them that share edges, graphs or neighbourhoods, are the same run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles.script_runs import run_all

from jaxvision.weights import read_weights

SCRIPT = Path(__file__).parents[2] / "train" / "graph.py"


CASES = {
    "edges": (("--model.name", "gat", "--model.heads", "2", "--model.layers", "1"), ("jit",)),
    "graphs": (
        ("--task", "graph", "--model.name", "gcn", "--model.layers", "2", "--data.batch-size", "80"),
        ("jit", "pmap"),
    ),
    "neighbourhoods": (
        (
            *("--model.name", "sage", "--data.source", "blocks"),
            *("--data.fan-out", "400", "400", "--data.batch-size", "40"),
        ),
        ("jit", "pmap"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_eight_devices_give_the_parameters_of_one(tmp_path, case):
    """All runs of a case in one process, compiled without optimisations: the compiler takes the time."""
    more, ways = CASES[case]
    shared = ("--run.folder", str(tmp_path), "--run.steps", "2", "--run.no-compilation-cache")
    shared += ("--model.hidden", "4", "--model.dropout", "0", *more)
    runs = [["--run.name", "one", "--run.devices", "1", *shared]]
    runs += [["--run.name", parallel, "--run.parallel", parallel, *shared] for parallel in ways]
    run_all("graph.py", runs)

    def result(name):
        scores = json.loads((tmp_path / name / "scores.json").read_text())
        return read_weights(tmp_path / name / "weights.safetensors"), scores["accuracy"]

    one, accuracy = result("one")
    for parallel in ways:
        many, found = result(parallel)
        for name, array in one.items():
            np.testing.assert_allclose(many[name], array, rtol=1e-4, atol=1e-5, err_msg=f"{parallel} {name}")
        assert found == accuracy


@pytest.mark.slow
def test_edges_stay_on_their_device_and_partial_sums_are_added_over_the_devices():
    """The compiled step of a GCN on 8 devices gathers no edge array, and adds node arrays up."""
    program = """
import jax, re
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np, optax
from jaxvision import training
from jaxvision.data import FullGraphNodes, block_model
from jaxvision.tasks.graph import GraphShape, node_task
from jaxvision.tasks.graph_networks import GraphModelOptions, node_classifier
from jaxvision.tasks.graph_placement import EdgeShardedPlacement
placement = EdgeShardedPlacement(training.make_placement("jit").mesh)
data = block_model((100, 100), rng=np.random.default_rng(0))
loader = FullGraphNodes(data, edge_multiple=8)
edges = loader.batch("train")["senders"].shape[1]
task = node_task(node_classifier(GraphModelOptions(dropout=0.0), 2), GraphShape(16))
optimizer = optax.sgd(0.1)
state = placement.place(training.create_train_state(task, optimizer, seed=0))
batch = placement.shard(loader.batch("train"))
assert batch["senders"].addressable_shards[0].data.shape == (1, edges // 8)
step = placement.compile_step(training.make_train_step(task, optimizer))
text = step.lower(state, batch).compile().as_text()
assert "all-reduce" in text
gathered = re.findall(r"= \\S+\\[([\\d,]*)\\]\\S* all-gather", text)
assert not any(str(edges) in shape.split(",") for shape in gathered), gathered
print("ok")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "ok" in done.stdout, done.stderr
