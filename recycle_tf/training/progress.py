"""The position of a training run and its speed."""

import time

import keras


class Progress(keras.callbacks.Callback):
    """Counts the epochs and steps of a training run, and is the only callback that stops `fit`.

    A run can be trained in several parts, each of which resumes where the one before it stopped. A part can
    start in the middle of an epoch, which `fit` alone cannot do: its first epoch is then shorter by the steps
    that were run before.

    Keras has one flag with two meanings: `model.stop_training` ends the epoch if it is set after a batch
    (validation still runs) and ends training if it is set at the end of an epoch. No other callback writes
    it; they call `end_epoch` and `end_training`.

    Args:
        steps_per_epoch: batches per epoch.
        epoch: number of complete epochs.
        step: steps run of the epoch after them.
        metrics: values of the model's metric variables at that step, as arrays.
        end: number of steps of the whole run, if its last epoch is shorter than the others.
        seconds: training time of the earlier parts.

    Attributes:
        epoch: index of the current epoch, from 0.
        step: number of its steps that were run.
    """

    def __init__(self, steps_per_epoch, epoch=0, step=0, metrics=(), end=None, seconds=0.0):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.end = end
        self.epoch = epoch
        self.step = step
        self.metrics = metrics
        self.starts_within_epoch = False
        self._earlier_seconds = seconds
        self.start_clock()

    def __str__(self):
        if self.step:
            return f"epoch {self.epoch + 1}, step {self.step} of {self.steps_per_epoch}"
        return f"epoch {self.epoch}"

    def start_clock(self):
        """Starts to count the time of this part: before, images are read and the speed is measured."""
        self.start_time = time.monotonic() - self._earlier_seconds

    @property
    def steps(self):
        """Number of steps run since the run was started."""
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def seconds(self):
        """Training time of all parts of the run."""
        return time.monotonic() - self.start_time

    @property
    def at_epoch_end(self):
        """Whether the latest step was the last one of its epoch."""
        return self.step == self.steps_per_epoch or self.steps == self.end

    def end_epoch(self):
        """Ends the current epoch; it is still validated. To be called after a batch."""
        self.model.stop_training = True

    def end_training(self):
        """Ends training. To be called at the end of an epoch."""
        self.model.stop_training = True

    def on_epoch_begin(self, epoch, logs=None):
        """Notes whether a part of this epoch was trained before."""
        self.starts_within_epoch = self.step > 0

    def on_train_batch_end(self, batch, logs=None):
        """Counts the step, and ends an epoch that is shorter than `fit` would make it."""
        self.step += 1
        if self.metrics:
            # Keras resets the metrics when an epoch begins and creates their variables in its first step;
            # their earlier values can be added only now.
            for variable, value in zip(self.model.metrics_variables, self.metrics, strict=True):
                variable.assign(variable.numpy() + value)
            self.metrics = ()
        if self.at_epoch_end and (self.starts_within_epoch or self.steps == self.end):
            self.end_epoch()

    def on_epoch_end(self, epoch, logs=None):
        """Counts the epoch, and withdraws a request to end it, which Keras would take for one to stop."""
        self.model.stop_training = False
        self.epoch, self.step = epoch + 1, 0


class Throughput(keras.callbacks.Callback):
    """Adds `images_per_second` of the training steps to the logs, and `learning_rate` at the end of an epoch.

    Args:
        batch_size: images per step.
    """

    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.start_time = time.perf_counter()
        self.images = 0

    def on_train_batch_end(self, batch, logs=None):
        """Reads the clock after every step: the progress bar shows the speed, and validation is excluded."""
        self.end_time = time.perf_counter()
        self.images += self.batch_size
        logs["images_per_second"] = self.images / (self.end_time - self.start_time)

    def on_epoch_end(self, epoch, logs=None):
        """Adds the values to the logs that `CSVLogger` and `TensorBoard` write."""
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs["images_per_second"] = self.images / (self.end_time - self.start_time)
