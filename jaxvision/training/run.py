"""A run on disk: its options, its folder, and the loop with all its hooks. The scripts share this."""

import dataclasses
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import jax
import optax

from jaxvision.training.allocator import keep_freed_memory
from jaxvision.training.checkpoint import Checkpoint, Checkpoints, resume
from jaxvision.training.compilation_cache import keep_compiled_programs
from jaxvision.training.config import config_differences, load_config, save_config
from jaxvision.training.evaluation import Evaluate
from jaxvision.training.fit import Progress, fit
from jaxvision.training.guards import EarlyStopping, NaNGuard, StopOnSignal
from jaxvision.training.logs import JsonLines, Log, TensorBoard, Terminal, Writer
from jaxvision.training.monitors import GradientMonitor, make_gradient_norms
from jaxvision.training.parallel import Placement
from jaxvision.training.state import TrainState, create_train_state
from jaxvision.training.step import Metrics, make_gradients, make_train_step
from jaxvision.training.task import Batch, Task, Variables


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
    """Steps between checkpoints."""
    monitor_every: int | None = None
    """Steps between looks at every layer's gradient: norms in metrics.jsonl, and a line that names the layers
    whose gradients vanish or explode. Each look costs a step's time; by default never."""
    keep: int = 2
    """How many of the newest checkpoints stay; the best one stays as well."""
    patience: int | None = None
    """Stop after more than this many evaluations without a better score; by default never."""
    parallel: Literal["jit", "pmap"] = "jit"
    """How a batch is shared by the devices."""
    sync_batch_norm: bool = True
    """Take BatchNorm statistics over the whole batch. With --run.no-sync-batch-norm, which pmap alone can do,
    each device normalises its part by itself, and the running statistics are the mean of the devices'."""
    devices: int | None = None
    """How many devices to use; by default all."""
    cpu_devices: int | None = None
    """Split the CPU into this many devices, to try parallel runs without an accelerator."""
    compilation_cache: bool = True
    """Keep compiled programs in the user's cache folder (~/.cache/jaxvision/xla), so that the next run starts
    sooner."""

    def __post_init__(self) -> None:
        for name in ("log_every", "eval_every", "checkpoint_every", "monitor_every", "keep", "cpu_devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--run.{name.replace('_', '-')}: got {value}, expected 1 or more")


RESUMABLE = (
    "data.workers",  # changes nothing in the batches
    "run.name",
    "run.folder",
    "run.steps",
    "run.log_every",
    "run.eval_every",
    "run.checkpoint_every",
    "run.monitor_every",
    "run.keep",
    "run.patience",
    "run.parallel",
    "run.devices",
    "run.cpu_devices",
    "run.compilation_cache",
)
"""Options that may change when a run is resumed; any other would make it another run."""


class RunConfig(Protocol):
    """A script's configuration: any frozen dataclass with a field ``run``."""

    @property
    def run(self) -> RunOptions:
        """The options of the run."""


Config = TypeVar("Config", bound=RunConfig)

_CHECKPOINTS = "checkpoints"  # in the run's folder


def parse_command(
    kind: type[Config], arguments: Sequence[str], *, description: str, program: str
) -> tuple[Config, Path | None]:
    """Reads a command line: typed options, ``--config FILE`` to start from, ``--resume FOLDER`` to go on.

    Args:
      kind: the configuration's dataclass.
      arguments: of the command line.
      description: for ``--help``.
      program: its name, for ``--help``.

    Returns:
      The configuration, and the folder of the run to resume or None.

    Raises:
      ValueError: if a resumed run would change in more than :data:`RESUMABLE`, or a file is not readable.
    """
    import tyro

    rest, base_file = _take_option(list(arguments), "--config")
    rest, folder = _take_option(rest, "--resume")
    if base_file is not None and folder is not None:
        raise ValueError("--config starts a new run and --resume goes on with one; give one of them")
    if folder is not None:
        base_file = folder / "config.json"
        if not base_file.exists():
            raise ValueError(f"--resume {folder}: no run in this folder (it has no config.json)")
    base = None if base_file is None else load_config(kind, base_file)
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


def _take_option(arguments: list[str], name: str) -> tuple[list[str], Path | None]:
    """Takes ``--name PATH`` or ``--name=PATH`` out of a command line."""
    for index, word in enumerate(arguments):
        if word.startswith(f"{name}="):
            return arguments[:index] + arguments[index + 1 :], Path(word.split("=", 1)[1])
        if word == name:
            if index + 1 == len(arguments):
                raise ValueError(f"{name} needs a value")
            return arguments[:index] + arguments[index + 2 :], Path(arguments[index + 1])
    return arguments, None


def open_folder(config: Config, label: str, resumed: Path | None) -> Path:
    """Makes the folder of a new run, or takes that of a resumed one, and saves the configuration in it.

    Args:
      config: of the script.
      label: for the name of a run without one, such as ``"digits-unet"``.
      resumed: the folder of the run to resume, or None.

    Raises:
      ValueError: if a run of that name is there already: it is never overwritten.
    """
    options = config.run
    folder = resumed or options.folder / (options.name or _next_name(options.folder, label))
    if resumed is None:
        if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise ValueError(
                f"{folder} holds another run. Go on with it by --resume {folder}, choose another --run.name, "
                "or delete the folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
    save_config(folder / "config.json", config)
    return folder


def holds_checkpoint(folder: Path) -> bool:
    """Whether a run's folder holds a whole checkpoint, which :func:`train` then goes on from."""
    return any(path.name.isdigit() for path in (folder / _CHECKPOINTS).glob("*"))


def norm_axis(options: RunOptions, placement: Placement) -> str | None:
    """The axis that a model's BatchNorm averages its statistics over, or None.

    Raises:
      ValueError: if local statistics are asked for under ``jit``, whose program knows the whole batch only.
    """
    if options.sync_batch_norm:
        return placement.axis_name
    if placement.axis_name is None:
        raise ValueError(
            "--run.no-sync-batch-norm: under --run.parallel jit, statistics are always those of the whole "
            "batch; add --run.parallel pmap"
        )
    return None


def _next_name(folder: Path, label: str) -> str:
    pattern = re.compile(re.escape(label) + r"-(\d+)$")
    taken = [int(m.group(1)) for path in folder.glob(f"{label}-*") if (m := pattern.match(path.name))]
    return f"{label}-{max(taken, default=0) + 1}"


def configure_devices(options: RunOptions) -> list[jax.Device]:
    """Sets up JAX for a script, before its first computation, and returns the devices to use.

    Raises:
      ValueError: if more devices are asked for than there are.
    """
    if options.cpu_devices is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", options.cpu_devices)
    if options.compilation_cache:
        keep_compiled_programs()
    devices = jax.devices()
    if devices[0].platform == "cpu":
        keep_freed_memory()
    if options.devices is not None and not 1 <= options.devices <= len(devices):
        raise ValueError(
            f"--run.devices {options.devices}: this machine has {len(devices)} ({devices[0].platform}); "
            "on a CPU, --run.cpu-devices N makes N of it"
        )
    return devices[: options.devices]


class Positioned(Protocol):
    """Batches on the devices that know where they stand."""

    def __iter__(self) -> Any:
        """The batches from the position on."""

    def get_state(self) -> Any:
        """The position after the last batch taken, as JSON."""

    def set_state(self, state: Any) -> None:
        """Goes to a position."""


CompiledStep: TypeAlias = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def compile_step(task: Task, optimizer: optax.GradientTransformation, placement: Placement) -> CompiledStep:
    """The training step of a task on its devices, compiled at its first call."""
    return placement.compile_step(make_train_step(task, optimizer, axis_name=placement.axis_name))


def train(
    task: Task,
    optimizer: optax.GradientTransformation,
    batches: Positioned,
    placement: Placement,
    options: RunOptions,
    folder: Path,
    *,
    resumed: bool,
    batch_size: int,
    metric: str,
    evaluate: Callable[[TrainState], dict[str, float]] | None,
    observe: Callable[[Any, dict[str, float]], Any] | None = None,
    learning_rate: Callable[[int], Any] | None = None,
    variables: Variables | None = None,
    step: CompiledStep | None = None,
) -> Progress:
    """Trains in a run's folder: logs, evaluates, saves, resumes, stops in order.

    Args:
      task: what is trained.
      optimizer: an Optax transformation.
      batches: placed on the devices.
      placement: of state and batches.
      options: of the run.
      folder: of the run.
      resumed: whether to go on from the newest checkpoint in the folder.
      batch_size: images a step.
      metric: the score that decides which checkpoint is best, and early stopping; more is better.
      evaluate: ``state -> scores`` on the validation data; None where there is none.
      observe: ``(opt_state, scores) -> opt_state``, for a learning rate that follows the score.
      learning_rate: ``step -> learning rate``, for the log.
      variables: pre-trained ones to start from.
      step: what :func:`compile_step` made of this task, optimizer and placement, for several runs to share.

    Returns:
      The progress at the end. Where a signal ended the run, ``stop`` names it.

    Raises:
      CheckpointError: if a checkpoint cannot be written or does not fit.
      FloatingPointError: if the loss is no number.
    """
    checkpoints = Checkpoints(folder / _CHECKPOINTS, keep=options.keep, best=metric)
    early = [EarlyStopping(metric, patience=options.patience)] if options.patience is not None else []

    def create(given: Variables | None) -> TrainState:
        return create_train_state(task, optimizer, seed=options.seed, variables=given)

    if resumed and checkpoints.latest() is not None:
        state, position = resume(checkpoints, jax.eval_shape(create, variables), early)
        batches.set_state(position)
    else:
        state = create(variables)
    start = int(state.step)
    step = compile_step(task, optimizer, placement) if step is None else step
    files: list[Writer] = [
        JsonLines(folder / "metrics.jsonl", step=start),
        TensorBoard(folder / "events", step=start),
    ]
    writers = [*files, Terminal(options.steps, step=start)]
    evaluations = []
    if evaluate is not None:
        evaluations.append(Evaluate(evaluate, every=options.eval_every, last=options.steps, observe=observe))
    hooks = [
        NaNGuard(folder, placement, jax.jit(make_gradients(task, axis_name=placement.axis_name))),
        StopOnSignal(),
        *evaluations,
        *early,
        *_monitors(task, placement, options, files),
        Log(writers, every=options.log_every, batch_size=batch_size, learning_rate=learning_rate),
        Checkpoint(
            checkpoints,
            placement,
            every=options.checkpoint_every,
            position=batches.get_state,
            hooks=early,
        ),
    ]
    return fit(placement.place(state), step, batches, hooks, steps=options.steps)


def _monitors(
    task: Task, placement: Placement, options: RunOptions, files: Sequence[Writer]
) -> list[GradientMonitor]:
    if options.monitor_every is None:
        return []
    norms = placement.compile_count(make_gradient_norms(task, axis_name=placement.axis_name))
    return [GradientMonitor(norms, placement, files, every=options.monitor_every)]


def exit_code(progress: Progress) -> int:
    """0 for a finished run, 128 + the signal's number for one that was stopped and can be resumed."""
    match = re.fullmatch(r"stopped by (SIG\w+)", progress.stop or "")
    return 128 + signal.Signals[match.group(1)] if match else 0


def run_script(main: Callable[[Sequence[str]], int], errors: Iterable[type[Exception]]) -> None:
    """Runs a script's main function; a mistake of the user's ends it with a message instead of a traceback.

    So does Ctrl-C where :class:`jaxvision.training.StopOnSignal` does not watch: before and after the loop.
    ``python -X dev`` shows the traceback as well.
    """
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 128 + signal.SIGINT
    except tuple(errors) as error:
        if sys.flags.dev_mode:
            raise
        print(f"error: {error}", file=sys.stderr)
        code = 1
    raise SystemExit(code)
