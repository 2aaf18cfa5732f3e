"""How the processes of a run learn that one of them ends early, and wait for each other at the end.

Each process looks twice a second into the key-value store of JAX's coordination service, which lives in
process 0. One that ends early says so there. The runtime by itself knows of a lost process by its silence
alone, and ends the others by SIGABRT.
"""

import atexit
import os
import sys
import threading
import time
from typing import Any, NoReturn

import jax

__all__ = ["TRY_AGAIN", "leave_peers", "watch_peers"]

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: "the user is invited to retry"

_DONE, _ENDED, _TOLD = "jaxvision/done/", "jaxvision/ended/", "jaxvision/told/"
_POLL = 0.5  # seconds between looks
_SILENCE = 60.0  # seconds without an answer of the service, after which nobody waits for it
_PATIENCE = 5.0  # seconds that process 0 keeps the service open, once it has said that it ends

_stop = threading.Event()


def watch_peers() -> None:
    """Begins to look after the other processes, in a thread, until this one ends."""
    threading.Thread(target=_watch, name="peers", daemon=True).start()
    atexit.register(_finish)  # so before what JAX registered, which leaves the service


def leave_peers(code: int) -> NoReturn:
    """Ends this process at once, and the others with a message; an orderly end would wait for them.

    Args:
      code: exit code of all. One that ends by :data:`TRY_AGAIN`, for it has lost another, takes the code that
        the other has told.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    _stop.set()
    ended = _read(_ENDED)
    if code == TRY_AGAIN and ended:
        code = int(min(ended)[1])
    else:
        _write(_ENDED, str(code))
    _write(_TOLD)
    if jax.process_index() == 0:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and len(_read(_TOLD) or ()) < jax.process_count():
            time.sleep(_POLL / 10)
    os._exit(code)


def _finish() -> None:
    """Waits until all have done their work: process 0, whose reports take long, or one that reads slowly."""
    if not jax.distributed.is_initialized():
        return
    if getattr(sys, "last_value", None) is not None:  # an error that nobody caught; its traceback is printed
        leave_peers(1)
    _write(_DONE)
    answered, pause = time.monotonic(), _POLL / 10
    while time.monotonic() < answered + _SILENCE:
        done = _read(_DONE)
        if done is not None:
            answered = time.monotonic()
        if len(done or ()) == jax.process_count():
            break
        _end_if_told()
        time.sleep(pause)
        pause = min(1.2 * pause, _POLL)
    _stop.set()


def _watch() -> None:
    while not _stop.wait(_POLL):
        _end_if_told()


def _end_if_told() -> None:
    ended = _read(_ENDED)
    if not ended or _stop.is_set():
        return
    _stop.set()
    index, text = min(ended)
    code, count = int(text), jax.process_count()
    again = ". What the last checkpoint holds is safe: start all processes again with --resume"
    print(
        f"error: process {jax.process_index()} of {count}: process {index} has ended early, and says why on "
        f"its own standard error; the run stops here{again if code == TRY_AGAIN else ''}",
        file=sys.stderr,
        flush=True,
    )
    _write(_TOLD)
    os._exit(code)


def _client() -> Any:
    # The service has no public name; Orbax reaches it in the same way.
    from jax._src import distributed

    return distributed.global_state.client


def _write(folder: str, text: str = "") -> None:
    try:
        _client().key_value_set(f"{folder}{jax.process_index()}", text or "-", allow_overwrite=True)
    except Exception:  # the service has gone, as every process is about to see
        return


def _read(folder: str) -> list[tuple[int, str]] | None:
    """What processes have written, each under its number; None where the service does not answer."""
    try:
        return [(int(key.rpartition("/")[2]), text) for key, text in _client().key_value_dir_get(folder)]
    except Exception:
        return None
