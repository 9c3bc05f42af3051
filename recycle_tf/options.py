"""The values that each setting with a fixed set of choices accepts: flags, library and tests read them here.

The first value of a tuple is not necessarily the default; defaults stand in `recycle_tf.config`.
"""

SPLITS = ("train", "validation", "test")
"""The parts of a dataset."""

SPLIT_METHODS = ("stratified", "grouped")
"""How a split is drawn for a dataset without one; `grouped` keeps near-duplicates in the same part."""

RESIZES = ("stretch", "letterbox", "crop")
"""How an image becomes square: stretched, padded with black bars, or cropped to its center."""

POLICIES = ("none", "trivial", "basic", "upright", "wild", "randaugment", "augmix", "gridmask")
"""Augmentation policies."""

MIXES = ("none", "mixup", "cutmix", "both")
"""Ways to mix two training images; `both` draws one of the two per image."""

CACHES = ("auto", "memory", "disk", "off")
"""Where decoded images are cached."""

ON_BAD_IMAGE = ("error", "skip")
"""What happens with an image that cannot be used for training."""

LOSSES = ("cross_entropy", "focal")

CLASS_BALANCES = ("none", "weights", "sampler")
"""How rare classes are compensated."""

OPTIMIZERS = ("adamw", "sgd", "momentum", "rmsprop", "lion", "lamb")

SCHEDULES = ("cosine", "step", "exponential", "constant", "one_cycle")
"""Learning-rate schedules."""

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")
"""Distribution strategies."""

SYNC_BATCH_NORM = ("auto", "on", "off")

JIT = ("auto", "on", "off")
"""Compilation of the training step with XLA."""

MIXED_PRECISION = ("auto", "bfloat16", "float16", "onednn_bfloat16", "off")

QUANTIZATIONS = ("none", "int8")
"""Integers that training simulates."""

RECIPES = ("scratch", "quick", "finetune", "robust", "adapt", "quantize", "paper")
"""Named sets of settings; see `recycle_tf.recipes`."""

SHEET_TITLE = "answers of recycle_tf"
"""Title of a PNG of images with their answers, by which it is known."""

SHEET_MOST = 500
"""Images on such a PNG at most."""
