"""The options of a run, from the command line or the file of an earlier run, and the devices they name."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import jax

from jaxvision.training.allocator import keep_freed_memory
from jaxvision.training.compilation_cache import keep_compiled_programs
from jaxvision.training.config import config_differences, load_config
from jaxvision.training.distributed import start_processes
from jaxvision.training.parallel import Placement, make_placement
from jaxvision.training.sharding import parse_shard_rule


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where a run is kept, how long it is, and where it computes."""

    name: str | None = None
    """Name of the run's folder; by default made from the data and the model, with the next free number."""
    folder: Path = Path("runs")
    """Folder of all runs."""
    steps: int = 1000
    """Batches to train on."""
    seed: int = 0
    """Of the initial weights, the order of the data, augmentation and dropout."""
    log_every: int = 20
    """Steps between log records."""
    eval_every: int = 200
    """Steps between evaluations on the validation data."""
    checkpoint_every: int = 200
    """Steps between checkpoints; each evaluation that is better than all before makes one too."""
    monitor_every: int | None = None
    """Steps between looks at every layer's gradient: norms in metrics.jsonl, and a line that names the layers
    whose gradients vanish or explode. Each look costs a step's time; by default never."""
    profile: int | None = None
    """Trace this many steps, into the run's folder, and print which layers take the time."""
    keep: int = 2
    """How many of the newest checkpoints stay. The best one, saved when it was evaluated, stays as well."""
    patience: int | None = None
    """Stop after more than this many evaluations without a better score; by default never."""
    parallel: Literal["jit", "pmap", "fsdp"] = "jit"
    """How a batch is shared by the devices. With fsdp they share parameters and optimizer state too: each
    holds a part of every large array, and gathers the rest when the network needs it."""
    shard_rules: tuple[str, ...] = ()
    """Under fsdp, which axis of which arrays is split: PATTERN=AXIS, the first that fits a path such as
    params/head/kernel; the axis a number, auto or none. By default the largest axis that the devices
    divide, of arrays with 4096 numbers or more."""
    remat: bool = False
    """Keep fewer activations: compute each block again in the backward pass. A third more time, less
    memory."""
    sync_batch_norm: bool = True
    """Take BatchNorm statistics over the whole batch. With --run.no-sync-batch-norm, which pmap alone can do,
    each device normalises its part by itself, and the running statistics are the mean of the devices'."""
    devices: int | None = None
    """How many devices to use; by default all, and over several processes always all."""
    cpu_devices: int | None = None
    """Split the CPU of each process into this many devices, to try parallel runs without an accelerator."""
    distributed: Literal["auto", "on", "off"] = "auto"
    """Join the processes of a run on several hosts: auto where --run.coordinator, the launcher
    (python -m jaxvision.training.launch), Slurm, Open MPI or the environment of a TPU pod says that there are
    several; on also where only JAX can find that out, such as on Cloud TPU virtual machines."""
    coordinator: str | None = None
    """HOST:PORT of process 0, a free port that all hosts reach."""
    processes: int | None = None
    """How many processes there are."""
    process_id: int | None = None
    """Which of them this is, from 0."""
    heartbeat: int = 100
    """Seconds of silence after which a process is taken for dead, and all others end with a message."""
    compilation_cache: bool = True
    """Keep compiled programs in the user's cache folder (~/.cache/jaxvision/xla), so that the next run starts
    sooner."""

    def __post_init__(self) -> None:
        counts = ("log_every", "eval_every", "checkpoint_every", "monitor_every", "profile", "keep")
        for name in (*counts, "cpu_devices", "processes", "heartbeat"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--run.{name.replace('_', '-')}: got {value}, expected 1 or more")
        if self.shard_rules and self.parallel != "fsdp":
            raise ValueError(
                "--run.shard-rules: only --run.parallel fsdp splits parameters; add it, or leave them out"
            )
        for rule in self.shard_rules:
            parse_shard_rule(rule)


RESUMABLE = (
    "data.workers",  # changes nothing in the batches
    "report",  # the group: how the trained network is looked at
    "run.name",
    "run.folder",
    "run.steps",
    "run.log_every",
    "run.eval_every",
    "run.checkpoint_every",
    "run.monitor_every",
    "run.profile",
    "run.keep",
    "run.patience",
    "run.parallel",
    "run.shard_rules",
    "run.remat",
    "run.devices",
    "run.cpu_devices",
    "run.distributed",
    "run.coordinator",
    "run.processes",
    "run.process_id",
    "run.heartbeat",
    "run.compilation_cache",
)
"""Options that may change when a run is resumed; any other would make it another run."""


class RunConfig(Protocol):
    """A script's configuration: any frozen dataclass with a field ``run``."""

    @property
    def run(self) -> RunOptions:
        """The options of the run."""


Config = TypeVar("Config", bound=RunConfig)


def parse_command(
    kind: type[Config],
    arguments: Sequence[str],
    *,
    description: str,
    program: str,
    default: Config | None = None,
) -> tuple[Config, Path | None]:
    """Reads a command line: typed options, ``--config FILE`` to start from, ``--resume FOLDER`` to go on.

    Args:
      kind: the configuration's dataclass.
      arguments: of the command line.
      description: for ``--help``.
      program: its name, for ``--help``.
      default: what counts where neither the command line nor a file says anything; by default ``kind()``.

    Returns:
      The configuration, and the folder of the run to resume or None.

    Raises:
      ValueError: if a resumed run would change in more than :data:`RESUMABLE`, or a file is not readable.
    """
    import tyro

    rest, base_file = take_option(list(arguments), "--config")
    rest, folder = take_option(rest, "--resume")
    if base_file is not None and folder is not None:
        raise ValueError("--config starts a new run and --resume goes on with one; give one of them")
    if folder is not None:
        base_file = folder / "config.json"
        if not base_file.exists():
            raise ValueError(f"--resume {folder}: no run in this folder (it has no config.json)")
    base = default if base_file is None else load_config(kind, base_file)
    text = (
        f"{description}\n\n--config FILE: start from the config.json of an earlier run.\n"
        "--resume FOLDER: go on with the run in that folder."
    )
    config: Config = tyro.cli(
        kind, args=rest, default=kind() if base is None else base, description=text, prog=program
    )
    if folder is not None and base is not None:
        different = config_differences(base, config, ignore=RESUMABLE)
        if different:
            raise ValueError(
                f"--resume {folder}: this would be another run:\n  " + "\n  ".join(different) + "\n"
                f"Resume without these options, or start anew with --config {folder / 'config.json'}."
            )
    return config, folder


def take_option(arguments: list[str], name: str) -> tuple[list[str], Path | None]:
    """Takes ``--name PATH`` or ``--name=PATH`` out of a command line.

    Returns:
      The other words, and the path or None.

    Raises:
      ValueError: if nothing follows the name.
    """
    for index, word in enumerate(arguments):
        if word.startswith(f"{name}="):
            return arguments[:index] + arguments[index + 1 :], Path(word.split("=", 1)[1])
        if word == name:
            if index + 1 == len(arguments):
                raise ValueError(f"{name} needs a value")
            return arguments[:index] + arguments[index + 2 :], Path(arguments[index + 1])
    return arguments, None


def configure_devices(options: RunOptions) -> list[jax.Device]:
    """Sets up JAX for a script, before its first computation, and returns the devices to use.

    In a run of several processes it waits for the others, and returns the devices of all.

    Raises:
      ValueError: if more devices are asked for than there are, or the processes do not find each other.
    """
    if options.cpu_devices is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", options.cpu_devices)
    start_processes(options)
    if options.compilation_cache:
        keep_compiled_programs()
    devices = jax.devices()
    if devices[0].platform == "cpu":
        keep_freed_memory()
    if options.devices is not None and jax.process_count() > 1:
        raise ValueError("--run.devices: over several processes all devices are used; leave it out")
    if options.devices is not None and not 1 <= options.devices <= len(devices):
        raise ValueError(
            f"--run.devices {options.devices}: this machine has {len(devices)} ({devices[0].platform}); "
            "on a CPU, --run.cpu-devices N makes N of it"
        )
    return devices[: options.devices]


def open_placement(options: RunOptions) -> Placement:
    """The placement of a run on the devices of :func:`configure_devices`.

    Raises:
      ValueError: as that function.
    """
    rules = tuple(map(parse_shard_rule, options.shard_rules))
    return make_placement(options.parallel, devices=configure_devices(options), rules=rules)
