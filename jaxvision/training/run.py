"""A run on disk: its options, its folder, and the loop with all its hooks. The scripts share this."""

import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import optax

from jaxvision.training.checkpoint import Checkpoint, Checkpoints, resume
from jaxvision.training.compiled_step import (
    CompiledStep,
    DeviceMemoryError,
    MemoryUse,
    RecompilationError,
    explain_start,
    memory_advice,
)
from jaxvision.training.config import save_config
from jaxvision.training.distributed import (
    PeerLostError,
    explain_lost_peer,
    from_first_process,
    is_first_process,
)
from jaxvision.training.evaluation import Evaluate
from jaxvision.training.fit import Hook, Progress, fit
from jaxvision.training.guards import EarlyStopping, NaNGuard, StopOnSignal
from jaxvision.training.logs import JsonLines, Log, TensorBoard, Terminal, Writer
from jaxvision.training.monitors import GradientMonitor, make_gradient_norms
from jaxvision.training.options import RunConfig, RunOptions
from jaxvision.training.parallel import Placement, host_values
from jaxvision.training.peers import TRY_AGAIN, leave_peers
from jaxvision.training.profile import Profile
from jaxvision.training.state import TrainState, create_train_state
from jaxvision.training.step import make_gradients, make_train_step
from jaxvision.training.task import Task, Variables

_CHECKPOINTS = "checkpoints"  # in the run's folder


def open_folder(config: RunConfig, label: str, resumed: Path | None) -> Path:
    """Makes the folder of a new run, or takes that of a resumed one, and saves the configuration in it.

    Of several processes the first does it; they need a file system that all of them see.

    Args:
      config: of the script.
      label: for the name of a run without one, such as ``"digits-unet"``.
      resumed: the folder of the run to resume, or None.

    Raises:
      ValueError: if a run of that name is there already: it is never overwritten.
    """
    options = config.run

    def make() -> str:
        folder = resumed or options.folder / (options.name or _next_name(options.folder, label))
        if resumed is None:
            if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
                raise ValueError(
                    f"{folder} holds another run. Go on with it by --resume {folder}, choose another "
                    "--run.name, or delete the folder."
                )
            folder.mkdir(parents=True, exist_ok=True)
        save_config(folder / "config.json", config)
        return str(folder)

    return Path(from_first_process(make))


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


class Positioned(Protocol):
    """Batches on the devices that know where they stand."""

    def __iter__(self) -> Any:
        """The batches from the position on."""

    def get_state(self) -> Any:
        """The position after the last batch taken, as JSON."""

    def set_state(self, state: Any) -> None:
        """Goes to a position."""


def compile_step(task: Task, optimizer: optax.GradientTransformation, placement: Placement) -> CompiledStep:
    """The training step of a task on its devices, compiled at its first call, when it prints its memory."""
    step = make_train_step(task, optimizer, axis_name=placement.axis_name, whole=placement.whole)
    return CompiledStep(placement.compile_step(step), report=_print_memory)


def _print_memory(use: MemoryUse) -> None:
    print(use)
    if not use.fits:
        print(f"warning: that is more than the device has: {memory_advice(use)}")


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
    unit: str = "images",
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
      batch_size: images a step, or of what else ``unit`` says.
      metric: the score that decides which checkpoint is best, and early stopping; more is better.
      evaluate: ``state -> scores`` on the validation data; None where there is none.
      observe: ``(opt_state, scores) -> opt_state``, for a learning rate that follows the score.
      learning_rate: ``step -> learning rate``, for the log.
      variables: pre-trained ones to start from.
      step: what :func:`compile_step` made of this task, optimizer and placement, for several runs to share.
      unit: what a batch holds, for the log.

    Returns:
      The progress at the end. Where a signal ended the run, ``stop`` names it.

    Raises:
      CheckpointError: if a checkpoint cannot be written or does not fit.
      FloatingPointError: if the loss is no number.
      DeviceMemoryError: if the devices have too little memory.
      RecompilationError: if a batch has another shape than the first one.
      PeerLostError: if another process of the run has ended.
    """
    checkpoints = Checkpoints(folder / _CHECKPOINTS, keep=options.keep, best=metric)
    early = [EarlyStopping(metric, patience=options.patience)] if options.patience is not None else []

    def create(where: Placement | None) -> TrainState:
        return create_train_state(task, optimizer, seed=options.seed, variables=variables, placement=where)

    state = _first_state(create, checkpoints if resumed else None, early, batches, placement)
    start = int(host_values(state.step).max())
    step = compile_step(task, optimizer, placement) if step is None else step
    files = _open_files(folder, start)
    terminal = [Terminal(options.steps, step=start, unit=unit)] if is_first_process() else []
    log: dict[str, Any] = {"batch_size": batch_size, "learning_rate": learning_rate, "unit": unit}
    hooks = [
        NaNGuard(
            folder,
            placement,
            jax.jit(make_gradients(task, axis_name=placement.axis_name)),
            keeps_state=step.keeps_state,
        ),
        StopOnSignal(),
        *_evaluations(evaluate, options, observe),
        *early,
        *_watchers(task, placement, options, files, folder, step),
        Log([*files, *terminal], every=options.log_every, **log),
        Checkpoint(
            checkpoints, placement, every=options.checkpoint_every, position=batches.get_state, hooks=early
        ),
    ]
    try:
        return fit(state, step, batches, hooks, steps=options.steps)
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # Devices run ahead: it may show first where a hook waits. Of a collective it is a ValueError.
        if (explained := step.explain(error)) is not error:
            raise explained from error
        raise


def _first_state(
    create: Callable[[Placement | None], TrainState],
    checkpoints: Checkpoints | None,
    hooks: Sequence[Hook],
    batches: Positioned,
    placement: Placement,
) -> TrainState:
    """The state to begin with, on the devices: of the newest checkpoint, if there is one, or a new one."""
    try:
        if checkpoints is None or checkpoints.latest() is None:
            return create(placement)
        state, position = resume(checkpoints, jax.eval_shape(lambda: create(None)), hooks)
        batches.set_state(position)
        placed: TrainState = placement.place(state)
    except jax.errors.JaxRuntimeError as error:
        if (explained := explain_start(error)) is not error:
            raise explained from error
        raise
    return placed


def _open_files(folder: Path, step: int) -> list[Writer]:
    """The files of the log; those of the first process alone."""
    if not is_first_process():
        return []
    return [JsonLines(folder / "metrics.jsonl", step=step), TensorBoard(folder / "events", step=step)]


def _evaluations(
    evaluate: Callable[[TrainState], dict[str, float]] | None,
    options: RunOptions,
    observe: Callable[[Any, dict[str, float]], Any] | None,
) -> list[Hook]:
    if evaluate is None:
        return []
    return [Evaluate(evaluate, every=options.eval_every, last=options.steps, observe=observe)]


def _watchers(
    task: Task,
    placement: Placement,
    options: RunOptions,
    files: Sequence[Writer],
    folder: Path,
    step: CompiledStep,
) -> list[Hook]:
    """The hooks that look at gradients and at time, as far as they are asked for."""
    hooks: list[Hook] = []
    if options.monitor_every is not None:
        norms = placement.compile_count(make_gradient_norms(task, axis_name=placement.axis_name))
        hooks.append(GradientMonitor(norms, placement, files, every=options.monitor_every))
    if options.profile is not None and is_first_process():
        hooks.append(Profile(folder, step, steps=options.profile))
    return hooks


def exit_code(progress: Progress) -> int:
    """0 for a finished run; for one that was stopped, 128 + the signal's number: 143 after SIGTERM.

    Such a run can be resumed, as can one that lost another process, which ends with 75 (:func:`run_script`).
    """
    match = re.fullmatch(r"stopped by (SIG\w+)", progress.stop or "")
    return 128 + signal.Signals[match.group(1)] if match else 0


def run_script(main: Callable[[Sequence[str]], int], errors: Iterable[type[Exception]]) -> None:
    """Runs a script's main function; a mistake of the user's ends it with a message instead of a traceback.

    So does Ctrl-C where :class:`jaxvision.training.StopOnSignal` does not watch: before and after the loop.
    The exit code is what ``main`` returned; 1 for a mistake; 75, EX_TEMPFAIL of sysexits.h, if another
    process of the run has ended, which starting all of them again with ``--resume`` mends. Of several
    processes, one that ends by a mistake or an error tells the others, which end with the same code.
    ``python -X dev`` shows the traceback as well.
    """
    explained: tuple[type[Exception], ...] = (DeviceMemoryError, RecompilationError, *errors)
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 128 + signal.SIGINT
    except SystemExit as end:
        if not end.code:
            raise
        if not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else 1
    except Exception as error:
        # It shows as an error of a collective, of whichever call waits for one.
        lost = error if isinstance(error, PeerLostError) else explain_lost_peer(error)
        if sys.flags.dev_mode or (lost is None and not isinstance(error, explained)):
            raise
        print(f"error: {lost or error}", file=sys.stderr)
        code = 1 if lost is None else TRY_AGAIN
    else:
        raise SystemExit(code)
    if jax.distributed.is_initialized():
        leave_peers(code)
    raise SystemExit(code)
