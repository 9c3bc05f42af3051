"""Batches for the network.

The contents of a batch follow from its number alone: seed and epoch give the order, and seed, epoch and
example give the draws. No iterator state has to be saved: a resumed run starts at the step that it needs.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from recycle_tf.data import augment as augmentation
from recycle_tf.data import backgrounds as bank
from recycle_tf.data import cache as caching
from recycle_tf.data import cutout, keras_cv_policies, sources, wild
from recycle_tf.data import data_service as service
from recycle_tf.data import decode as decoding
from recycle_tf.data import mix as mixing
from recycle_tf.data.parallel import without_autotune
from recycle_tf.errors import UserError

WORKING_SCALE = 1.5
"""Side of the cached training images, relative to the network's input: crops of them stay sharp."""


def build_evaluation(split, num_classes, image_size, batch_size, resize="stretch", cache="auto"):
    """Makes a dataset with every example of a split exactly once, in order; the last batch may be smaller.

    Args:
        split: a `sources.Split`.
        num_classes: width of the one-hot labels.
        image_size: height and width, in pixels.
        batch_size: examples per batch.
        resize: one of `options.RESIZES`.
        cache: one of `options.CACHES`.

    Returns:
        A `tf.data.Dataset` of (float32 images 0..255 `[batch, image_size, image_size, 3]`, one-hot labels
        `[batch, num_classes]`).
    """
    one, many = caching.reader(split, image_size, resize, cache)
    labels = tf.one_hot(split.labels, num_classes)

    def example(index):
        return one(index), tf.gather(labels, index)

    def batch(images, labels):
        return tf.cast(many(images), tf.float32), labels

    dataset = tf.data.Dataset.range(len(split)).map(example, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size).map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return without_autotune(dataset.prefetch(tf.data.AUTOTUNE))


def build_training(*arguments, first_step=0, share=(0, 1), **settings):
    """Makes the batches of `training_batches`, which has the other arguments, from a step on."""
    return training_batches(*arguments, **settings)(first_step, share)


def training_batches(
    split,
    num_classes,
    image_size,
    batch_size,
    *,
    resize="stretch",
    augment="trivial",
    mix="none",
    seed=0,
    epochs=1,
    last_step=None,
    smaller=(),
    groups=None,
    turns=None,
    cache="auto",
    backgrounds=None,
    data_service=None,
):
    """Prepares augmented batches of `epochs` epochs, each `steps_per_epoch(split, batch_size)` full batches.

    Args:
        split: a `sources.Split`.
        num_classes: width of the labels.
        image_size: height and width, in pixels.
        batch_size: examples per batch.
        resize: one of `options.RESIZES`; crops are taken from the resized images.
        augment: one of `options.POLICIES`.
        mix: one of `options.MIXES`.
        seed: decides order and draws, together with epoch and example.
        epochs: epochs of the whole run; each has another order, and leaves out other examples.
        last_step: step at which the run ends, if that is within its last epoch; None for the end of that.
        smaller: increasing sizes with which training starts, each for as many steps as `image_size`.
        groups: index of each example's group, which take turns; None for every example once per epoch.
        turns: turns of each group in a round, positive whole numbers; None for one each.
        cache: one of `options.CACHES`; all give the same batches.
        backgrounds: folder of background images for the policy `wild`, or None.
        data_service: address of a `tf.data` service, whose workers make the batches, in no repeatable order.

    Returns:
        A `TrainingBatches`, a function from a step to the dataset from there on.

    Raises:
        UserError: fewer examples than one batch, an unknown policy, invalid sizes, or an unreachable service.
    """
    _check(smaller, image_size, augment, data_service)
    per_epoch = steps_per_epoch(split, batch_size)
    plain = augment == "none"
    side = image_size if plain else round(WORKING_SCALE * image_size)
    decode = decoding.decode if plain else decoding.decode_quickly
    # Workers of a service are sent names of files, not a cache of this process.
    policy, num_draws, masks = _policy(augment, backgrounds, side, seed)
    reader = caching.reader(split, side, resize, "off" if data_service else cache, decode, masks)
    drawing = (_each_once, len(split)) if groups is None else (_by_turns, *_rounds(groups, turns))
    draw = functools.partial(*drawing, per_epoch * batch_size, seed)
    sizes, labels = (*smaller, image_size), tf.one_hot(split.labels, num_classes)
    sized, sequential = _sized(sizes, last_step, epochs * per_epoch), augment in keras_cv_policies.NAMES
    return TrainingBatches(
        reader, labels, draw, policy, num_draws, mix, seed, batch_size, sized, sequential, data_service
    )


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingBatches:
    """What `training_batches` prepares: images are decoded once for all datasets that are made from it.

    Attributes:
        reader: the two functions of `cache.reader`.
        labels: labels of the split, `[examples, width]`; one-hot unless `with_labels` gave others.
        draw: function from a position in the run to (index of an example, number that seeds its draws).
        policy: function of `augment.policy`.
        num_draws: uniform random numbers per example.
        mix: one of `options.MIXES`.
        seed: seed of the draws.
        batch_size: examples per batch, over all workers.
        sizes: (image size, first step, step after its last), in the order in which they are used.
        sequential: whether one batch must be augmented after the other.
        data_service: address of the service that makes the batches, or None.
    """

    reader: tuple
    labels: tf.Tensor
    draw: Callable
    policy: Callable
    num_draws: int
    mix: str
    seed: int
    batch_size: int
    sizes: tuple
    sequential: bool
    data_service: str | None

    def __call__(self, first_step, share=(0, 1)):
        """Makes the dataset from a step of the run on; earlier steps cost nothing.

        Args:
            first_step: number of the first step, from 0.
            share: (number, count): of each batch only this one of `count` equal parts, for one of several
                workers.

        Returns:
            A `tf.data.Dataset` of (float32 images 0..255 `[batch, size, size, 3]`, label distributions
            `[batch, num_classes]`).
        """
        # Sizes that end before `first_step` too, so that the dataset's type does not depend on it.
        dataset = functools.reduce(
            tf.data.Dataset.concatenate,
            (self._of_size(size, max(first, first_step), end, *share) for size, first, end in self.sizes),
        )
        if self.data_service:
            dataset = service.distribute(dataset, self.data_service)
        return without_autotune(dataset.prefetch(tf.data.AUTOTUNE))

    def in_order(self):
        """Every image of the split once, in order, as `reader` reads it: without augmentation.

        Returns:
            A `tf.data.Dataset` of uint8 images `[batch, side, side, 3]`; the last batch may be smaller.
        """
        read, read_batch = self.reader
        dataset = tf.data.Dataset.range(len(self.labels)).map(read, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.batch(self.batch_size).map(read_batch, num_parallel_calls=tf.data.AUTOTUNE)
        return without_autotune(dataset.prefetch(tf.data.AUTOTUNE))

    def with_labels(self, labels):
        """The same batches with other labels: `[examples, width]`."""
        return dataclasses.replace(self, labels=labels)

    def _of_size(self, size, first, end, number, count):
        """Batches of one image size, from step `first` to `end`, for worker `number` of `count`."""
        part = self.batch_size // count
        # Each image is mixed with the one before it. For the first image of a part that is in another part.
        borrowed = int(count > 1)
        places = tf.range(number * part - borrowed, (number + 1) * part, dtype=tf.int64) % self.batch_size
        read, read_batch = self.reader

        def example(position):
            index, key = self.draw(position)
            draws = tf.random.stateless_uniform([self.num_draws], _seeds(self.seed, key))
            return read(index), tf.gather(self.labels, index), draws

        def batch(images, labels, draws):
            images = self.policy(read_batch(images), draws, size)
            images, labels = mixing.mix(self.mix, images, labels, draws[:, -4:])
            return images[borrowed:], labels[borrowed:]

        # Numbers of batches, so that a service gives its workers whole batches.
        dataset = tf.data.Dataset.range(first, end)
        dataset = dataset.flat_map(
            lambda step: tf.data.Dataset.from_tensor_slices(step * self.batch_size + places)
        )
        dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.batch(len(places), drop_remainder=True)
        return dataset.map(batch, num_parallel_calls=None if self.sequential else tf.data.AUTOTUNE)


def _policy(name, backgrounds, side, seed):
    """A policy, its random numbers per example, and the function that finds the masks for it, or None."""
    if name == "wild":
        return wild.policy(bank.load(backgrounds, side, seed)), wild.NUM_DRAWS, cutout.masks
    return augmentation.policy(name), augmentation.NUM_DRAWS, None


def _sized(sizes, last_step, steps):
    """`(size, first step, step after its last)` of each size: equal parts until `last_step`."""
    borders = [(last_step or steps) * number // len(sizes) for number in range(len(sizes))] + [steps]
    return tuple(zip(sizes, borders[:-1], borders[1:], strict=True))


def _check(smaller, image_size, augment, data_service):
    if smaller and augment == "none":
        raise UserError("`progressive`: augmentation makes the smaller images; choose an `augment` policy")
    if smaller and smaller[-1] >= image_size:
        raise UserError(f"`progressive={smaller[-1]}`: must be smaller than the final size, {image_size} px")
    if data_service:
        service.require(data_service)


def _each_once(examples, per_epoch, seed, position):
    """The index of the example at a position of the run, and a unique number that seeds its draws."""
    epoch, place = position // per_epoch, position % per_epoch
    index = tf.random.experimental.index_shuffle(place, _seeds(seed, epoch), examples - 1)
    return index, epoch * examples + index


@dataclasses.dataclass(frozen=True, eq=False)
class _Groups:
    """Groups of examples, int64: the examples group by group, where each group begins, its size."""

    examples: np.ndarray
    begins: np.ndarray
    counts: np.ndarray


def _rounds(groups, turns):
    """The `_Groups` that have examples, and the round in which they take turns.

    Returns:
        The groups; for each turn of a round the group whose turn it is, and the number of its earlier turns
        in that round, both `[turns in a round]`; and the turns of each group in a round.
    """
    present, counts = np.unique(groups, return_counts=True)
    turns = np.ones(len(present), np.int64) if turns is None else np.array(turns, np.int64)[present]
    found = _Groups(np.argsort(groups, kind="stable"), np.cumsum(counts) - counts, counts)
    earlier = np.concatenate([np.arange(number) for number in turns])
    return found, np.repeat(np.arange(len(present)), turns), earlier, turns


def _by_turns(groups, takers, earlier, turns, per_epoch, seed, position):
    """Like `_each_once`, but groups take turns, and each goes through its examples in ever new orders."""
    epoch, place = position // per_epoch, position % per_epoch
    # Shuffled within an epoch, so that batches do not show the turns.
    turn = epoch * per_epoch + tf.random.experimental.index_shuffle(place, _seeds(seed, epoch), per_epoch - 1)
    round_, place_in_round = turn // len(takers), turn % len(takers)
    which = tf.gather(takers, place_in_round)
    number = round_ * tf.gather(turns, which) + tf.gather(earlier, place_in_round)
    count = tf.gather(groups.counts, which)
    order = _seeds(seed, number // count * len(turns) + which)
    within = tf.random.experimental.index_shuffle(number % count, order, count - 1)
    return tf.gather(groups.examples, tf.gather(groups.begins, which) + within), turn


def _seeds(seed, number):
    return tf.stack([tf.constant(seed, tf.int64), number])


def steps_per_epoch(split, batch_size):
    """Number of full batches in a split.

    Raises:
        UserError: there is not even one.
    """
    if len(split) < batch_size:
        raise UserError(f"`batch_size={batch_size}`: more than the {len(split)} training images")
    return len(split) // batch_size


def shareable(num_examples, batch_size, replicas):
    """The largest batch size, at most `batch_size`, in which replicas can share a split.

    Under MirroredStrategy Keras fails if the first batch cannot be divided into equal parts, or if a
    replica gets no part of the last one.

    Raises:
        UserError: the split is too small for any batch size.
    """
    for size in range(batch_size, 0, -replicas):
        first, last = min(size, num_examples), num_examples % size
        if first % replicas == 0 and (last == 0 or last >= replicas):
            return size
    raise UserError(
        f"`strategy=mirrored`: {replicas} devices cannot share {num_examples} validation images; use "
        "`strategy=one_device`"
    )


def class_balanced(split, num_examples, seed):
    """Chooses examples of a split: equally many per class, as far as each class has enough.

    Returns:
        A `sources.Split` of at most `num_examples`.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(split))
    # Rank of each example within its class: the first of every class come before the second of any.
    seen, rank = {}, []
    for index in shuffled:
        seen[split.labels[index]] = seen.get(split.labels[index], -1) + 1
        rank.append(seen[split.labels[index]])
    chosen = shuffled[np.argsort(rank, kind="stable")][:num_examples]
    return sources.subset(split, chosen)
