"""Every placement on 8 devices trains as one device does; what is sent is what must be sent."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("eight_devices.py")
PLACEMENTS = ("jit", "pmap", "fsdp")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), str(tmp_path_factory.mktemp("checkpoints"))],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("part", ["params", "model_state", "opt_state"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_after_five_steps_eight_devices_hold_the_numbers_of_one(report, placement, part):
    assert report[placement][part] <= 1.0, "in units of 1e-5 + 1e-5 |x|"


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_counts_are_those_of_the_whole_batch(report, placement):
    assert report["counts"][placement] <= 1.0


@pytest.mark.parametrize("placement", ["jit", "pmap"])
def test_no_more_is_sent_than_gradients_and_statistics(report, placement):
    sent = report[placement]["collectives"]
    assert {kind for kind, _, _ in sent} == {"all-reduce"}
    # Each normalisation sums two numbers a channel, as many as the state holds of it; what it sums backward
    # are the gradients of its scale and its bias.
    least = report["gradient_bytes"] + report["statistic_bytes"]
    assert least <= sum(size for _, size, _ in sent) <= 1.05 * least


def test_blocks_of_a_sharded_batch_stay_where_they_are(report):
    kinds, sizes, _ = zip(*report["kernel"], strict=True)
    assert set(kinds) == {"all-reduce"}, "no image goes to another device"
    assert sum(sizes) <= 8 * 4 * 3 * 3 * 32 * 8, "eight blocks send a kernel's gradient each"


def test_one_device_sends_nothing(report):
    assert report["one"]["collectives"] == []


def test_fsdp_gathers_parameters_and_each_device_holds_a_part(report):
    kinds = {kind for kind, _, _ in report["fsdp"]["collectives"]}
    assert "all-gather" in kinds
    one, parted = report["jit"]["memory"], report["fsdp"]["memory"]
    for name in ("params", "optimizer"):
        assert one[name] / 8 <= parted[name] < one[name] / 4, "all but small arrays are in eight parts"
    assert parted["model_state"] == one["model_state"]
    total = {name: sum(v for k, v in use.items() if k != "capacity") for name, use in _memories(report)}
    assert total["fsdp"] < total["jit"]


def _memories(report):
    return [(name, report[name]["memory"]) for name in ("jit", "fsdp")]


def test_fsdp_splits_the_largest_axis_of_kernels_and_of_their_moments(report):
    layout = {path.lstrip("."): shapes for path, shapes in report["layout"].items()}
    kernels = {path: shapes for path, shapes in layout.items() if path.endswith("block0/conv1/kernel")}
    assert {path.split("/")[0] for path in kernels} == {"params", "opt_state"}
    for whole, part in kernels.values():
        assert part != whole
        assert [a // b for a, b in zip(whole, part, strict=True)].count(8) == 1
    for path, (whole, part) in layout.items():
        if "norm" in path or path in ("step", "key"):
            assert whole == part, path


@pytest.mark.parametrize("after", PLACEMENTS)
@pytest.mark.parametrize("before", PLACEMENTS)
def test_a_checkpoint_goes_from_any_placement_to_any_other(report, before, after):
    assert report["restored"][f"{before} -> {after}"]
