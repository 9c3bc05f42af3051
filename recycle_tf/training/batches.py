"""The batches of a training run: training batches from any step on, and those of validation and test."""

import contextlib
import functools

import numpy as np
import tensorflow as tf

from recycle_tf.data import cache, pipeline, sources
from recycle_tf.training import multi_worker, phases


class Batches:
    """Batches of a dataset as a configuration wants them. Images are read by `load` or on first use.

    Args:
        source: a `data.sources.Source`.
        config: a `TrainConfig`.
        image_size: height and width of the model's input in pixels.
        strategy: the run's distribution strategy.

    Attributes:
        class_counts: training images per class, `[classes]`.
        steps_per_epoch: training batches per epoch.

    Raises:
        UserError: fewer training images than one batch.
    """

    def __init__(self, source, config, image_size, strategy):
        self.source = source
        self.config = config
        self.image_size = image_size
        self.strategy = strategy
        train = source.splits["train"]
        self.class_counts = np.bincount(train.labels, minlength=len(source.labels))
        self.steps_per_epoch = pipeline.steps_per_epoch(train, config.batch_size)

    def load(self):
        """Reads all images into the cache; without one, reads those of validation and test once.

        Raises:
            UserError: an image is damaged, or the cache is too small.
        """
        with self.naming_damaged_images():
            _ = self._training  # decodes the training images
            for batches in (self.test, self.validation):
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
        return pipeline.training_batches(
            self.source.splits["train"],
            len(self.source.labels),
            self.image_size,
            config.batch_size,
            resize=config.resize,
            augment=config.augment,
            mix=config.mix,
            seed=config.seed,
            epochs=phases.length(config, self.steps_per_epoch)[0],
            smaller=config.smaller_sizes(),
            balanced=config.class_balance == "sampler",
            cache=config.cache,
            backgrounds=config.backgrounds,
            data_service=config.data_service,
        )

    @functools.cached_property
    def validation(self):
        """Batches of the validation split, of a size that all devices can share."""
        examples, replicas = len(self.source.splits["validation"]), self.strategy.num_replicas_in_sync
        # Every device needs an example of the last batch.
        return self.evaluation(
            self.source.splits["validation"], pipeline.shareable(examples, self.config.batch_size, replicas)
        )

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
        except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
            for split in self.source.splits.values():
                if sources.first_unreadable(split):
                    raise cache.unreadable(split) from None
            raise
