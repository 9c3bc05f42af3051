"""Gradient accumulation: the gradient of a batch that does not fit into memory at once."""

import keras
import tensorflow as tf

from recycle_tf.training.keras_internals import record_loss


class Accumulation:
    """Base class to put before `keras.Model`: computes the gradient of a batch in several passes.

    A batch is divided into `passes` parts. The weights are updated once, with the mean of the parts'
    gradients, so that schedule, clipping and checkpoints are those of the whole batch. Only batch
    normalization sees the parts: its statistics are those of each part.

    Keras' own `gradient_accumulation_steps` sums gradients over several steps. That fails under a
    distribution strategy, where the all-reduce would be in a conditional branch, and a checkpoint would have
    to hold the sum.

    Attributes:
        passes: number of parts; the batch of each device is a multiple of it.
    """

    passes = 1

    def train_step(self, data):
        """Trains on images `[batch, height, width, 3]` and labels `[batch, classes]`."""
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        variables = self.trainable_variables
        gradients, parts, mean_loss = None, [], 0.0
        for number in range(self.passes):
            # Strided parts, so that those of several devices together are a part of the whole batch.
            x, y = images[number :: self.passes], labels[number :: self.passes]
            # Without this dependency TensorFlow runs the passes in parallel and holds all activations.
            with tf.control_dependencies(gradients or []):
                x = tf.identity(x)
            with tf.GradientTape() as tape:
                logits = self(x, training=True)
                # With several devices `compute_loss` divides by their number, since gradients are summed.
                loss = self.compute_loss(x=x, y=y, y_pred=logits, training=True) / self.passes
                scaled = self.optimizer.scale_loss(loss)
            found = tape.gradient(scaled, variables)
            gradients = [a + b for a, b in zip(gradients, found, strict=True)] if gradients else found
            mean_loss += loss * replicas
            parts.append((y, logits))
        # Once per batch, so that a run that is resumed within an epoch sums its losses in the same order.
        record_loss(self, mean_loss, tf.shape(images)[0])
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        labels, logits = (keras.ops.concatenate(pieces) for pieces in zip(*parts, strict=True))
        return self.compute_metrics(images, labels, logits)
