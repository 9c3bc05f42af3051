"""What TensorBoard shows of a training beyond the curves that Keras' own callback writes."""

import collections
import itertools

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

SHOWN, MEASURED = 12, 16
"""Pictures of the batch that are shown, and those whose gradients are measured."""

TIMES = 10
"""How often, evenly over the epochs, what takes longer is written: histograms and the confusion matrix."""


VALUES = 100_000
"""Of a stage's weights or gradients, that a histogram is made of: evenly chosen, where there are more."""


class Confusion(keras.metrics.Metric):
    """Counts of each true class (rows) and predicted class, of the first classifier.

    After an epoch it holds those of the validation: no second pass over its pictures is needed. It has no
    result of its own, so that progress bar and history stay as they are.

    Args:
        num_classes: its height and width.
    """

    def __init__(self, num_classes, name="confusion", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.counts = self.add_variable((num_classes, num_classes), "zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of labels and logits."""
        logits = y_pred[:, 0] if len(y_pred.shape) == 3 else y_pred
        true, predicted = (
            keras.ops.one_hot(keras.ops.argmax(values, axis=-1), self.num_classes)
            for values in (y_true, logits)
        )
        self.counts.assign_add(keras.ops.matmul(keras.ops.transpose(true), predicted))

    def result(self):
        """Nothing for the logs."""
        return {}


class Watching(keras.callbacks.Callback):
    """Writes recall, confusion matrix, gradients and weights a stage, augmented pictures and the graph.

    Nothing that it does changes the training. Recall and gradient norms come with every epoch, the rest
    `TIMES` times; the gradients are those of one batch, in the training's mode.

    Args:
        run: the `Run`; None at a worker that is not the chief: of several all have to read variables for one
            to write them.
        labels: names of the classes.
        training: a `loop.Training`; of its model without auxiliary classifiers the graph is written.
        sample: `(images, labels)`, a batch of the training.
        draw: `draw(counts, labels, title)`, a picture of a confusion matrix as pixels.
    """

    def __init__(self, run, labels, training, sample, draw):
        super().__init__()
        self.run = run
        self.labels = labels
        self.inference_model = training.inference_model
        self.sample = sample
        self.draw = draw
        self.last = training.epochs - 1
        self.every = max(1, training.epochs // TIMES)
        self.gradients = tf.function(self._gradients)

    def on_train_begin(self, logs=None):
        """Opens a file, one a phase; a run that begins gets its pictures and its graph."""
        # Beside the folders of Keras' callback, because TensorBoard reads one file a folder at a time.
        run = self.run
        self.writer = (
            tf.summary.create_file_writer(str(run.tensorboard)) if run else tf.summary.create_noop_writer()
        )
        if not run or run.history_rows():
            return
        forward = tf.function(lambda images: self.inference_model(images, training=False))
        with self.writer.as_default(step=0):
            pictures = self.sample[0][:SHOWN] / 255
            tf.summary.image("augmented", pictures, max_outputs=SHOWN)
            tf.summary.graph(
                forward.get_concrete_function(tf.TensorSpec(self.inference_model.input_shape)).graph
            )
        self.writer.flush()

    def on_test_end(self, logs=None):
        """Notes the counts of the validation; after it, averaged weights may be evaluated too."""
        # The metrics that a model is compiled with are within one of Keras' own.
        metrics = itertools.chain.from_iterable(getattr(m, "metrics", ()) for m in self.model.metrics)
        confusion = next(metric for metric in metrics if isinstance(metric, Confusion))
        self.counts = confusion.counts.numpy()

    def on_epoch_end(self, epoch, logs=None):
        """Writes, and leaves nothing in memory that a killed process would lose."""
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
                        tf.summary.histogram(f"{kind}/{stage}", values[:: 1 + len(values) // VALUES])
                title = f"validation, epoch {epoch + 1}"
                picture = self.draw(self.counts.astype(int), self.labels, title)
                tf.summary.image("confusion", picture[None])
        self.writer.flush()

    def on_train_end(self, logs=None):
        """Closes the file."""
        self.writer.close()

    def _gradients(self, weights, state, images, labels):
        """Of the training's loss, with statistics and dropout of a training step, which are forgotten."""
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits, _ = self.model.stateless_call(weights, state, images, training=True)
            loss = tf.reduce_mean(self.model.loss(labels, logits))
        return tape.gradient(loss, weights)

    def _by_stage(self, values):
        """`{"stage1": all of its values in one vector, …}` of what is a list a trainable variable."""
        found = collections.defaultdict(list)
        for variable, value in zip(self.model.trainable_variables, values, strict=True):
            found[variable.path.split("/")[0].split("_")[0]].append(tf.reshape(value, [-1]))
        return {stage: tf.concat(parts, axis=0) for stage, parts in found.items()}


def write_outcome(run, summary):
    """Writes what is known when a training has ended: its settings beside its figures, and its mistakes.

    Args:
        run: the `Run`, with its report.
        summary: of the test split, as `metrics.summarise` gives it.
    """
    settings = {name: value for name, value in run.config.items() if value is not None}
    writer = tf.summary.create_file_writer(str(run.tensorboard))
    with writer.as_default(step=len(run.history_rows()) - 1):
        hparams.hparams(settings, trial_id=run.path.name)
        for name in ("accuracy", "log_loss", "calibration_error"):
            tf.summary.scalar(f"test/{name}", summary[name])
        for name in ("confusion_matrix", "worst_mistakes"):
            picture = tf.io.decode_png(tf.io.read_file(str(run.report / f"{name}.png")))
            tf.summary.image(f"test/{name}", picture[None])
    writer.close()
