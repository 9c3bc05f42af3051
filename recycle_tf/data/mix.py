"""MixUp and CutMix: two pictures in one, their labels in the same proportion.

Zhang et al., mixup, arXiv 1710.09412; Yun et al., CutMix, arXiv 1905.04899. Both with alpha = 1, the papers'
choice for small sets, which makes the proportion uniform.

keras-cv has both, but draws from a stateful generator (a resumed run would see other pictures), and its
CutMix labels by the area of the box before the picture's edge cuts it off.
"""

import tensorflow as tf

MIXES = ("none", "mixup", "cutmix", "both")

_UNMIXED = 1 / 3


@tf.function(jit_compile=True, autograph=False)
def mix(name, images, labels, draws):
    """Mixes each picture of a batch with its neighbour; a third of them stays as it is.

    Compiled, because uncompiled every factor and every sum goes through memory on its own.

    Args:
        name: one of `MIXES`; `"both"` draws one of the two for each picture.
        images: `[batch, height, width, 3]`.
        labels: distributions `[batch, num_classes]`.
        draws: `[batch, 4]`, uniform: whether and how, proportion, middle of the box (y, x).

    Returns:
        Images and labels of the same shapes.
    """
    if name == "none":
        return images, labels
    choice, proportion, middle_y, middle_x = tf.unstack(draws, axis=1)
    box = _box(tf.shape(images)[1], proportion, middle_y, middle_x)
    blend = tf.ones_like(box) * proportion[:, None, None]
    cut = choice > {"mixup": 1.0, "cutmix": 0.0, "both": (1 + _UNMIXED) / 2}[name]
    share = tf.where(cut[:, None, None], box, blend)
    share = tf.where((choice < _UNMIXED)[:, None, None], tf.ones_like(share), share)

    own = tf.reduce_mean(share, axis=[1, 2])[:, None]
    images = share[..., None] * images + (1 - share[..., None]) * tf.roll(images, 1, axis=0)
    return images, own * labels + (1 - own) * tf.roll(labels, 1, axis=0)


def _box(size, proportion, middle_y, middle_x):
    """1 where the picture stays, 0 inside a box of about `1 - proportion` of its area."""
    half = tf.sqrt(1 - proportion)[:, None] / 2
    place = (tf.range(tf.cast(size, tf.float32)) + 0.5) / tf.cast(size, tf.float32)
    rows = tf.abs(place[None] - middle_y[:, None]) < half
    columns = tf.abs(place[None] - middle_x[:, None]) < half
    return 1 - tf.cast(rows[:, :, None] & columns[:, None, :], tf.float32)
