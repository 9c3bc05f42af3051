"""Batches for the network.

What a batch holds follows from its number alone: seed and epoch give the order, seed, epoch and example
give the draws. No iterator state has to be saved: a resumed run starts at the step it needs.
"""

import functools

import numpy as np
import tensorflow as tf

from recycle_tf.data import augment as augmentation
from recycle_tf.data import backgrounds as bank
from recycle_tf.data import cache as caching
from recycle_tf.data import cutout, sources, wild
from recycle_tf.data import decode as decoding
from recycle_tf.data import mix as mixing
from recycle_tf.errors import UserError

WORKING_SCALE = 1.5
"""Side of the pictures that training keeps, over the side of those the network sees: crops stay sharp."""


def build_evaluation(split, num_classes, image_size, batch_size, resize="stretch", cache="auto"):
    """Every example of a split exactly once, in order, the last batch partial.

    Args:
        split: a `sources.Split`.
        num_classes: width of the one-hot labels.
        image_size: height and width, in pixels.
        batch_size: examples a batch.
        resize: one of `decode.RESIZES`.
        cache: one of `cache.CACHES`.

    Returns:
        A `tf.data.Dataset` of (float32 images 0..255 `[batch, image_size, image_size, 3]`, one-hot labels).
    """
    one, many = caching.reader(split, image_size, resize, cache)
    labels = tf.one_hot(split.labels, num_classes)

    def example(index):
        return one(index), tf.gather(labels, index)

    def batch(pictures, labels):
        return tf.cast(many(pictures), tf.float32), labels

    dataset = tf.data.Dataset.range(len(split)).map(example, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size).map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def build_training(*arguments, first_step=0, share=(0, 1), **settings):
    """The batches of `training_batches` from a step on; arguments and settings are its."""
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
    smaller=(),
    balanced=False,
    cache="auto",
    backgrounds=None,
    data_service=None,
):
    """Augmented batches of `epochs` epochs, one after the other, each in an order of its own.

    An epoch is `steps_per_epoch(split, batch_size)` full batches; which examples are left out differs.

    Args:
        split: a `sources.Split`.
        num_classes: width of the labels, which are distributions.
        image_size: height and width, in pixels.
        batch_size: examples a batch.
        resize: one of `decode.RESIZES`; what the pictures are cropped from.
        augment: one of `augment.policies()`.
        mix: one of `mix.MIXES`.
        seed: decides order and draws, together with epoch and example.
        epochs: epochs of the whole training.
        smaller: sizes with which the training begins, rising; each is kept for as many steps as `image_size`
            at its end.
        balanced: draw every class equally often, rather than every example once an epoch.
        cache: one of `cache.CACHES`; the same batches from each.
        backgrounds: of the policy `wild`: a folder of images, or None.
        data_service: address of a `tf.data` service, `grpc://HOST:PORT`, whose workers make the batches.
            They come as soon as they are made: each example once an epoch, in no repeatable order.

    Returns:
        `batches(first_step, share=(0, 1))`, which gives a `tf.data.Dataset` of (float32 images 0..255, label
        distributions) from a step of the whole training on; earlier ones cost nothing, and pictures are
        decoded once for all calls. `share`, (number, count): of each batch the part with this number of so
        many equal ones, for a worker among several; `batch_size` is that of the whole.

    Raises:
        UserError: fewer examples than one batch, an unknown policy, or sizes that cannot be.
    """
    if smaller and augment == "none":
        raise UserError("--progressive: crops of other sizes come from an augmentation; choose an --augment")
    if smaller and smaller[-1] >= image_size:
        raise UserError(f"--progressive={smaller[-1]}: not smaller than the {image_size} px at the end")
    working_size = image_size if augment == "none" else round(WORKING_SCALE * image_size)
    quick = decoding.decode if augment == "none" else decoding.decode_quickly
    # What workers read is sent to them: the pictures' names, not a cache of this process.
    cache = "off" if data_service else cache
    if augment == "wild":
        policy, num_draws = wild.policy(bank.load(backgrounds, working_size, seed)), wild.NUM_DRAWS
    else:
        policy, num_draws = augmentation.policy(augment), augmentation.NUM_DRAWS
    masks = cutout.masks if augment == "wild" else None
    one, many = caching.reader(split, working_size, resize, cache, quick, masks)
    labels = tf.one_hot(split.labels, num_classes)
    per_epoch = steps_per_epoch(split, batch_size) * batch_size

    draw = functools.partial(_classes_alike if balanced else _each_once, split, per_epoch, seed)

    def example(position):
        index, key = draw(position)
        draws = tf.random.stateless_uniform([num_draws], _seeds(seed, key))
        return one(index), tf.gather(labels, index), draws

    def batches(first_step, share=(0, 1)):
        number, count = share
        part = batch_size // count
        # Each picture is mixed with the one before it, which for the first of a part lies in another part.
        borrowed = int(count > 1)
        places = tf.range(number * part - borrowed, (number + 1) * part, dtype=tf.int64) % batch_size

        def of_size(size, first, end):
            def batch(pictures, labels, draws):
                images = policy(many(pictures), draws, size)
                images, labels = mixing.mix(mix, images, labels, draws[:, -4:])
                return images[borrowed:], labels[borrowed:]

            # Numbers of batches, so that whole ones are given to the workers of a service.
            dataset = tf.data.Dataset.range(max(first, first_step), end)
            dataset = dataset.flat_map(
                lambda step: tf.data.Dataset.from_tensor_slices(step * batch_size + places)
            )
            dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE)
            dataset = dataset.batch(len(places), drop_remainder=True)
            # Policies of keras-cv draw from one stateful generator: one call at a time keeps them in order.
            parallel = None if augment in augmentation.SEQUENTIAL else tf.data.AUTOTUNE
            return dataset.map(batch, num_parallel_calls=parallel)

        # Also those of which nothing is left, so that the batches are of the same type wherever they begin.
        sizes, steps = (*smaller, image_size), epochs * per_epoch // batch_size
        borders = [steps * number // len(sizes) for number in range(len(sizes) + 1)]
        dataset = functools.reduce(
            tf.data.Dataset.concatenate, map(of_size, sizes, borders[:-1], borders[1:])
        )
        if data_service:
            dynamic = tf.data.experimental.service.ShardingPolicy.DYNAMIC
            dataset = dataset.apply(tf.data.experimental.service.distribute(dynamic, data_service))
        return dataset.prefetch(tf.data.AUTOTUNE)

    return batches


def _each_once(split, per_epoch, seed, position):
    """The example at a place of the training, and a number of its own for what is drawn for it."""
    epoch, place = position // per_epoch, position % per_epoch
    index = tf.random.experimental.index_shuffle(place, _seeds(seed, epoch), len(split) - 1)
    return index, epoch * len(split) + index


def _classes_alike(split, per_epoch, seed, position):
    """The same where classes take turns, and the examples of each follow one another in ever new orders."""
    present, counts = np.unique(split.labels, return_counts=True)
    by_class = tf.constant(np.argsort(split.labels, kind="stable"))
    begins = tf.constant(np.cumsum(counts) - counts)
    epoch, place = position // per_epoch, position % per_epoch
    # Within an epoch in random order, so that no batch shows the turns.
    turn = epoch * per_epoch + tf.random.experimental.index_shuffle(place, _seeds(seed, epoch), per_epoch - 1)
    which, number = turn % len(present), turn // len(present)
    count = tf.gather(tf.constant(counts), which)
    order = _seeds(seed, number // count * len(present) + which)
    within = tf.random.experimental.index_shuffle(number % count, order, count - 1)
    return tf.gather(by_class, tf.gather(begins, which) + within), turn


def _seeds(seed, number):
    return tf.stack([tf.constant(seed, tf.int64), number])


def steps_per_epoch(split, batch_size):
    """Full batches in a split.

    Raises:
        UserError: there is not even one.
    """
    if len(split) < batch_size:
        raise UserError(f"--batch_size={batch_size}: more than the {len(split)} training pictures there are")
    return len(split) // batch_size


def shareable(num_examples, batch_size, replicas):
    """The largest batch size, at most `batch_size`, with which replicas can share a split.

    Under MirroredStrategy Keras fails where the first batch cannot be cut into equal parts, or where a
    replica gets nothing of the last one.

    Raises:
        UserError: the split is too small for any.
    """
    for size in range(batch_size, 0, -replicas):
        first, last = min(size, num_examples), num_examples % size
        if first % replicas == 0 and (last == 0 or last >= replicas):
            return size
    raise UserError(
        f"--strategy=mirrored: {replicas} devices cannot share {num_examples} validation pictures; "
        f"take --strategy=one_device"
    )


def class_balanced(split, num_examples, seed):
    """Some examples of a split, of each class as many as there are of the others where they suffice.

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
