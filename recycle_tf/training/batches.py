"""The batches of a training run: training batches from any step on, and those of validation and test."""

import contextlib
import functools
import logging

import numpy as np
import tensorflow as tf

from recycle_tf.data import cache, pipeline, sources
from recycle_tf.errors import UserError
from recycle_tf.training import distillation, lr_finder, multi_worker, phases

_UNREADABLE = (
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    # A damaged record of a shard, and what Python functions of the pipeline raise.
    tf.errors.DataLossError,
    tf.errors.UnknownError,
)
"""How TensorFlow reports an image that cannot be read."""


class Batches:
    """Batches of a dataset as a configuration wants them. Images are read by `load` or on first use.

    Args:
        source: a `data.sources.Source`.
        config: a `TrainConfig`.
        image_size: height and width of the model's input in pixels.
        strategy: the run's distribution strategy.
        teacher: a `distillation.Teacher`, or None.

    Attributes:
        class_counts: training images per class, `[classes]`.
        steps_per_epoch: training batches per epoch.

    Raises:
        UserError: fewer training images than one batch, or `source_weights` that do not fit the sources.
    """

    def __init__(self, source, config, image_size, strategy, teacher=None):
        self.source = source
        self.config = config
        self.image_size = image_size
        self.strategy = strategy
        self.teacher = teacher
        train = source.splits["train"]
        self._groups, self._turns = _sampling(config, train)
        self.class_counts = np.bincount(train.labels, minlength=len(source.labels))
        self.steps_per_epoch = pipeline.steps_per_epoch(train, config.batch_size)

    def load(self):
        """Reads all images into the cache; without one, reads those of validation and test once.

        Raises:
            UserError: an image is damaged, or the cache is too small.
        """
        with self.naming_damaged_images():
            _ = self._training  # decodes the training images
            for batches in (self.test, self.validation, *filter(None, self.validation_by_source.values())):
                # So that a damaged image is not found only when training has ended.
                for _ in batches:
                    pass

    @property
    def images_at_once(self):
        """Training images that this host computes with at once, over all its devices."""
        _, workers = multi_worker.index_and_count(self.strategy)
        return self.config.batch_size // (workers * self.config.accumulate)

    def training_from(self, step):
        """Training batches from a step of the run on, as `multi_worker.distribute` returns them."""
        build = functools.partial(self._training, step)
        return multi_worker.distribute(self.strategy, build, self.config.batch_size)

    @functools.cached_property
    def _training(self):
        config = self.config
        epochs, steps = phases.length(config, self.steps_per_epoch)
        if config.lr_finder:
            epochs = max(epochs, -(-lr_finder.STEPS // self.steps_per_epoch))
        batches = pipeline.training_batches(
            self.source.splits["train"],
            len(self.source.labels),
            self.image_size,
            config.batch_size,
            resize=config.resize,
            augment=config.augment,
            mix=config.mix,
            seed=config.seed,
            epochs=epochs,
            last_step=steps,
            smaller=config.smaller_sizes(),
            groups=self._groups,
            turns=self._turns,
            cache=config.cache,
            backgrounds=config.backgrounds,
            data_service=config.data_service,
        )
        if self.teacher and config.augment == config.mix == "none":
            return distillation.with_soft_labels(batches, self.teacher)
        return batches

    @functools.cached_property
    def validation(self):
        """Batches of the validation split, of a size that all devices can share."""
        examples, replicas = len(self.source.splits["validation"]), self.strategy.num_replicas_in_sync
        # Every device needs an example of the last batch.
        return self.evaluation(
            self.source.splits["validation"], pipeline.shareable(examples, self.config.batch_size, replicas)
        )

    @functools.cached_property
    def validation_by_source(self):
        """`{name of a source: batches of its validation images}`; `{}` for one source.

        None, with a warning, where there are too few of them for all devices: its column of the history is no
        reason not to train.
        """
        split, replicas = self.source.splits["validation"], self.strategy.num_replicas_in_sync
        found = {}
        for name, indices in split.by_part().items():
            try:
                size = pipeline.shareable(len(indices), self.config.batch_size, replicas)
            except UserError:
                logging.getLogger("recycle_tf").warning(
                    "%d devices cannot share the %d validation images of %s: val_accuracy_%s is not measured",
                    *(replicas, len(indices), name, name),
                )
                found[name] = None
                continue
            found[name] = self.evaluation(sources.subset(split, indices), size)
        return found

    @functools.cached_property
    def test(self):
        """Batches of the test split."""
        return self.evaluation(self.source.splits["test"])

    def evaluation(self, split, batch_size=None, cache=None):
        """Batches of a split, every example once, in order and not augmented.

        Args:
            split: a `data.sources.Split`.
            batch_size: images per batch; None for the run's.
            cache: one of `options.CACHES`; None for the run's.
        """
        return pipeline.build_evaluation(
            split,
            len(self.source.labels),
            image_size=self.image_size,
            batch_size=batch_size or self.config.batch_size,
            resize=self.config.resize,
            cache=cache or self.config.cache,
        )

    @contextlib.contextmanager
    def naming_damaged_images(self):
        """Within this context, an error of TensorFlow that a damaged image causes names the image.

        Without a cache, images are decoded during training.

        Raises:
            UserError: names the first image that cannot be decoded.
        """
        try:
            yield
        except _UNREADABLE:
            for split in self.source.splits.values():
                if damaged := cache.unreadable(split):
                    raise damaged from None
            raise


def _sampling(config, train):
    """`groups` and `turns` of `pipeline.training_batches`.

    Raises:
        UserError: `source_weights` for one source, or not one for each.
    """
    if config.class_balance == "sampler":
        return train.labels, None
    weights = config.turns_of_sources()
    if weights is None:
        return None, None
    given, names = f"`source_weights={config.source_weights}`", train.part_names
    if not names and weights == "even" and (config.recipe == "adapt" or config.from_run):
        return None, None  # A setting of the recipe, or of an earlier run, that means nothing for one source.
    if not names:
        raise UserError(f"{given}: only for several sources; `dataset={config.dataset}` is one")
    if weights == "even":
        return train.parts, None
    if len(weights) != len(names):
        raise UserError(f"{given}: expected a number for each of {len(names)} sources, {', '.join(names)}")
    return train.parts, weights
