"""Runs that lose a process, are told to stop, or are killed over and over end where an unbroken one does."""

import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from oracles.script_runs import said_by

from jaxvision.training import read_json_lines
from jaxvision.training.launch import launch

PROGRAM = Path(__file__).with_name("line_program.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="signals are POSIX"),
]


def _launch(folder, *options, **more):
    lines = []
    command = [sys.executable, str(PROGRAM), str(folder), *options]
    return launch(command, processes=2, devices=1, write=lines.append, **more), "".join(lines)


def _pair(folder, *options):
    """Two processes, started by hand, so that nobody ends one for the other."""
    from jaxvision.training.launch import _free_port

    place = {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{_free_port()}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PLATFORMS": "cpu",
    }
    return [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder), *options],
            env={**os.environ, **place, "JAX_NUM_CPU_DEVICES": "1", "JAX_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]


def _wait_for_step(folder, step, children):
    deadline = time.monotonic() + 120
    path = folder / "metrics.jsonl"
    while not (path.exists() and any(r["step"] >= step for r in read_json_lines(path))):
        assert time.monotonic() < deadline and all(c.poll() is None for c in children), (
            "the run did not start"
        )
        time.sleep(0.02)


def _whole_steps(folder):
    return [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]


def _losses(folder):
    return [(r["step"], r["loss"]) for r in read_json_lines(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An unbroken run of two processes."""
    folder = tmp_path_factory.mktemp("whole")
    code, output = _launch(folder, "--steps", "60")
    assert code == 0, output
    assert not said_by(1, output)
    return folder


def _assert_ends_as(whole, folder):
    assert np.array_equal(np.load(whole / "slope.npy"), np.load(folder / "slope.npy"))
    assert _losses(folder) == _losses(whole)


@pytest.mark.parametrize("victim", [1, 0])
def test_the_loss_of_a_process_ends_the_other_and_a_restart_goes_on(whole, tmp_path, victim):
    """Process 0 holds the service by which all know of each other, so its loss is another case."""
    children = _pair(tmp_path, "--steps", "60", "--pause", "0.05")
    _wait_for_step(tmp_path, 12, children)
    children[victim].kill()
    killed = time.monotonic()
    output, _ = children[1 - victim].communicate(timeout=60)
    assert time.monotonic() - killed < 25, "the heartbeat timeout is 10 seconds"
    children[victim].communicate()
    assert children[1 - victim].returncode in (75, 128 + signal.SIGABRT, -signal.SIGABRT), output
    assert re.search("another process has ended|another task died|coordination service", output), output
    assert max(_whole_steps(tmp_path)) >= 5
    code, output = _launch(tmp_path, "--steps", "60")
    assert code == 0, output
    _assert_ends_as(whole, tmp_path)


def test_a_process_that_hangs_ends_the_other_within_the_heartbeat_timeout(tmp_path):
    children = _pair(tmp_path, "--steps", "100000", "--pause", "0.02")
    _wait_for_step(tmp_path, 12, children)
    children[1].send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    output, _ = children[0].communicate(timeout=90)
    assert time.monotonic() - stopped < 45, "the heartbeat timeout is 10 seconds"
    assert children[0].returncode != 0
    assert re.search("another process has ended|heartbeat|task died", output), output
    children[1].kill()
    children[1].communicate()


def test_the_others_wait_for_a_report_that_takes_longer_than_the_heartbeat_timeout(tmp_path):
    code, output = _launch(tmp_path, "--steps", "2", "--heartbeat", "2", "--report", "6")
    assert code == 0, output
    assert not said_by(1, output)


def test_the_loss_of_the_first_process_in_its_report_ends_the_others(tmp_path):
    children = _pair(tmp_path, "--steps", "12", "--report", "100000")
    _wait_for_step(tmp_path, 12, children)
    time.sleep(1.0)  # until the other waits for the report
    children[0].kill()
    output, _ = children[1].communicate(timeout=30)
    assert children[1].returncode != 0, output
    children[0].communicate()


@pytest.mark.parametrize(("kind", "failing", "code"), [("mistake", 0, 1), ("exit", 0, 3), ("defect", 1, 1)])
def test_a_process_that_fails_tells_the_other_at_once(tmp_path, kind, failing, code):
    """Process 0 takes the service along; 600 seconds of silence would be no sign of an end."""
    options = ("--steps", "100000", "--heartbeat", "600", "--fail", kind, "--failing", str(failing))
    children = _pair(tmp_path, *options)
    said = [child.communicate(timeout=90)[0] for child in children]
    assert [child.returncode for child in children] == [code, code], said
    assert re.search(f"process {failing} has ended early|another process has ended", said[1 - failing]), said
    assert ("KeyError: 'a defect'" in said[failing]) == (kind == "defect")


def test_sigterm_to_one_process_saves_the_same_step_in_all(whole, tmp_path):
    children = _pair(tmp_path, "--steps", "60", "--pause", "0.05", "--every", "1000")
    _wait_for_step(tmp_path, 12, children)
    children[1].send_signal(signal.SIGTERM)
    outputs = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [143, 143], outputs
    assert "stopped by SIGTERM" in outputs[0]
    (saved,) = _whole_steps(tmp_path)
    assert 12 <= saved < 60
    code, output = _launch(tmp_path, "--steps", "60")
    assert code == 0, output
    _assert_ends_as(whole, tmp_path)


def _live(folder, steps):
    """One life of a run, in a process forked from one that has everything imported."""
    sys.path.insert(0, str(PROGRAM.parent))
    import line_program

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(
        line_program.main([str(folder), "--steps", str(steps), "--every", "3", "--pause", "0.003"])
    )


def test_twenty_kills_lose_nothing_beyond_the_last_save(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jaxvision.training", "orbax.checkpoint", "optax", "tensorboardX"])
    steps, draw = 400, random.Random(0)

    def start(name):
        process = context.Process(target=_live, args=(tmp_path / name, steps))
        process.start()
        return process

    whole = start("whole")
    whole.join(120)
    assert whole.exitcode == 0
    folder, starts = tmp_path / "killed", [0]
    metrics = folder / "metrics.jsonl"
    for _ in range(20):
        life = start("killed")
        target = starts[-1] + draw.randint(1, 15)
        deadline = time.monotonic() + 60
        while not metrics.exists() or max((r["step"] for r in read_json_lines(metrics)), default=0) < target:
            assert life.is_alive() and time.monotonic() < deadline, "the run ended before it could be killed"
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.02))
        life.kill()
        life.join()
        reached = max(step for step, _ in _losses(folder))
        saved = max(_whole_steps(folder), default=0)
        # The save of the last multiple of 3 may still have been on its way, and the next waits for it.
        assert reached - saved < 9
        assert saved >= starts[-1]
        starts.append(saved)
    assert starts[-1] > 30, "no life got past a few checkpoints"
    last = start("killed")
    last.join(120)
    assert last.exitcode == 0
    _assert_ends_as(tmp_path / "whole", folder)
