"""The launcher, with processes that need no JAX: output, exit codes, ends and signals."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jaxvision.training.launch import launch, main


def _run(program, *, processes=2, **options):
    lines = []
    command = [sys.executable, "-S", "-c", program]
    code = launch(command, processes=processes, write=lines.append, **options)
    return code, lines


def test_each_process_knows_its_place_and_its_lines_carry_its_number():
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_NUM_CPU_DEVICES")
    code, lines = _run(f"import os; print(*map(os.environ.get, {names}))", processes=3, devices=4)
    assert code == 0
    assert [line[:4] for line in sorted(lines)] == ["[0] ", "[1] ", "[2] "]
    places = [line[4:].split() for line in sorted(lines)]
    assert len({place[0] for place in places}) == 1 and places[0][0].startswith("127.0.0.1:")
    assert [place[1:] for place in places] == [["3", str(index), "4"] for index in range(3)]


def test_standard_error_is_shown_too():
    code, lines = _run("import sys; sys.stderr.write('no newline')", processes=1)
    assert (code, lines) == (0, ["[0] no newline\n"])


def test_the_first_bad_exit_code_is_returned_and_the_others_are_ended():
    program = "import os, sys, time\nif os.environ['JAX_PROCESS_ID'] == '1': sys.exit(3)\ntime.sleep(60)\n"
    started = time.monotonic()
    code, lines = _run(program)
    assert code == 3
    assert time.monotonic() - started < 30
    assert lines == ["launch: process 1 ended with 3; the others are told to stop\n"]


def test_a_process_that_does_not_stop_is_killed_after_the_grace():
    program = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.environ['JAX_PROCESS_ID'] == '0':\n"
        "    time.sleep(0.5); os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(60)\n"
    )
    code, lines = _run(program, grace=0.2)
    assert code == 137
    assert lines == [
        "launch: process 0 ended with 137 (SIGKILL); the others are told to stop\n",
        "launch: 1 process(es) did not stop in 0.2 seconds and are ended\n",
    ]


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_goes_to_all_as_sigterm(tmp_path, number):
    script = tmp_path / "script.py"
    script.write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(143)))\n"
        "print('ready', *sys.argv[1:], flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-m", "jaxvision.training.launch", "-n", "2", str(script), "--run.steps", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        ready = sorted(child.stdout.readline() for _ in range(2))
        child.send_signal(number)
        rest = sorted(child.stdout)
    assert ready == ["[0] ready --run.steps 3\n", "[1] ready --run.steps 3\n"]
    assert rest[:2] == ["[0] saved\n", "[1] saved\n"]
    assert child.returncode == 143


def test_wrong_numbers_are_named(capsys):
    with pytest.raises(ValueError, match="processes: expected 1 or more, got 0"):
        _run("", processes=0)
    with pytest.raises(ValueError, match="devices: expected 1 or more, got 0"):
        _run("", devices=0)
    with pytest.raises(SystemExit) as ended:
        main(["-n", "0", "script.py"])
    assert ended.value.code == 2
    assert "expected 1 or more, got 0" in capsys.readouterr().err
