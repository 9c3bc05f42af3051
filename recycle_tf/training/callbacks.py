"""The callbacks of a training run, in their order."""

import contextlib
import math

import keras

from recycle_tf.training import multi_worker
from recycle_tf.training.batch_norm import AverageBatchNormStatistics
from recycle_tf.training.best_model import BestModel
from recycle_tf.training.checkpoint import Checkpoint
from recycle_tf.training.ema import AveragedWeights
from recycle_tf.training.progress import Throughput
from recycle_tf.training.source_accuracy import SourceAccuracy
from recycle_tf.training.stopping import EarlyStopping, Interruption, TerminateOnDivergence, TimeLimit

DIVERGED = 100
"""Factor over the loss of guessing from which on training has diverged."""


class TrainingCallbacks:
    """Builds the callbacks of one run. `in_order` is the order in which Keras calls them, and it matters.

    Every worker of a distributed run has all callbacks that compute with the model: the workers would wait
    for one that does not. Only the chief, which has the run folder, has those that write files.

    Args:
        training: a `loop.Training`.
        run: the `runs.Run`; None at a worker that is not the chief.
        validation: batches of the validation split.
        by_source: `{name of a source: batches of its part of it}`; `{}` for one source.
        config: a `TrainConfig`.
        summaries: a `tensorboard.TrainingSummaries`.
    """

    def __init__(self, training, run, validation, by_source, config, summaries):
        progress, model = training.progress, training.model
        strategy = model.distribute_strategy
        one_worker = multi_worker.index_and_count(strategy)[1] == 1
        best = run and BestModel(training.inference_model, run.model_file, run.history_rows())
        # The clocks of several workers differ, so that a time would be another step at each of them.
        every = config.checkpoint_every or ("5m" if one_worker else None)
        checkpoint = Checkpoint(run and run.checkpoints, progress, every)
        self._strategy, self._progress = strategy, progress
        self._early_stopping = run and EarlyStopping(
            progress, best, config.patience, training.phases[-1].first_epoch
        )
        self._time_limit = TimeLimit(progress, config.time_limit)
        self._interruption = Interruption(checkpoint) if one_worker else None
        guessing = math.log(model.output.shape[-1])
        callbacks = [
            # Counts the step or epoch; the others read its position. Also clears a request to end the epoch.
            progress,
            # Before anything is written.
            TerminateOnDivergence(progress, DIVERGED * guessing),
            # Before validation (`on_test_begin`), hence before the model is evaluated and saved.
            AverageBatchNormStatistics(strategy) if strategy.num_replicas_in_sync > 1 else None,
            # Adds to the logs that the callbacks below write.
            run and Throughput(config.batch_size),
            # The weights first, then their averages, which replace them in the file if they are better.
            best,
            AveragedWeights(validation, best) if config.ema else None,
            SourceAccuracy(by_source) if by_source else None,
            # After both, since they decide which epoch was the best.
            self._early_stopping,
            self._time_limit,
            # After everything that adds to the logs.
            run and keras.callbacks.CSVLogger(run.history, append=True),
            run and keras.callbacks.TensorBoard(run.tensorboard, profile_batch=config.profiled_steps()),
            summaries,
            # After the model, the history and the summaries: an epoch that a checkpoint counts is complete.
            # One that is lost between them and the checkpoint is trained again, and its row is removed.
            checkpoint,
            # After the checkpoint, since it stops the process.
            self._interruption,
            # Last: every worker stops if the chief does.
            None if one_worker else multi_worker.StopWithChief(strategy, progress),
        ]
        self.in_order = [callback for callback in callbacks if callback is not None]

    @property
    def finished(self):
        """Whether an earlier part of the run has ended training for good. The same at every worker.

        The process may have been killed after that, before the report was written.
        """
        between_epochs = self._progress.epoch > 0 and not self._progress.step
        finished = (self._early_stopping and self._early_stopping.due) or (
            self._time_limit.due and between_epochs
        )
        return bool(multi_worker.from_chief(self._strategy, int(bool(finished))))

    def listening(self):
        """A context within which Ctrl-C stops training after the current batch; with one worker only."""
        return self._interruption.listening() if self._interruption else contextlib.nullcontext()
