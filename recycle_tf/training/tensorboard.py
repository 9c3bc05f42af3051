"""TensorBoard summaries in addition to the curves that Keras' own callback writes."""

import collections

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from recycle_tf.training.keras_internals import compiled_metric

SHOWN, MEASURED = 12, 16
"""Images of the sample batch that are shown, and those whose gradients are measured."""

TIMES = 10
"""How often, evenly over all epochs, histograms and the confusion matrix are written, which take longer."""

HISTOGRAM_VALUES = 100_000
"""Values of a stage's weights or gradients in a histogram, evenly strided if the stage has more."""


class ConfusionMatrix(keras.metrics.Metric):
    """Counts examples per true class (rows) and predicted class, for the first classifier.

    At the end of an epoch it holds the counts of the validation split, without a second pass over its images.
    It has no result, so that progress bar and history remain as they are.

    Args:
        num_classes: height and width of the matrix.
    """

    def __init__(self, num_classes, name="confusion", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.counts = self.add_variable((num_classes, num_classes), "zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts a batch of labels `[batch, classes]` and logits."""
        logits = y_pred[:, 0] if len(y_pred.shape) == 3 else y_pred
        true, predicted = (
            keras.ops.one_hot(keras.ops.argmax(values, axis=-1), self.num_classes)
            for values in (y_true, logits)
        )
        self.counts.assign_add(keras.ops.matmul(keras.ops.transpose(true), predicted))

    def result(self):
        """Nothing for the logs."""
        return {}


class TrainingSummaries(keras.callbacks.Callback):
    """Writes recall, confusion matrix, augmented images, the graph, and gradients and weights per stage.

    It does not change the training run. Recall and gradient norms are written in every epoch, the rest
    `TIMES` times. The gradients are those of one batch, with the model in training mode.

    Args:
        run: the `runs.Run`; None at a worker that is not the chief: it writes nothing, but all workers must
            read variables together.
        labels: names of the classes.
        training: a `loop.Training`; the graph is that of its model without auxiliary classifiers.
        sample: `(images, labels)`, one training batch.
        draw_confusion: `draw_confusion(counts, labels, title)`, which returns an image of a confusion matrix,
            uint8 `[height, width, 4]`.
    """

    def __init__(self, run, labels, training, sample, draw_confusion):
        super().__init__()
        self.run = run
        self.labels = labels
        self.inference_model = training.inference_model
        self.sample = sample
        self.draw_confusion = draw_confusion
        self.last = training.epochs - 1
        self.every = max(1, training.epochs // TIMES)
        self.gradients = tf.function(self._gradients)

    def on_train_begin(self, logs=None):
        """Opens an event file, one per phase; a new run gets its augmented images and its graph."""
        # Beside the folders of Keras' callback: TensorBoard reads one file per folder at a time.
        run = self.run
        self.writer = (
            tf.summary.create_file_writer(str(run.tensorboard)) if run else tf.summary.create_noop_writer()
        )
        if not run or run.history_rows():
            return
        forward = tf.function(lambda images: self.inference_model(images, training=False))
        with self.writer.as_default(step=0):
            images = self.sample[0][:SHOWN] / 255
            tf.summary.image("augmented", images, max_outputs=SHOWN)
            tf.summary.graph(
                forward.get_concrete_function(tf.TensorSpec(self.inference_model.input_shape)).graph
            )
        self.writer.flush()

    def on_test_end(self, logs=None):
        """Reads the counts of the validation split, before averaged weights are evaluated too."""
        self.counts = compiled_metric(self.model, ConfusionMatrix).counts.numpy()

    def on_epoch_end(self, epoch, logs=None):
        """Writes the epoch, and flushes it so that a killed process does not lose it."""
        weights = [tf.convert_to_tensor(v.value) for v in self.model.trainable_variables]
        state = [tf.convert_to_tensor(v.value) for v in self.model.non_trainable_variables]
        gradients = self.gradients(weights, state, *(part[:MEASURED] for part in self.sample))
        with self.writer.as_default(step=epoch):
            for name, row, right in zip(self.labels, self.counts, self.counts.diagonal(), strict=True):
                tf.summary.scalar(f"recall/{name}", right / max(1, row.sum()))
            for stage, values in self._by_stage(gradients).items():
                tf.summary.scalar(f"gradient_norm/{stage}", tf.norm(values))
            if epoch % self.every == 0 or epoch == self.last:
                for kind, parts in (("gradients", gradients), ("weights", weights)):
                    for stage, values in self._by_stage(parts).items():
                        strided = values[:: 1 + len(values) // HISTOGRAM_VALUES]
                        tf.summary.histogram(f"{kind}/{stage}", strided)
                title = f"validation, epoch {epoch + 1}"
                image = self.draw_confusion(self.counts.astype(int), self.labels, title)
                tf.summary.image("confusion", image[None])
        self.writer.flush()

    def on_train_end(self, logs=None):
        """Closes the event file."""
        self.writer.close()

    def _gradients(self, weights, state, images, labels):
        """Gradients of the training loss, in training mode; updates of state are discarded."""
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits, _ = self.model.stateless_call(weights, state, images, training=True)
            loss = tf.reduce_mean(self.model.loss(labels, logits))
        return tape.gradient(loss, weights)

    def _by_stage(self, values):
        """Concatenates one tensor per trainable variable to one vector per stage: `{"stage1": …}`."""
        stages = collections.defaultdict(list)
        for variable, value in zip(self.model.trainable_variables, values, strict=True):
            stages[variable.path.split("/")[0].split("_")[0]].append(tf.reshape(value, [-1]))
        return {stage: tf.concat(parts, axis=0) for stage, parts in stages.items()}


def write_results(run, summary):
    """Writes the results of a complete run: its settings with its final metrics, and plots of its mistakes.

    Args:
        run: the `runs.Run`, with its report.
        summary: metrics of the test split, as `evaluation.metrics` computes them.
    """
    settings = {name: value for name, value in run.config.items() if value is not None}
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    with writer.as_default(step=len(run.history_rows()) - 1):
        hparams.hparams(settings, trial_id=run.path.name)
        for name in ("accuracy", "log_loss", "calibration_error"):
            tf.summary.scalar(f"test/{name}", summary[name])
        for name in ("confusion_matrix", "worst_mistakes"):
            image = tf.io.decode_png(tf.io.read_file(str(run.report / f"{name}.png")))
            tf.summary.image(f"test/{name}", image[None])
    writer.close()
