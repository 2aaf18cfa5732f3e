"""How the processes of a run find each other; that they train alike is in tests/train/test_processes.py."""

import socket
import threading

import jax
import pytest

from jaxvision.training import (
    PeerLostError,
    RunOptions,
    check_one_process,
    from_first_process,
    is_first_process,
    process_share,
    run_script,
)
from jaxvision.training.distributed import (
    explain_lost_peer,
    find_processes,
    start_processes,
    wait_for_coordinator,
)

LAUNCHED = {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "2"}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "2",
}
OPEN_MPI = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.0.0.1:34911", "OMPI_COMM_WORLD_SIZE": "2"}
OPEN_MPI_5 = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "PRTE_MCA_prte_personality": "ompi",
}
ALONE = {"cluster_detection_method": "deactivate"}


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({}, {}, None),
        ({}, {"PATH": "/bin", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, None),  # a shell of salloc, not srun
        ({}, {**SLURM, "SLURM_NTASKS": "1"}, None),
        ({}, SLURM, {}),
        ({}, OPEN_MPI, {}),
        ({}, {**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "1"}, None),
        (
            {"coordinator": "node1:8476"},
            OPEN_MPI_5,
            {
                "coordinator_address": "node1:8476",
                "num_processes": 4,
                "process_id": 3,
                "local_device_ids": [1],
                **ALONE,
            },
        ),
        ({}, {**OPEN_MPI_5, "OMPI_COMM_WORLD_SIZE": "1"}, None),
        ({"distributed": "off"}, OPEN_MPI_5, None),
        ({}, {"TPU_WORKER_HOSTNAMES": "t1v-0,t1v-1"}, {}),
        ({}, {"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({}, {"MEGASCALE_NUM_SLICES": "2"}, {}),
        ({"distributed": "on"}, {}, {}),
        ({"distributed": "off"}, LAUNCHED, None),
        ({}, LAUNCHED, {"coordinator_address": "host:1", "num_processes": 4, "process_id": 2, **ALONE}),
        (
            {"coordinator": "other:2", "processes": 3, "process_id": 0},
            LAUNCHED,
            {"coordinator_address": "other:2", "num_processes": 3, "process_id": 0, **ALONE},
        ),
        ({"coordinator": "other:2"}, SLURM, {"coordinator_address": "other:2"}),
    ],
)
def test_options_come_before_the_launcher_and_that_before_the_cluster(options, environment, expected):
    assert find_processes(RunOptions(**options), environment) == expected


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        ({"processes": 2}, {}, "needs --run.coordinator HOST:PORT and --run.process-id too"),
        ({"coordinator": "a:1", "process_id": 0}, {}, "needs --run.processes too"),
        ({}, OPEN_MPI_5, "needs --run.coordinator HOST:PORT too .Open MPI from release 5 on does not say"),
        ({"distributed": "on"}, OPEN_MPI_5, "needs --run.coordinator HOST:PORT too"),
        ({"process_id": 4}, LAUNCHED, r"--run.process-id 4 of --run.processes 4: expected 0 to 3"),
        (
            {},
            {**LAUNCHED, "JAX_PROCESS_ID": "two"},
            "JAX_PROCESS_ID='two' in the environment: expected a whole",
        ),
    ],
)
def test_half_an_answer_is_refused(options, environment, message):
    with pytest.raises(ValueError, match=message):
        find_processes(RunOptions(**options), environment)


def test_a_process_without_a_coordinator_says_so(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        wait_for_coordinator(f"127.0.0.1:{port}", seconds=0.0)
    monkeypatch.setattr("jaxvision.training.distributed._START", 0.2)
    options = RunOptions(coordinator=f"127.0.0.1:{port}", processes=2, process_id=1)
    with pytest.raises(ValueError, match=rf"127.0.0.1:{port}: process 0 did not answer there for 0.2 second"):
        start_processes(options)
    for address in ("node1", "node1:http", ":8476"):
        with pytest.raises(ValueError, match=f"--run.coordinator {address}: expected HOST:PORT"):
            wait_for_coordinator(address, seconds=0.0)
    with pytest.raises(ValueError, match="99999: process 0 did not answer"):
        wait_for_coordinator("127.0.0.1:99999", seconds=0.0)


def test_a_coordinator_that_begins_late_is_waited_for():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        late = threading.Timer(0.3, server.listen)
        late.start()
        wait_for_coordinator(f"127.0.0.1:{server.getsockname()[1]}", seconds=30.0)
        late.join()


@pytest.mark.parametrize("name", ["processes", "heartbeat"])
def test_numbers_must_be_positive(name):
    with pytest.raises(ValueError, match=f"--run.{name}: got 0, expected 1 or more"):
        RunOptions(**{name: 0})


def test_a_run_of_one_process_is_its_own_first(monkeypatch):
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    start_processes(RunOptions())  # touches nothing
    assert not jax.distributed.is_initialized()
    assert is_first_process()
    assert from_first_process(lambda: {"a": [1, None]}) == {"a": [1, None]}
    with pytest.raises(ValueError, match="taken"):
        from_first_process(lambda: (_ for _ in ()).throw(ValueError("taken")))
    assert process_share(6) == {"batch_size": 6, "shard_index": 0, "shard_count": 1}


def _as_one_of_four(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    monkeypatch.setattr(jax, "process_index", lambda: 3)


def test_a_process_reads_its_share(monkeypatch):
    _as_one_of_four(monkeypatch)
    assert process_share(8) == {"batch_size": 2, "shard_index": 3, "shard_count": 4}
    with pytest.raises(ValueError, match="batch size 6 is not divisible by 4 processes"):
        process_share(6)


def test_what_cannot_share_its_work_runs_alone(monkeypatch):
    check_one_process("train/word2vec.py")
    _as_one_of_four(monkeypatch)
    with pytest.raises(
        ValueError, match=r"train/word2vec\.py runs in one process, .* got 4: start it without"
    ):
        check_one_process("train/word2vec.py")


def test_the_loss_of_a_process_is_told_from_other_errors(monkeypatch):
    gone = RuntimeError("FAILED_PRECONDITION: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]")
    assert explain_lost_peer(gone) is None  # alone there is nobody to lose
    _as_one_of_four(monkeypatch)
    explained = explain_lost_peer(gone)
    assert isinstance(explained, PeerLostError)
    for words in ("process 3 of 4", "another process has ended", "--resume", "Connection closed by peer"):
        assert words in str(explained)
    assert explain_lost_peer(RuntimeError("INVALID_ARGUMENT: shapes differ")) is None


def test_a_script_that_lost_a_process_may_be_tried_again(capsys):
    def main(arguments):
        raise PeerLostError("process 0 of 2: another process has ended")

    with pytest.raises(SystemExit) as ended:
        run_script(main, ())
    assert ended.value.code == 75
    assert capsys.readouterr().err == "error: process 0 of 2: another process has ended\n"
