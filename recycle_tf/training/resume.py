"""Starting and resuming a run: finding it, locking it, opening the data it trains on, and completing it."""

import contextlib
import dataclasses
import datetime
import hashlib
import itertools
import os
import pathlib
import sys

import tensorflow as tf

from recycle_tf import files
from recycle_tf.data import sources, splits
from recycle_tf.errors import UserError
from recycle_tf.files import PARTIAL
from recycle_tf.paths import from_user
from recycle_tf.runs import Run
from recycle_tf.training import distillation, earlier_runs, multi_worker

FREE_SETTINGS = ("run_dir", "data_dir", "manual_dir", "checkpoint_every", "profile")
"""Settings that do not affect what is computed: they may differ when a run is resumed."""


def find(config, strategy, locks, root="runs"):
    """Finds the run to resume. All workers must call this at the same point; only the chief looks.

    Args:
        config: a `TrainConfig`.
        strategy: the run's distribution strategy.
        locks: a `contextlib.ExitStack`; the run is locked until it ends.
        root: folder of runs, used if the configuration names none.

    Returns:
        `(run, complete)`: what `unfinished` returns at the chief, None at other workers; and whether that run
        is complete, the same at every worker.
    """
    # The learning-rate finder belongs to no run.
    run = unfinished(config, root) if multi_worker.is_chief(strategy) and not config.lr_finder else None
    if run:
        locks.callback(run.unlock)
    return run, bool(multi_worker.from_chief(strategy, int(bool(run and run.complete))))


def unfinished(config, root="runs"):
    """Finds the run that this configuration should resume.

    That is the one in `run_dir`, or else the newest unfinished run in `root` with the same settings. A run
    without a checkpoint has nothing to resume: it is started again by `create`.

    Args:
        config: a `TrainConfig`.
        root: folder of runs, used if the configuration names none.

    Returns:
        The `Run`, locked unless it is complete; or None.

    Raises:
        UserError: `run_dir` holds a run with other settings, something that is not a run, or a run that
            another process is training.
    """
    if config.run_dir is None:
        return next((_locked(run) for run in _same_settings(config, root) if _has_begun(run)), None)
    run = Run(from_user(config.run_dir, "run_dir"))
    if not run.path.exists() or (run.path.is_dir() and _only_created(run)):
        return None
    if not run.config_file.is_file():
        raise UserError(f"`run_dir={config.run_dir}`: exists and is not a run; choose another folder")
    different = _differences(run, config)
    if different:
        name = different[0]
        started = f"`run_dir={config.run_dir}`: was started with `{name}={run.config[name]}`"
        if not hasattr(config, name):
            raise UserError(f"{started}, which this version does not know; choose another folder")
        raise UserError(
            f"{started}, not {getattr(config, name)}; choose another folder, or give the same settings to "
            "resume it"
        )
    if _ended(run):
        # An evaluation that was killed may have put the report aside.
        with files.writing(run.path):
            files.recover(run.path)
        if not run.complete:
            raise UserError(
                f"`run_dir={config.run_dir}`: its training has ended, but its report is missing; "
                "write it with evaluate, or choose another folder"
            )
    if not run.complete:
        if run.averaged:
            raise UserError(
                f"`run_dir={config.run_dir}`: an average of runs that was interrupted; repeat "
                "average, or choose another folder"
            )
        return _locked(run)
    return run


def create(config, source, strategy, locks, ranges=None, root="runs", averaged=None, precision=None):
    """Creates a run folder with configuration, labels and, unless it is a builder's own, the split.

    Args:
        config: a `TrainConfig`.
        source: the `Source` it trains on.
        strategy: the run's distribution strategy.
        locks: a `contextlib.ExitStack`; the run is locked until it ends.
        ranges: what `quantization.find_ranges` returned.
        root: folder of runs, used if the configuration names none.
        averaged: of an average of runs: `{path: proportion}`.
        precision: what `precision.choose` returned.

    Returns:
        The `Run`; None at a worker that is not the chief.

    Raises:
        UserError: the folder cannot be written, or another process is using it.
    """
    if not multi_worker.is_chief(strategy):
        return None
    path = _new_path(config, source, root)
    with files.writing(f"`run_dir={path}`"):
        path.mkdir(parents=True, exist_ok=True)
        run = _locked(Run(path))
        locks.callback(run.unlock)
        if not _only_created(run):
            raise UserError(f"{path}: another process has started a run here; choose another `run_dir`")
        # First: by this folder a run that was only created is told from somebody else's files.
        run.checkpoints.mkdir(exist_ok=True)
        run.config_file.unlink(missing_ok=True)
        run.manifest.unlink(missing_ok=True)
        run.quantization_file.unlink(missing_ok=True)
        if ranges:
            run.write_ranges(ranges)
        run.labels_file.write_text("\n".join(source.labels) + "\n", encoding="utf-8")
        if source.root or source.splits["train"].part_names or config.label_map:
            splits.write_manifest(run.manifest, source.manifest())
        # Last: this file makes the folder a run.
        run.write_record(config, source, {} if averaged else _inputs(config), averaged, precision)
    return run


def open_source(config, run, strategy):
    """Opens the data of a training run, with the earlier split if it resumes or repeats a run.

    Args:
        config: a `TrainConfig`.
        run: the `Run` that is resumed, or None.
        strategy: the run's distribution strategy.

    Returns:
        A `data.sources.Source`.

    Raises:
        UserError: the dataset does not exist or differs from the chief's; or it has changed since the earlier
            run, or a model has from which the run is computed.
    """
    changed = run.inputs.items() - _inputs(config).items() if run else ()
    if changed:
        raise UserError(f"{run.path}: {min(changed)[0]} has changed since this run was started")
    earlier = run or earlier_runs.repeated(config)
    source = sources.open_source(
        config.dataset,
        on_bad_image=config.on_bad_image,
        manual_dir=config.manual_dir,
        data_dir=config.data_dir,
        seed=config.seed,
        split=config.split,
        manifest=earlier.manifest if earlier and earlier.manifest.is_file() else None,
        label_map=config.label_map,
        earlier_splits={} if earlier else earlier_runs.stored_splits(config),
        compare=run is None,
        # Workers of a tf.data service read from where the images are.
        keep=config.data_service is None,
    )
    if earlier and earlier.fingerprint != source.fingerprint:
        raise UserError(
            f"{earlier.path}: {config.dataset} has changed since this run was started: its fingerprint was "
            f"{earlier.fingerprint}, is {source.fingerprint}; use another `run_dir`, without `from_run`"
        )
    if earlier and earlier.changed_versions:
        versions = ", ".join(earlier.changed_versions)
        print(f"warning: started with {versions}: results may differ slightly", file=sys.stderr)
    if run is None:
        source = earlier_runs.without_seen(source, config)
    multi_worker.check_same_data(strategy, source)
    return source


@contextlib.contextmanager
def writing(run):
    """Within this context a run is written, and disk errors become one line.

    Args:
        run: the `Run`; None at a worker that writes nothing.

    Raises:
        UserError: the disk is full or failing; what was written before is complete.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # Of standard output, not of the run's files.
    except (OSError, tf.errors.OpError) as error:
        reason = _reason(error, run)
        if reason is None:
            raise
        raise UserError(
            f"{run.path}: cannot be written ({reason}); correct that and rerun the command to resume from "
            "the last checkpoint"
        ) from error


def _reason(error, run):
    """Why a file of a run could not be written; None for any other error."""
    if run is None:
        return None
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # Event files are written by TensorFlow: "/runs/x/tensorboard/events…; No space left on device".
    path, _, reason = error.message.partition("; ")
    return reason.splitlines()[0] if reason and str(run.path) in path else None


def discard_average(path):
    """Deletes what an average that was interrupted has written, so that it can be made again.

    Args:
        path: of a file or folder.

    Returns:
        Whether `create` can use the path now: there was such an average, or nothing but what `create` writes.

    Raises:
        UserError: another process is writing it.
    """
    run = Run(path)
    if path.is_dir() and _only_created(run):
        return True
    if not (run.config_file.is_file() and run.averaged and run.checkpoints.is_dir()):
        return False
    run = _locked(run)
    with files.writing(path):
        files.remove_folder(path)
    run.unlock()
    return True


def finish(run):
    """Completes a run: deletes what only resuming needs."""
    files.remove_folder(run.checkpoints)


def _same_settings(config, root):
    """Unfinished runs in `root` with the same settings, newest first; reports and skips damaged ones."""
    records = [path for path in pathlib.Path(root).glob("*/config.json") if path.is_file()]
    for path in sorted(records, key=os.path.getmtime, reverse=True):
        run = Run(path.parent)
        try:
            if not (run.complete or _ended(run) or run.averaged or _differences(run, config)):
                yield run
        except UserError as error:
            print(f"skipped: {error}", file=sys.stderr)


def _new_path(config, source, root):
    """The folder of a new run: the one that was asked for, one that was only created, or a new one."""
    if config.run_dir is not None:
        return from_user(config.run_dir, "run_dir")
    created = next((run.path for run in _same_settings(config, root) if _only_created(run)), None)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return created or _unused(pathlib.Path(root) / f"{config.arch}-{source.name}-{now}")


def _inputs(config):
    """The models of other runs that a run is computed from: `{path: SHA-256}`."""
    paths = [teacher.model_file for teacher in distillation.open_teachers(config).values()]
    if config.quantize != "none" and config.weights != "imagenet":
        paths.append(from_user(config.weights, "weights"))
    found = {}
    for path in paths:
        with files.reading(path):
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _locked(run):
    """The run, locked until it is unlocked or this process ends. Removes what killed processes were writing.

    Raises:
        UserError: another process holds the lock, or the folder cannot be written.
    """
    with files.writing(run.path), contextlib.ExitStack() as failed:
        # This file is never replaced.
        file = failed.enter_context(open(run.labels_file, "a+b"))
        try:
            files.lock(file)
        except (BlockingIOError, PermissionError) as error:
            raise UserError(
                f"{run.path}: another process is training here; wait for it, or choose another `run_dir`"
            ) from error
        files.recover(run.path)
        files.recover(run.checkpoints)
        # Closing the file would release the lock.
        failed.pop_all()
    return Run(run.path, file)


def _has_begun(run):
    """Whether training has begun; the first model may be older than the first checkpoint."""
    begun = run.history.is_file() or (run.checkpoints.is_dir() and run.model_file.is_file())
    return begun or any(run.checkpoints.glob("epoch*.npz"))


def _ended(run):
    """Whether training has ended, whatever became of the report: until then there are checkpoints."""
    return run.model_file.is_file() and not run.checkpoints.exists()


def _only_created(run):
    """Whether a folder holds no more than what `create` writes: nothing was trained yet."""
    entries = [path for path in run.path.iterdir() if not path.name.startswith(PARTIAL)]
    if not run.checkpoints.is_dir():
        return entries in ([], [run.labels_file]) and not any(path.stat().st_size for path in entries)
    created = {
        run.labels_file,
        run.manifest,
        run.quantization_file,
        run.config_file,
        run.tensorboard,
        run.checkpoints,
    }
    return created.issuperset(entries) and not any(run.checkpoints.glob("epoch*"))


def _unused(path):
    """The path, or the first of `path-2`, `path-3`, … that does not exist."""
    names = itertools.chain([path], (path.with_name(f"{path.name}-{n}") for n in itertools.count(2)))
    return next(name for name in names if not name.exists())


def _differences(run, config):
    """Names of the settings in which a run and a configuration differ."""
    before, now = run.config, dataclasses.asdict(config)
    names = [name for name in {**before, **now} if name not in FREE_SETTINGS]

    def same(one, other):
        # As text: earlier versions stored 30 epochs as a number. And 0 is 0.0, and nothing was an empty text.
        emptied = "" in (one, other) and None in (one, other)
        return one == other or str(one) == str(other) or emptied

    return [name for name in names if name not in now or not same(before[name], now[name])]
