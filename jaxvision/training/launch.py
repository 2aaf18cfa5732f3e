"""Starts several processes of one script on this machine, to try a run of many hosts::

    python -m jaxvision.training.launch -n 2 --devices-per-process 4 train/segmentation.py --run.steps 100

Each process finds the others by its environment; in a cluster, ``srun`` or ``mpirun`` takes the launcher's
place. A line of output begins with the number of its process. SIGINT and SIGTERM go on to all processes as
SIGTERM, at which a script saves and stops. If one process fails, the others are told to stop too, and after
``--grace`` seconds they are ended. The exit code is that of the process that failed first.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from jaxvision.training.distributed import COORDINATOR, PROCESS_ID, PROCESSES

__all__ = ["launch", "main"]

_POLL = 0.05  # seconds between looks at the processes


def launch(
    command: Sequence[str],
    *,
    processes: int,
    devices: int | None = None,
    grace: float = 30.0,
    environment: Mapping[str, str] | None = None,
    write: Callable[[str], object] | None = None,
) -> int:
    """Runs a command several times at once, as the processes of one run, and waits for the end of all.

    Args:
      command: program and arguments.
      processes: how many.
      devices: split the CPU of each process into this many; by default whatever devices JAX finds.
      grace: seconds from SIGTERM to SIGKILL, once a process has failed or this one was told to stop.
      environment: of the processes; by default that of this one.
      write: takes each line of output, such as ``"[0] step 20"``; by default standard output.

    Returns:
      0 if all processes did, else the exit code of the first that failed: 128 + the number of the signal if
      one ended it.

    Raises:
      ValueError: if a number is less than 1.
      OSError: if the command cannot be started.
    """
    for name, value in (("processes", processes), ("devices", devices)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected 1 or more, got {value}")
    shared = {
        **(os.environ if environment is None else environment),
        COORDINATOR: f"127.0.0.1:{_free_port()}",
        PROCESSES: str(processes),
        "PYTHONUNBUFFERED": "1",
    }
    if devices is not None:
        shared |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    with _Children(_print_line if write is None else write) as children, _signals_to(children.stop):
        for index in range(processes):
            children.start(command, {**shared, PROCESS_ID: str(index)})
        return children.wait(grace)


class _Children:
    """The processes, in order, and the threads that show what they write."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []
        self._stopped: float | None = None  # when they were told to stop

    def __enter__(self) -> "_Children":
        return self

    def __exit__(self, *error: object) -> None:
        self._kill()
        for reader in self._readers:
            reader.join(timeout=5.0)  # a grandchild may hold the pipe open

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        child = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a terminal's Ctrl-C reaches this process alone, which passes it on
        )
        index = len(self._children)
        self._children.append(child)
        self._readers.append(threading.Thread(target=self._show, args=(index, child.stdout), daemon=True))
        self._readers[-1].start()

    def stop(self) -> None:
        """Tells all to stop; from the first time on their time runs."""
        self._stopped = self._stopped or time.monotonic()
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)

    def wait(self, grace: float) -> int:
        """Waits for all; returns the first code that is not 0."""
        first = 0
        running = dict(enumerate(self._children))
        while running:
            for index, child in list(running.items()):
                code = child.poll()
                if code is None:
                    continue
                del running[index]
                code = 128 - code if code < 0 else code
                if code and not first:
                    first = code
                    if running and self._stopped is None:
                        self._say(
                            f"process {index} ended with {_describe(code)}; the others are told to stop"
                        )
                        self.stop()
            if running and self._stopped is not None and time.monotonic() - self._stopped > grace:
                self._say(f"{len(running)} process(es) did not stop in {grace:g} seconds and are ended")
                self._kill()
            time.sleep(_POLL)
        return first

    def _kill(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait()

    def _show(self, index: int, stream: IO[str]) -> None:
        for line in stream:
            with self._lock:
                self._write(f"[{index}] {line.rstrip()}\n")
        stream.close()

    def _say(self, text: str) -> None:
        with self._lock:
            self._write(f"launch: {text}\n")


@contextlib.contextmanager
def _signals_to(stop: Callable[[], None]) -> Iterator[None]:
    """Calls ``stop`` at SIGINT and SIGTERM; only a main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def received(number: int, frame: types.FrameType | None) -> None:
        stop()

    before: dict[int, Any] = {n: signal.signal(n, received) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe(code: int) -> str:
    """An exit code for people.

    >>> _describe(137), _describe(2)
    ('137 (SIGKILL)', '2')
    """
    with contextlib.suppress(ValueError):
        return f"{code} ({signal.Signals(code - 128).name})"
    return str(code)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def _print_line(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Reads the command line and runs the script."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxvision.training.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-n", "--processes", type=int, required=True, help="how many processes")
    parser.add_argument(
        "--devices-per-process", type=int, help="split each process's CPU into this many devices"
    )
    parser.add_argument(
        "--grace", type=float, default=30.0, help="seconds from SIGTERM to SIGKILL (default 30)"
    )
    parser.add_argument("script", help="a Python file")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the script")
    options = parser.parse_args(arguments)
    try:
        return launch(
            [sys.executable, options.script, *options.arguments],
            processes=options.processes,
            devices=options.devices_per_process,
            grace=options.grace,
        )
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
