"""Runs a script several times in one process of 8 virtual devices, for each start of JAX takes seconds.

A process of its own, for the number of devices is fixed once JAX has started. ``--run.devices 1`` takes one.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

TRAIN = Path(__file__).parents[2] / "train"


def run_all(script, runs):
    """Runs ``train/<script>`` once with each list of options; all must end well."""
    done = subprocess.run(
        [sys.executable, __file__, script, json.dumps([list(map(str, options)) for options in runs])],
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "8",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
    )
    assert done.returncode == 0, done.stderr


def main(script, runs):
    specification = importlib.util.spec_from_file_location("script", TRAIN / script)
    module = importlib.util.module_from_spec(specification)
    sys.modules["script"] = module
    specification.loader.exec_module(module)
    for options in json.loads(runs):
        assert module.main(options) == 0, options


if __name__ == "__main__":
    main(*sys.argv[1:])
