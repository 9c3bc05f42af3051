"""Compile and fit: the part of a training that Keras does."""

import contextlib
import math
import shutil

import keras
import numpy as np

from recycle_tf.training import multi_worker
from recycle_tf.training.averaging import AveragedWeights, SharedStatistics
from recycle_tf.training.callbacks import (
    BestModel,
    Checkpoint,
    Diverged,
    EarlyStopping,
    Interruption,
    Throughput,
    TimeLimit,
    last_checkpoint,
    restore,
)
from recycle_tf.training.config import in_steps
from recycle_tf.training.optimizers import make_optimizer
from recycle_tf.training.phases import at, set_rates
from recycle_tf.training.schedules import make_schedule
from recycle_tf.training.strategy import scope
from recycle_tf.training.watching import Confusion

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
        decay_at=config.decay_shares(),
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
            loss=_loss(
                weights,
                config.label_smoothing,
                _class_weights(config.class_balance, class_counts),
                config.focal_gamma if config.loss == "focal" else None,
            ),
            metrics=[
                keras.metrics.MeanMetricWrapper(_accuracy, name="accuracy"),
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


def _class_weights(class_balance, class_counts):
    """A weight a class, float32 `[classes]`; over the training pictures their mean is 1."""
    counts = np.maximum(class_counts, 1)
    weights = counts.sum() / (len(counts) * counts) if class_balance == "weights" else np.ones(len(counts))
    return weights.astype(np.float32)


def _loss(weights, label_smoothing, class_weights, focal_gamma=None):
    """Cross-entropy (or, with a gamma, focal loss) of one classifier, or the weighted sum of several.

    A picture that MixUp or CutMix has put together of two weighs what each of them does, by its share: the
    loss of the mixture is the mixture of the losses.
    """

    def one(labels, logits):
        if focal_gamma is None:
            return keras.losses.categorical_crossentropy(
                labels, logits, from_logits=True, label_smoothing=label_smoothing
            )
        smoothed = (1 - label_smoothing) * labels + label_smoothing / labels.shape[-1]
        return _focal(smoothed, logits, focal_gamma)

    def loss(labels, logits):
        if len(weights) == 1:
            logits = logits[:, None]
        labels = labels * class_weights
        example_weight = keras.ops.sum(labels, axis=-1)
        # A distribution again, because smoothing takes it for one.
        labels = labels / example_weight[:, None]
        return example_weight * sum(
            weight * one(labels, logits[:, number]) for number, weight in enumerate(weights)
        )

    return loss


def _focal(labels, logits, gamma):
    """The cross-entropy of a label to which the network gives the probability p counts (1 - p)^gamma times.

    Lin et al.: Focal Loss for Dense Object Detection, arXiv 1708.02002, equation 4. That of Keras has no
    gradient where p is below 1e-7: of the pictures that are most wrong.
    """
    log_p = keras.ops.log_softmax(logits)
    return -keras.ops.sum(labels * (1 - keras.ops.exp(log_p)) ** gamma * log_p, axis=-1)


def _accuracy(labels, logits):
    """Of the first classifier, the one that is kept."""
    return keras.metrics.categorical_accuracy(labels, logits[:, 0] if len(logits.shape) == 3 else logits)


def fit(model, kept, run, batches_from, validation, config, progress, phases, compile_for, watching, verbose):
    """Trains to the last epoch and leaves the best model in the run.

    Args:
        model: one that `begin` made ready.
        kept: the model that shares its layers and is saved: without auxiliary classifiers.
        run: the `Run` that is written; None at a worker that is not the chief.
        batches_from: gives the batches of the training from a step on.
        validation: batches of the validation split.
        config: a `TrainConfig`.
        progress: the `Progress` from which to go on.
        phases: of the training, a list of `Phase`.
        compile_for: compiles the model for one of them.
        watching: a callback that writes for TensorBoard; None where nothing is left to train.
        verbose: 1 for a progress bar, 2 for a line an epoch, 0 for neither.

    Raises:
        UserError: the loss diverged; the best model and the last good checkpoint are kept.
        KeyboardInterrupt: Ctrl-C; the checkpoint is written.
    """
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
        run.keep_history(progress.epoch)
        best = BestModel(kept, run.model_file, run.history_rows())
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
        for phase in phases:
            # Also where it was stopped after its last epoch, before the report was written.
            between_epochs = progress.epoch > 0 and not progress.step
            stopped = (early_stopping and early_stopping.due) or (time_limit.due and between_epochs)
            if multi_worker.from_chief(strategy, int(bool(stopped))) or progress.epoch >= phase.end_epoch:
                continue
            if phase.first_epoch == progress.epoch and between_epochs:
                compile_for(phase)
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


__all__ = ["begin", "compile_model", "finish", "fit"]
