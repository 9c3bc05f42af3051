"""The gradient of a batch that does not fit into memory at once."""

import keras
import tensorflow as tf


class Accumulation:
    """Goes before `keras.Model` among the bases of a class: a step is several passes, one after another.

    A batch is cut into `passes` parts; the weights move once, by the mean of the parts' gradients, so that
    schedule, clipping and what a checkpoint holds are those of the whole batch. Only batch normalisation sees
    the parts: it takes its statistics over each.

    Keras' own `gradient_accumulation_steps` keeps a sum over steps, which under a distribution strategy fails
    (its all-reduce would be in a branch), and which a checkpoint would have to hold.

    Attributes:
        passes: into how many parts a batch is cut; a device's share is a multiple of it.
    """

    passes = 1

    def train_step(self, data):
        """As Keras' own, for images `[batch, height, width, 3]` and labels `[batch, classes]`."""
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        variables = self.trainable_variables
        gradients, parts, mean_loss = None, [], 0.0
        for number in range(self.passes):
            # Every so many-th, so that the parts of several devices' shares make up those of the whole batch.
            x, y = images[number :: self.passes], labels[number :: self.passes]
            # Otherwise TensorFlow computes the passes at once, and holds the activations of all.
            with tf.control_dependencies(gradients or []):
                x = tf.identity(x)
            with tf.GradientTape() as tape:
                logits = self(x, training=True)
                # Of several devices it is divided by their number, because gradients are added up.
                loss = self.compute_loss(x=x, y=y, y_pred=logits, training=True) / self.passes
                scaled = self.optimizer.scale_loss(loss)
            found = tape.gradient(scaled, variables)
            gradients = [a + b for a, b in zip(gradients, found, strict=True)] if gradients else found
            mean_loss += loss * replicas
            parts.append((y, logits))
        # Once, so that a run that goes on within an epoch adds up its losses in the same order.
        self._loss_tracker.update_state(mean_loss, sample_weight=tf.shape(images)[0])
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        labels, logits = (keras.ops.concatenate(pieces) for pieces in zip(*parts, strict=True))
        return self.compute_metrics(images, labels, logits)
