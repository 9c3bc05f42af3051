"""MixUp and CutMix: two images in one, with their labels in the same proportion.

Zhang et al., mixup, arXiv 1710.09412; Yun et al., CutMix, arXiv 1905.04899. Both with alpha = 1, as the
papers choose for small datasets, which makes the proportion uniform.

keras-cv has both, but draws from a stateful generator, so that a resumed run would see different images,
and its CutMix computes labels from the area of the box before the border of the image cuts it off.
"""

import tensorflow as tf

_UNMIXED = 1 / 3
"""Fraction of images that are not mixed."""


@tf.function(jit_compile=True, autograph=False)
def mix(name, images, labels, draws):
    """Mixes each image of a batch with its neighbor; a third of the images stays as it is.

    Compiled with XLA: otherwise every product and every sum would be written to memory.

    Args:
        name: one of `options.MIXES`; `"both"` draws one of the two per image.
        images: `[batch, height, width, 3]`.
        labels: distributions `[batch, num_classes]`.
        draws: `[batch, 4]`, uniform in [0, 1): whether and how to mix, the proportion, and the center of the
            box (y, x).

    Returns:
        Images and labels of the same shapes.
    """
    if name == "none":
        return images, labels
    choice, proportion, center_y, center_x = tf.unstack(draws, axis=1)
    box = _box(tf.shape(images)[1], proportion, center_y, center_x)
    blend = tf.ones_like(box) * proportion[:, None, None]
    cut = choice > {"mixup": 1.0, "cutmix": 0.0, "both": (1 + _UNMIXED) / 2}[name]
    share = tf.where(cut[:, None, None], box, blend)
    share = tf.where((choice < _UNMIXED)[:, None, None], tf.ones_like(share), share)

    own = tf.reduce_mean(share, axis=[1, 2])[:, None]
    images = share[..., None] * images + (1 - share[..., None]) * tf.roll(images, 1, axis=0)
    return images, own * labels + (1 - own) * tf.roll(labels, 1, axis=0)


def _box(size, proportion, center_y, center_x):
    """`[batch, size, size]`: 0 inside a box that covers about `1 - proportion` of the area, 1 outside."""
    half = tf.sqrt(1 - proportion)[:, None] / 2
    position = (tf.range(tf.cast(size, tf.float32)) + 0.5) / tf.cast(size, tf.float32)
    rows = tf.abs(position[None] - center_y[:, None]) < half
    columns = tf.abs(position[None] - center_x[:, None]) < half
    return 1 - tf.cast(rows[:, :, None] & columns[:, None, :], tf.float32)
