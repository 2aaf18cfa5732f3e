"""Compiled programs on disk: found by the next process, and never a reason for a run to end."""

import os
import subprocess
import sys

import jax
import pytest

from jaxvision.training import compilation_cache_folder, keep_compiled_programs

PROGRAM = """
import jax, jax.numpy as jnp, sys
from pathlib import Path
from jaxvision.training import RunOptions, configure_devices
configure_devices(RunOptions())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
print(jax.jit(lambda x: jnp.sin(x) + 1)(jnp.ones(3)).sum())
print(sum(name.endswith("cache_hits") for name in hits) > 0)
"""


def _run(cache, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(cache), "JAX_PLATFORMS": "cpu", **more}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def unset():
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compilation_cache_folder() == tmp_path / "jaxvision" / "xla"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compilation_cache_folder() == tmp_path / ".cache" / "jaxvision" / "xla"


def test_a_folder_that_was_set_stays(unset, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    assert keep_compiled_programs(folder=tmp_path / "ours") == tmp_path / "mine"
    assert not list(tmp_path.iterdir())


def test_without_a_folder_that_can_be_written_nothing_is_kept(unset, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert keep_compiled_programs(folder=tmp_path / "file" / "xla") is None
    assert "not kept" in capsys.readouterr().out
    assert jax.config.jax_compilation_cache_dir is None


def test_a_full_disk_keeps_nothing(unset, tmp_path, monkeypatch, capsys):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jaxvision.training.compilation_cache.tempfile.TemporaryFile", full)
    assert keep_compiled_programs(folder=tmp_path) is None
    assert "No space left on device" in capsys.readouterr().out


@pytest.mark.slow
def test_the_next_process_finds_the_programs_and_a_damaged_one_is_compiled_anew(tmp_path):
    assert _run(tmp_path)[-1] == "False"
    assert _run(tmp_path)[-1] == "True"
    entries = list((tmp_path / "jaxvision" / "xla").glob("*-cache"))
    assert entries
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:20])
    shown = _run(tmp_path)
    assert shown[-1] == "False"
    assert shown[-2].startswith("5.52")


@pytest.mark.slow
def test_a_cache_that_cannot_be_made_breaks_no_run(tmp_path):
    (tmp_path / "file").touch()
    shown = _run(tmp_path / "file")
    assert "not kept" in shown[0]
    assert shown[-2].startswith("5.52")
