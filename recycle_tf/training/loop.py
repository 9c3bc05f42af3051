"""Compile and fit: the part of a training that Keras does."""

import contextlib
import dataclasses
import functools
import math
import shutil
from collections.abc import Callable

import keras

from recycle_tf.config import in_steps
from recycle_tf.models import registry
from recycle_tf.training import losses, multi_worker
from recycle_tf.training.callbacks import (
    BestModel,
    Checkpoint,
    Diverged,
    EarlyStopping,
    Interruption,
    Progress,
    Throughput,
    TimeLimit,
    last_checkpoint,
    restore,
)
from recycle_tf.training.ema import AveragedWeights, SharedStatistics
from recycle_tf.training.optimizers import make_optimizer
from recycle_tf.training.phases import at, plan, set_rates
from recycle_tf.training.schedules import make_schedule
from recycle_tf.training.strategy import model_class, scope, synchronise
from recycle_tf.training.tensorboard import Confusion

DIVERGED = 100
"""Times the loss of guessing, from which on a training is given up."""


def compile_model(model, weights, config, steps_per_epoch, class_counts, phase):
    """Gives a model its loss, its metric and, for a phase, its optimizer and the layers that learn.

    Args:
        model: one of `training_model`, whose logits are compared with label distributions.
        weights: of the loss of each of its classifiers.
        config: a `TrainConfig`.
        steps_per_epoch: batches an epoch.
        class_counts: training pictures of each class.
        phase: a `Phase`.
    """
    rate = make_schedule(
        config.schedule,
        config.learning_rate,
        phase.steps,
        # At most a fifth, so that a short training does not end at its highest rate.
        warmup_steps=min(in_steps(config.warmup, steps_per_epoch), phase.steps // 5),
        decay=config.decay,
        decay_at=config.decay_fractions(),
    )
    multipliers = set_rates(model, phase.rates)
    with scope(model.distribute_strategy):
        model.compile(
            optimizer=make_optimizer(
                config.optimizer,
                rate,
                config.weight_decay,
                rate_multipliers=multipliers,
                clip_norm=config.clip_norm,
                ema=config.ema,
            ),
            loss=losses.make_loss(
                weights,
                config.label_smoothing,
                losses.class_weights(config.class_balance, class_counts),
                config.focal_gamma if config.loss == "focal" else None,
            ),
            metrics=[
                keras.metrics.MeanMetricWrapper(losses.accuracy, name="accuracy"),
                Confusion(len(class_counts)),
            ],
            jit_compile={"auto": "auto", "on": True, "off": False}[config.jit],
        )
        model.optimizer.build(model.trainable_variables)


def begin(model, folder, steps_per_epoch, phases, compile_for):
    """Makes a model ready for `fit`, where the last checkpoint was or at the start.

    Args:
        model: what is trained.
        folder: of the checkpoints; None for a run that is yet to begin.
        steps_per_epoch: batches an epoch.
        phases: of the training, a list of `Phase`.
        compile_for: compiles the model for one of them.

    Returns:
        The `Progress` from which to go on.

    Raises:
        UserError: the checkpoint is damaged, or of another version.
    """
    end = sum(phase.steps for phase in phases)
    strategy = model.distribute_strategy
    progress, _ = last_checkpoint(folder, steps_per_epoch, end)
    # Of several workers the chief alone has the checkpoint.
    compile_for(at(phases, multi_worker.from_chief(strategy, progress.epoch)))
    progress = restore(model, folder, steps_per_epoch, end, [phase.first_epoch for phase in phases[1:]])
    multi_worker.go_on_as_chief(strategy, model, progress)
    return progress


@dataclasses.dataclass(frozen=True)
class Training:
    """What `prepare` makes and `fit` runs.

    Attributes:
        inference_model: the model that is saved: without auxiliary classifiers.
        model: the one that is trained; it shares its layers with `inference_model`.
        phases: a list of `Phase`.
        compile_for: compiles `model` for one of them.
        progress: the `Progress` from which to go on.
    """

    inference_model: keras.Model
    model: keras.Model
    phases: list
    compile_for: Callable
    progress: Progress

    @property
    def epochs(self):
        """Of all phases."""
        return self.phases[-1].end_epoch


def prepare(inference_model, config, strategy, class_counts, steps_per_epoch, checkpoints):
    """Makes a model ready to be trained, where the last checkpoint was or at the start.

    Args:
        inference_model: one of `create_model`, made in the strategy's scope.
        config: a `TrainConfig`.
        strategy: where it is trained.
        class_counts: training pictures of each class.
        steps_per_epoch: batches an epoch.
        checkpoints: their folder; None for a run that is yet to begin.

    Returns:
        A `Training`.

    Raises:
        UserError: the checkpoint is damaged, or of another version; or nothing is to be trained.
    """
    with scope(strategy):
        model, weights = registry.training_model(
            inference_model,
            len(class_counts),
            model_class(strategy, config.remat, config.accumulate),
            any_size=config.progressive is not None,
        )
        share = config.batch_size // strategy.num_replicas_in_sync
        synchronise(model, strategy, config.sync_batch_norm, share)
        phases = plan(config, model, steps_per_epoch)
        compile_for = functools.partial(compile_model, model, weights, config, steps_per_epoch, class_counts)
        progress = begin(model, checkpoints, steps_per_epoch, phases, compile_for)
    return Training(inference_model, model, phases, compile_for, progress)


def fit(training, run, batches_from, validation, config, watching, verbose):
    """Trains to the last epoch and leaves the best model in the run.

    Args:
        training: as `prepare` made it.
        run: the `Run` that is written; None at a worker that is not the chief.
        batches_from: gives the batches of the training from a step on.
        validation: batches of the validation split.
        config: a `TrainConfig`.
        watching: a callback that writes for TensorBoard; None where nothing is left to train.
        verbose: 1 for a progress bar, 2 for a line an epoch, 0 for neither.

    Raises:
        UserError: the loss diverged; the best model and the last good checkpoint are kept.
        KeyboardInterrupt: Ctrl-C; the checkpoint is written.
    """
    model, progress = training.model, training.progress
    strategy = model.distribute_strategy
    alone = multi_worker.share(strategy)[1] == 1
    # A second on one worker is not the same step on another.
    every = config.checkpoint_every or ("5m" if alone else None)
    checkpoint = Checkpoint(run and run.checkpoints, progress, every)
    interruption = Interruption(checkpoint)
    # What computes with the model runs at every worker, or those that do not would be waited for.
    callbacks = [progress, Diverged(progress, DIVERGED * math.log(model.output.shape[-1]))]
    if strategy.num_replicas_in_sync > 1:
        callbacks.append(SharedStatistics(strategy))
    best = early_stopping = None
    time_limit = TimeLimit(progress, config.time_limit)
    if run:
        run.truncate_history(progress.epoch)
        best = BestModel(training.inference_model, run.model_file, run.history_rows())
        callbacks += [Throughput(config.batch_size), best]
    if config.ema:
        callbacks.append(AveragedWeights(validation, best))
    if run:
        early_stopping = EarlyStopping(best, config.patience)
        callbacks += [
            early_stopping,
            time_limit,
            keras.callbacks.CSVLogger(run.history, append=True),
            keras.callbacks.TensorBoard(run.tensorboard, profile_batch=config.profiled_steps()),
        ]
    callbacks += [watching, checkpoint, interruption if alone else multi_worker.StopTogether(strategy)]
    with interruption.listening() if alone else contextlib.nullcontext():
        for phase in training.phases:
            # Also where it was stopped after its last epoch, before the report was written.
            between_epochs = progress.epoch > 0 and not progress.step
            stopped = (early_stopping and early_stopping.due) or (time_limit.due and between_epochs)
            if multi_worker.from_chief(strategy, int(bool(stopped))) or progress.epoch >= phase.end_epoch:
                continue
            if phase.first_epoch == progress.epoch and between_epochs:
                training.compile_for(phase)
            model.fit(
                batches_from(progress.steps),
                validation_data=validation,
                epochs=phase.end_epoch,
                initial_epoch=progress.epoch,
                steps_per_epoch=progress.steps_per_epoch,
                shuffle=False,  # The pipeline shuffles; without this Keras warns that it will not.
                verbose=verbose,
                callbacks=callbacks,
            )


def finish(run):
    """Removes what only resuming needs."""
    shutil.rmtree(run.checkpoints, ignore_errors=True)
