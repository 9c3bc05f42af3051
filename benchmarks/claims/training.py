"""Trains small networks for the claims: momentum, a step schedule, and the standard augmentation of CIFAR.

On Keras' JAX backend, so that the same program runs on a CPU and, much faster, on a GPU that has JAX. It
imports nothing of TensorFlow.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import functools
import io
import pathlib
import time
import zipfile

import jax
import jax.numpy as jnp
import keras
import numpy as np
from PIL import Image

EVALUATION_BATCH = 500
WEIGHT_DECAY, MOMENTUM = 1e-4, 0.9


def load_images(path, split, per_class=None, size=None):
    """Images of a zip archive or folder with `SPLIT/CLASS/*.jpg`.

    Args:
        path: of the archive or folder.
        split: `train` or `test`.
        per_class: number of images of each class, the first by name; None for all.
        size: to which they are resized, in pixels; None if all are squares of one size.

    Returns:
        uint8 `[examples, height, width, 3]`, and labels, `[examples]`.
    """
    path = pathlib.Path(path).expanduser()
    root = zipfile.Path(path) if path.is_file() else path
    images, labels = [], []
    for label, folder in enumerate(sorted((root / split).iterdir(), key=lambda one: one.name)):
        for file in sorted(folder.iterdir(), key=lambda one: one.name)[:per_class]:
            image = Image.open(io.BytesIO(file.read_bytes())).convert("RGB")
            images.append(np.asarray(image.resize((size, size), Image.Resampling.BOX) if size else image))
            labels.append(label)
    return np.stack(images), np.array(labels, np.int32)


def train(make_model, data, *, epochs, seed, batch_size=128, learning_rate=0.1, augment=True):
    """Trains a model from scratch.

    Momentum 0.9, weight decay 1e-4, one epoch of warm-up, and a learning rate that is divided by 10 after
    half and after three quarters of the epochs, as section 4.2 of arXiv 1512.03385 for CIFAR-10.

    Args:
        make_model: returns a Keras model with logits.
        data: `(training images, labels, test images, labels)`, uint8 and int.
        epochs: number of epochs.
        seed: of the initial weights, the order and the augmentation.
        batch_size: images of a step.
        learning_rate: the highest one.
        augment: whether images are flipped, and shifted by up to 4 pixels.

    Returns:
        The model, and a list with a dict for each epoch: `train_error` and `test_error` in inference mode,
        0..1, `loss` in training and the `seconds` it took.
    """
    keras.utils.set_random_seed(seed)
    model = make_model()
    images, labels, test_images, test_labels = (jnp.asarray(one) for one in data)
    state = [
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    state.append([jnp.zeros_like(value) for value in state[0]])
    steps = len(images) // batch_size
    step, errors = _step(model, augment), _errors(model)
    history = []
    for epoch in range(epochs):
        start = time.perf_counter()
        rate = learning_rate * 0.1 ** ((epoch >= epochs / 2) + (epoch >= 3 * epochs / 4))
        rates = rate * (np.arange(1, steps + 1) / steps if epoch == 0 else np.ones(steps))
        order, *keys = jax.random.split(jax.random.key(seed * 1000 + epoch), steps + 1)
        chosen = jax.random.permutation(order, len(images))[: steps * batch_size].reshape(steps, -1)
        losses = []
        for index, rate, key in zip(chosen, rates, keys, strict=True):
            state, loss = step(state, images, labels, index, np.float32(rate), key)
            losses.append(loss)
        loss = float(np.mean(losses))
        seconds = time.perf_counter() - start
        history.append(
            {
                "epoch": epoch + 1,
                "train_error": errors(state, images, labels),
                "test_error": errors(state, test_images, test_labels),
                "loss": loss,
                "seconds": seconds,
            }
        )
    for variables, values in zip(
        (model.trainable_variables, model.non_trainable_variables), state[:2], strict=True
    ):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    return model, history


def loss_of(model, trainable, fixed, images, labels):
    """Mean cross entropy in training mode; also returns the new moving statistics."""
    logits, fixed = model.stateless_call(trainable, fixed, images, training=True)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -chosen.mean(), fixed


def _step(model, augment):
    """A compiled training step, whose data stays on the device."""
    # Biases and the parameters of norms do not decay.
    decays = [WEIGHT_DECAY if len(variable.shape) > 1 else 0.0 for variable in model.trainable_variables]
    gradient = jax.value_and_grad(loss_of, argnums=1, has_aux=True)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, images, labels, index, rate, key):
        trainable, fixed, velocity = state
        images, labels = images[index], labels[index]
        images = _augment(images, key) if augment else images.astype(jnp.float32)
        (loss, fixed), slopes = gradient(model, trainable, fixed, images, labels)
        slopes = [g + d * w for g, d, w in zip(slopes, decays, trainable, strict=True)]
        velocity = [MOMENTUM * v + g for v, g in zip(velocity, slopes, strict=True)]
        trainable = [w - rate * v for w, v in zip(trainable, velocity, strict=True)]
        return [trainable, fixed, velocity], loss

    return step


def _augment(images, key):
    """Flips images, and shifts them by up to 4 pixels; the border is black."""
    size = images.shape[1]
    flip_key, shift_key = jax.random.split(key)
    flips = jax.random.bernoulli(flip_key, shape=(len(images), 1, 1, 1))
    images = jnp.where(flips, images[:, :, ::-1], images)
    padded = jnp.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    shifts = jax.random.randint(shift_key, (len(images), 2), 0, 9)

    def crop(image, shift):
        return jax.lax.dynamic_slice(image, (shift[0], shift[1], 0), (size, size, 3))

    return jax.vmap(crop)(padded, shifts).astype(jnp.float32)


def _errors(model):
    @jax.jit
    def wrong(trainable, fixed, images, labels):
        logits, _ = model.stateless_call(trainable, fixed, images.astype(jnp.float32), training=False)
        return (logits.argmax(axis=1) != labels).sum()

    def error(state, images, labels):
        starts = range(0, len(images), EVALUATION_BATCH)
        counts = [
            wrong(state[0], state[1], images[s : s + EVALUATION_BATCH], labels[s : s + EVALUATION_BATCH])
            for s in starts
        ]
        return float(sum(int(count) for count in counts)) / len(images)

    return error
