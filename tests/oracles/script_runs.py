"""Runs scripts in processes of their own: several times in one, for each start of JAX takes seconds; or two.

A process of its own, for the number of devices is fixed once JAX has started. ``--run.devices 1`` takes one.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

TRAIN = Path(__file__).parents[2] / "train"

_GLOO = re.compile(r"(\[Gloo\]|Rank|is connected to|peer ranks\.?|Expected number of connected|is :|\d|\s)*")
"""What the library of the collectives says of itself; threads that speak at once break each other's lines."""


def run_all(script, runs, *, devices=8):
    """Runs ``train/<script>`` once with each list of options; all must end well."""
    done = subprocess.run(
        [sys.executable, __file__, script, json.dumps([list(map(str, options)) for options in runs])],
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
    )
    assert done.returncode == 0, done.stderr


def run_processes(processes, script, *options, devices, timeout):
    """Runs ``train/<script>`` as one process of one device, or as two of ``devices`` each.

    Returns the exit code, standard output and standard error.
    """
    two = ["-m", "jaxvision.training.launch", "-n", "2", "--devices-per-process", str(devices)]
    done = subprocess.run(
        [
            *(sys.executable, *(two if processes == 2 else ())),
            *(str(TRAIN / script), *map(str, options)),
            *(("--run.cpu-devices", "1") if processes == 1 else ()),
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    return done.returncode, done.stdout, done.stderr


def said_by(process, output):
    """Lines of one process in the launcher's output, but for what the library of the collectives says."""
    lines = [line for line in output.splitlines() if line.startswith(f"[{process}]")]
    return [line for line in lines if not _GLOO.fullmatch(line.removeprefix(f"[{process}]"))]


def main(script, runs):
    specification = importlib.util.spec_from_file_location("script", TRAIN / script)
    module = importlib.util.module_from_spec(specification)
    sys.modules["script"] = module
    specification.loader.exec_module(module)
    for options in json.loads(runs):
        assert module.main(options) == 0, options


if __name__ == "__main__":
    main(*sys.argv[1:])
