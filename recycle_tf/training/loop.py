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
    restore,
)
from recycle_tf.training.optimizers import make_optimizer
from recycle_tf.training.schedules import warmup_cosine

DIVERGED = 100
"""Times the loss of guessing, from which on a training is given up."""


def compile_model(model, weights, config, steps_per_epoch, class_counts):
    """Gives a model its loss, its optimizer and its metric.

    Args:
        model: one of `training_model`, whose logits are compared with label distributions.
        weights: of the loss of each of its classifiers.
        config: a `TrainConfig`.
        steps_per_epoch: batches an epoch.
        class_counts: training pictures of each class.
    """
    rate = warmup_cosine(
        config.learning_rate,
        steps=config.epochs * steps_per_epoch,
        # At most a fifth, so that a short training does not end at its highest rate.
        warmup_steps=int(min(config.warmup_epochs, config.epochs / 5) * steps_per_epoch),
    )
    model.compile(
        optimizer=make_optimizer(
            config.optimizer, rate, config.weight_decay, clip_norm=config.clip_norm, ema=config.ema
        ),
        loss=_loss(weights, config.label_smoothing, _class_weights(config.class_balance, class_counts)),
        metrics=[keras.metrics.MeanMetricWrapper(_accuracy, name="accuracy")],
    )


def _class_weights(class_balance, class_counts):
    """A weight a class, float32 `[classes]`; over the training pictures their mean is 1."""
    counts = np.maximum(class_counts, 1)
    weights = counts.sum() / (len(counts) * counts) if class_balance == "weights" else np.ones(len(counts))
    return weights.astype(np.float32)


def _loss(weights, label_smoothing, class_weights):
    """Cross-entropy of one classifier, or the weighted sum of several.

    A picture that MixUp or CutMix has put together of two weighs what each of them does, by its share: the
    loss of the mixture is the mixture of the losses.
    """

    def loss(labels, logits):
        if len(weights) == 1:
            logits = logits[:, None]
        labels = labels * class_weights
        example_weight = keras.ops.sum(labels, axis=-1)
        # A distribution again, because smoothing takes it for one.
        labels = labels / example_weight[:, None]
        return example_weight * sum(
            weight
            * keras.losses.categorical_crossentropy(
                labels, logits[:, number], from_logits=True, label_smoothing=label_smoothing
            )
            for number, weight in enumerate(weights)
        )

    return loss


def _accuracy(labels, logits):
    """Of the first classifier, the one that is kept."""
    return keras.metrics.categorical_accuracy(labels, logits[:, 0] if len(logits.shape) == 3 else logits)


def fit(model, kept, run, training, validation, config, progress, verbose):
    """Trains to the last epoch and leaves the best model in the run.

    Args:
        model: compiled, with the weights it starts from.
        kept: the model that shares its layers and is saved: without auxiliary classifiers.
        run: the `Run` that is written; None at a worker that is not the chief.
        training: batches of the training from `progress.steps` on.
        validation: batches of the validation split.
        config: a `TrainConfig`.
        progress: the `Progress` from which to go on.
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
    best = stopped = None
    if run:
        run.keep_history(progress.epoch)
        best = BestModel(kept, run.model_file, run.history_rows())
        callbacks += [Throughput(config.batch_size), best]
    if config.ema:
        callbacks.append(AveragedWeights(validation, best))
    if run:
        early_stopping = EarlyStopping(best, config.patience)
        stopped = early_stopping.due
        callbacks += [
            early_stopping,
            keras.callbacks.CSVLogger(run.history, append=True),
            keras.callbacks.TensorBoard(run.tensorboard),
        ]
    callbacks += [checkpoint, interruption if alone else multi_worker.StopTogether(strategy)]
    # It was stopped after its last epoch, before the report was written.
    if multi_worker.from_chief(strategy, int(bool(stopped))):
        return
    with interruption.listening() if alone else contextlib.nullcontext():
        model.fit(
            training,
            validation_data=validation,
            epochs=config.epochs,
            initial_epoch=progress.epoch,
            steps_per_epoch=progress.steps_per_epoch,
            shuffle=False,  # The pipeline shuffles; without this Keras warns that it will not.
            verbose=verbose,
            callbacks=callbacks,
        )


def finish(run):
    """Removes what only resuming needs."""
    shutil.rmtree(run.checkpoints, ignore_errors=True)


__all__ = ["compile_model", "finish", "fit", "restore"]
