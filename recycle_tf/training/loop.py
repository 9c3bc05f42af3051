"""Compile and fit: the part of a training that Keras does."""

import math
import shutil

import keras

from recycle_tf.training.callbacks import (
    BestModel,
    Checkpoint,
    Diverged,
    Interruption,
    Throughput,
    restore,
)
from recycle_tf.training.schedules import make_optimizer, warmup_cosine

DIVERGED = 100
"""Times the loss of guessing, from which on a training is given up."""


def compile_model(model, weights, config, steps_per_epoch):
    """Gives a model its loss, its optimizer and its metric.

    Args:
        model: one of `training_model`, whose logits are compared with label distributions.
        weights: of the loss of each of its classifiers.
        config: a `TrainConfig`.
        steps_per_epoch: batches an epoch.
    """
    rate = warmup_cosine(
        config.learning_rate,
        steps=config.epochs * steps_per_epoch,
        # At most a fifth, so that a short training does not end at its highest rate.
        warmup_steps=int(min(config.warmup_epochs, config.epochs / 5) * steps_per_epoch),
    )
    model.compile(
        optimizer=make_optimizer(config.optimizer, rate, config.weight_decay),
        loss=_loss(weights, config.label_smoothing),
        metrics=[keras.metrics.MeanMetricWrapper(_accuracy, name="accuracy")],
    )


def _loss(weights, label_smoothing):
    """Cross-entropy of one classifier, or the weighted sum of several."""

    def loss(labels, logits):
        if len(weights) == 1:
            logits = logits[:, None]
        return sum(
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
        run: the `Run` that is written.
        training: batches of the training from `progress.steps` on.
        validation: batches of the validation split.
        config: a `TrainConfig`.
        progress: the `Progress` from which to go on.
        verbose: 1 for a progress bar, 2 for a line an epoch.

    Raises:
        UserError: the loss diverged; the best model and the last good checkpoint are kept.
        KeyboardInterrupt: Ctrl-C; the checkpoint is written.
    """
    run.keep_history(progress.epoch)
    checkpoint = Checkpoint(run.checkpoints, progress, config.checkpoint_every)
    interruption = Interruption(checkpoint)
    with interruption.listening():
        model.fit(
            training,
            validation_data=validation,
            epochs=config.epochs,
            initial_epoch=progress.epoch,
            steps_per_epoch=progress.steps_per_epoch,
            shuffle=False,  # The pipeline shuffles; without this Keras warns that it will not.
            verbose=verbose,
            callbacks=[
                progress,
                Diverged(progress, DIVERGED * math.log(len(run.labels))),
                Throughput(config.batch_size),
                BestModel(kept, run.model_file, run.history_rows()),
                keras.callbacks.CSVLogger(run.history, append=True),
                keras.callbacks.TensorBoard(run.tensorboard),
                checkpoint,
                interruption,
            ],
        )


def finish(run):
    """Removes what only resuming needs."""
    shutil.rmtree(run.checkpoints, ignore_errors=True)


__all__ = ["compile_model", "finish", "fit", "restore"]
