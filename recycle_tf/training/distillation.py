"""Distillation: a network learns from the answers of trained networks, its teachers.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, arXiv 1503.02531. A teacher's
probabilities say more than a label: which other classes an image resembles. They are softened by a
temperature, so that small ones count too.

The teachers see the very image that the network sees, its crop and its mixture with another one included
(Beyer et al., Knowledge distillation: A good teacher is patient and consistent, arXiv 2106.05237). They are
asked in every step, in inference mode; or, where nothing random lies between an image and the network, once
per image before training.
"""

import sys

import keras
import tensorflow as tf

from recycle_tf.errors import UserError
from recycle_tf.runs import open_run


class Teacher:
    """One trained network, or several whose probabilities are averaged.

    Args:
        models: models from pixels 0..255 to logits; they may differ in the size of their images.
        temperature: by which logits are divided before the softmax.
    """

    def __init__(self, models, temperature):
        self.models = models
        self.temperature = temperature

    def soft_labels(self, images):
        """Probabilities at the temperature, `[batch, num_classes]`, of images of any size."""
        found = [
            keras.ops.softmax(
                model(_resized(images, model.input_shape[1]), training=False) / self.temperature
            )
            for model in self.models
        ]
        return tf.add_n(found) / len(found)

    def label(self, images, labels):
        """A training batch whose labels have the soft labels beside them, `[batch, 2 num_classes]`.

        Labels that already have them stay as they are.
        """
        if labels.shape[-1] == self.models[0].output_shape[-1]:
            labels = tf.concat([labels, self.soft_labels(images)], axis=-1)
        return images, labels


class Distillation:
    """Base class to put before `keras.Model`: asks a teacher about every batch.

    The loss is that of `losses.make_loss`, which takes both kinds of labels.

    Attributes:
        teacher: a `Teacher`. It belongs to the class, because Keras would count the weights of an attribute
            of the model among the model's.
    """

    teacher = None

    def train_step(self, data):
        """Trains on images `[batch, height, width, 3]` and labels `[batch, num_classes]`."""
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        return super().train_step(self.teacher.label(images, labels))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics of the hard labels."""
        return super().compute_metrics(x, y[:, : y_pred.shape[-1]], y_pred, sample_weight)


def load(config, source):
    """Loads the teacher of a training run, in the scope of its strategy.

    Args:
        config: a `TrainConfig`.
        source: the `data.sources.Source` of the run.

    Returns:
        A `Teacher`; None without `config.teacher`.

    Raises:
        UserError: a teacher does not exist, is still in training, answers other classes, or expects images
            resized in another way.
    """
    if not config.teacher:
        return None
    teachers = open_teachers(config)
    for path, teacher in teachers.items():
        if teacher.labels != list(source.labels):
            raise UserError(
                f"`teacher={path}`: its classes are {', '.join(teacher.labels)}, those of {source.name} are "
                f"{', '.join(source.labels)}"
            )
        if teacher.config["resize"] != config.resize:
            raise UserError(
                f"`teacher={path}`: was trained with `resize={teacher.config['resize']}`, not {config.resize}"
            )
        if teacher.fingerprint != source.fingerprint:
            print(
                f"warning: {path} was trained on other images or another split than {source.name}: it "
                "may have seen test images",
                file=sys.stderr,
            )
    return Teacher([teacher.load_model() for teacher in teachers.values()], config.teacher_temperature)


def open_teachers(config):
    """The teachers of a training run: `{path as given: Run}`.

    Raises:
        UserError: a teacher does not exist, or is still in training.
    """
    paths = config.teacher.split(",") if config.teacher else []
    if not all(paths):
        raise UserError(f"`teacher={config.teacher}`: expected runs with commas between them")
    found = {path: open_run(path, "teacher") for path in paths}
    for path, teacher in found.items():
        if not teacher.complete:
            raise UserError(f"`teacher={path}`: its training has not ended; resume it first")
    return found


def with_soft_labels(batches, teacher):
    """Asks the teacher about every training image once.

    Args:
        batches: a `data.pipeline.TrainingBatches` without augmentation and mixing.
        teacher: a `Teacher`.

    Returns:
        A `TrainingBatches` whose labels are those of `Teacher.label`.
    """
    ask = tf.function(lambda images: teacher.soft_labels(tf.cast(images, tf.float32)))
    found = [ask(images) for images in batches.in_order()]
    return batches.with_labels(tf.concat([batches.labels, tf.concat(found, axis=0)], axis=-1))


def _resized(images, size):
    if images.shape[1:3] == (size, size):
        return images
    return tf.image.resize(images, (size, size))
