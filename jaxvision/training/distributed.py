"""A run over several processes or hosts: how they find each other, and what only the first of them does."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxvision.training.peers import watch_peers

__all__ = [
    "PeerLostError",
    "check_one_process",
    "explain_lost_peer",
    "find_processes",
    "from_first_process",
    "is_first_process",
    "process_share",
    "start_processes",
]

COORDINATOR, PROCESSES, PROCESS_ID = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
"""Environment of a process that :mod:`jaxvision.training.launch` starts; a user may set it too."""

_OPEN_MPI = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
_OPEN_MPI_ADDRESS = "OMPI_MCA_orte_hnp_uri"  # of mpirun up to Open MPI 4: JAX takes the coordinator from it
_OPTIONS = {  # of what jax.distributed.initialize takes
    "coordinator_address": "--run.coordinator HOST:PORT",
    "num_processes": "--run.processes",
    "process_id": "--run.process-id",
}
_START = 300  # seconds that a process waits for the others at the start
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_LOST = (  # words of the runtime's errors after a peer has gone: of gloo, of NCCL, of JAX's own service
    "gloo",
    "connection closed by peer",
    "connection reset by peer",
    "socket closed",
    "nccl",
    "heartbeat",
    "coordination service",
    "coordinationservice",
    "shutdown barrier",
    "barrier timed out",
    "deadline_exceeded",
    "unavailable:",
)


class PeerLostError(RuntimeError):
    """Another process of the run has ended or cannot be reached."""


class ProcessOptions(Protocol):
    """What :func:`start_processes` reads; see :class:`jaxvision.training.RunOptions`."""

    @property
    def distributed(self) -> str:
        """``"auto"``, ``"on"`` or ``"off"``."""

    @property
    def coordinator(self) -> str | None:
        """``HOST:PORT`` of process 0."""

    @property
    def processes(self) -> int | None:
        """How many there are."""

    @property
    def process_id(self) -> int | None:
        """Which one this is."""

    @property
    def heartbeat(self) -> int:
        """Seconds of silence after which a process is taken for dead."""


def find_processes(options: ProcessOptions, environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What ``jax.distributed.initialize`` is to be told, from the options or else from the environment.

    In this order: the options; the three variables of :mod:`jaxvision.training.launch`; Slurm, Open MPI and
    TPU pods of more than one process, which JAX itself reads the rest from. Open MPI 5 tells number and id
    alone, which are read here; as JAX does with Open MPI 4, each process then takes one GPU of its host.

    Args:
      options: of the run.
      environment: ``os.environ``.

    Returns:
      Keyword arguments, empty where JAX finds out all by itself; None for a run of one process.

    Raises:
      ValueError: if some of coordinator, number and id are given and the others are not to be found.
    """
    if options.distributed == "off":
        return None
    told: dict[str, Any] = {
        "coordinator_address": options.coordinator or environment.get(COORDINATOR),
        "num_processes": _whole(options.processes, environment, PROCESSES),
        "process_id": _whole(options.process_id, environment, PROCESS_ID),
    }
    own_device: dict[str, Any] = {}
    silent_mpi = _by_open_mpi_5(environment)
    if silent_mpi and told["num_processes"] is None and told["process_id"] is None:
        count, index, local = (int(environment[name]) for name in _OPEN_MPI)
        told |= {"num_processes": count, "process_id": index}
        own_device = {"local_device_ids": [local]}
    given = {name: value for name, value in told.items() if value is not None}
    if len(given) == len(told):
        _check_place(given["num_processes"], given["process_id"])
        return {**given, **own_device, "cluster_detection_method": "deactivate"}
    if not silent_mpi and (_in_cluster(environment) or options.distributed == "on"):
        return given
    if not given:
        return None
    missing = [option for name, option in _OPTIONS.items() if name not in given]
    reason = "no Slurm, Open MPI or TPU pod says it"
    if silent_mpi:
        reason = "Open MPI from release 5 on does not say where process 0 is: on the first host of mpirun's"
    raise ValueError(f"a run of several processes needs {' and '.join(missing)} too ({reason})")


def _whole(value: int | None, environment: Mapping[str, str], name: str) -> int | None:
    if value is not None or name not in environment:
        return value
    try:
        return int(environment[name])
    except ValueError as error:
        raise ValueError(
            f"{name}={environment[name]!r} in the environment: expected a whole number"
        ) from error


def _check_place(count: int, index: int) -> None:
    if not 0 <= index < count:
        raise ValueError(
            f"--run.process-id {index} of --run.processes {count}: expected 0 to {count - 1}, each once"
        )


def _in_cluster(environment: Mapping[str, str]) -> bool:
    """Whether the environment is that of one of several processes, by variables that JAX reads as well."""
    if all(name in environment for name in _SLURM):
        return int(environment["SLURM_NTASKS"]) > 1
    if _OPEN_MPI_ADDRESS in environment:
        return int(environment.get(_OPEN_MPI[0], "1")) > 1
    if int(environment.get("MEGASCALE_NUM_SLICES") or "1") > 1:
        return True
    return "," in environment.get("TPU_WORKER_HOSTNAMES", "")


def _by_open_mpi_5(environment: Mapping[str, str]) -> bool:
    """Whether Open MPI, of a release that JAX cannot read, started this and other processes."""
    alone = _OPEN_MPI_ADDRESS in environment or not all(name in environment for name in _OPEN_MPI)
    return not alone and int(environment[_OPEN_MPI[0]]) > 1


def wait_for_coordinator(address: str, *, seconds: float) -> None:
    """Waits until process 0 listens; the JAX runtime itself would end this process by SIGABRT.

    Args:
      address: ``HOST:PORT``.
      seconds: to try.

    Raises:
      ValueError: if nobody listens there, or it is no such address.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise ValueError(f"--run.coordinator {address}: expected HOST:PORT, such as node1:8476")
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
            return
        except (OSError, OverflowError) as error:  # unknown, refused or silent; or a port too high
            if time.monotonic() > deadline:
                raise ValueError(
                    f"--run.coordinator {address}: process 0 did not answer there for {seconds:g} seconds "
                    f"({error}); start it, and give all processes its host and a free port that they reach"
                ) from error
        time.sleep(0.2)


def start_processes(options: ProcessOptions) -> None:
    """Joins this process with the others of the run; does nothing in a run of one process.

    It must come before anything that touches a device. Collectives between CPUs are gloo's. What any but the
    first process prints is dropped: all would say the same. Errors, on standard error, stay.

    A process that has been silent for ``heartbeat`` seconds is taken for dead, and the JAX runtime then ends
    all others, each with a message; so nobody waits for ever in a collective. One that fails tells the others
    at once. One that has done its work waits for the others, however long they work.

    Raises:
      ValueError: as :func:`find_processes`; if process 0 cannot be reached; or if there is no cluster to be
        found with ``distributed="on"``.
    """
    arguments = find_processes(options, os.environ)
    if arguments is None or jax.distributed.is_initialized():
        return
    address = arguments.get("coordinator_address")
    if address is not None and arguments.get("process_id"):  # not 0, which listens itself, nor unknown
        wait_for_coordinator(address, seconds=_START)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=options.heartbeat)
    except ValueError as error:
        raise ValueError(
            f"--run.distributed {options.distributed}: no cluster was found ({error}); give "
            "--run.coordinator "
            "HOST:PORT, --run.processes and --run.process-id"
        ) from error
    watch_peers()
    if not is_first_process():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends


def is_first_process() -> bool:
    """Whether this is the process that writes logs, pictures and configurations."""
    return jax.process_index() == 0


def from_first_process(make: Callable[[], Any]) -> Any:
    """Calls a function in the first process alone, and gives what it returns to all.

    All processes must come here in the same order. If the function raises, its error goes on in the first
    process, and the others end quietly, for one message is enough.

    Args:
      make: returns something that JSON holds.
    """
    if jax.process_count() == 1:
        return make()
    answer, error = b"", None
    if is_first_process():
        try:
            answer = json.dumps(make()).encode()
        except Exception as raised:
            error = raised
    size = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if error else len(answer))))
    if error is not None:
        raise error
    if size < 0:
        raise SystemExit(1)
    padded = np.frombuffer(answer.ljust(size), np.uint8) if is_first_process() else np.zeros(size, np.uint8)
    return json.loads(multihost_utils.broadcast_one_to_all(padded).tobytes())


def process_share(batch_size: int) -> dict[str, int]:
    """This process's share of every batch, as :func:`jaxvision.data.train_batches` takes it.

    Args:
      batch_size: records in a batch of the whole run.

    Returns:
      ``batch_size`` of this process, ``shard_index`` and ``shard_count``.

    Raises:
      ValueError: if the processes cannot share the batch equally.

    >>> process_share(8)
    {'batch_size': 8, 'shard_index': 0, 'shard_count': 1}
    """
    count = jax.process_count()
    if batch_size % count:
        raise ValueError(f"batch size {batch_size} is not divisible by {count} processes")
    return {"batch_size": batch_size // count, "shard_index": jax.process_index(), "shard_count": count}


def check_one_process(program: str) -> None:
    """Checks that a program which cannot share its work runs alone.

    Args:
      program: its name, for the message.

    Raises:
      ValueError: in a run of several processes.

    >>> check_one_process("train/word2vec.py")
    """
    count = jax.process_count()
    if count > 1:
        raise ValueError(
            f"{program} runs in one process, which may use all devices of its host; got {count}: start it "
            "without a launcher, or with --run.distributed off on one host"
        )


def explain_lost_peer(error: Exception) -> PeerLostError | None:
    """The error to raise where another process has gone; None for any other error, or in a run of one."""
    text = str(error).lower()
    if jax.process_count() == 1 or not any(word in text for word in _LOST):
        return None
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return PeerLostError(
        f"process {jax.process_index()} of {jax.process_count()}: another process has ended or cannot be "
        "reached, so the run stops here. What the last checkpoint holds is safe: start all processes again "
        f"with --resume. The runtime says: {first}"
    )
