"""Familiarity: is an image like those that a network was trained on, or something that it cannot know?

A classifier spreads all probability over its classes, also for a cat. So the probabilities of a run are
multiplied by a familiarity of 0..1, and what is missing to a sum of 1 is the probability that the image is
unlike the training images. No answer changes, only how sure it is; whoever compares the largest probability
with a threshold says "not sure" without knowing about familiarity.

The pooled `features` of an image, as a distribution over channels, have a square root of length 1; the cosine
of two such vectors is their Bhattacharyya coefficient. Principal components of the training images span the
directions that the network uses for its classes, and `explained` is the share of an image's vector that lies
in them: the complement of the residual in Wang et al., ViM: Out-Of-Distribution with Virtual-logit Matching,
arXiv 2203.10807. docs/results.md compares it with other scores.
"""

import dataclasses

import keras
import numpy as np

from recycle_tf.errors import UserError
from recycle_tf.files import reading, replacing
from recycle_tf.models import inference

COMPONENTS, PER_CLASS = 16, 2
"""Principal components, and how many per class there are at least: classes differ in directions of their own.
A network with few channels has a quarter of them."""

TRAINING_IMAGES = 600
"""Training images at most whose features are decomposed."""

THRESHOLD = 0.5
"""Probability of being unlike the training images from which the answer is "unlike"."""

FAMILIAR = 0.99
"""Share of the validation images whose familiarity is at least 0.5. With 0.95, about half of another
dataset's photographs of litter would be called unlike."""

UNCHANGED = 0.90
"""Share of the validation images whose familiarity is at least 0.99, so that their probabilities stay."""

STEEP = 4.6
"""The sigmoid rises from 0.5 to 0.99 within this many widths."""

NARROWEST = 1e-3
"""Smallest width; below it, the rounding of a float16 file would change answers."""

EPSILON = 1e-7
"""Keeps the share of a feature vector of zeros at 0."""


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """What decides how familiar an image is.

    Attributes:
        components: orthonormal columns, float32 `[channels, components]`.
        limit: share of a feature vector in the components at which the familiarity is 0.5.
        width: change of that share which changes the log odds of the familiarity by 1.
    """

    components: np.ndarray
    limit: float
    width: float

    def of(self, features):
        """Familiarity of pooled features: `[images, channels]` -> `[images, 1]`, 0..1."""
        return keras.ops.sigmoid((explained(features, self.components) - self.limit) / self.width)

    def as_json(self):
        """What `calibration.json` and `spec.json` hold: the threshold that clients need, and its origin."""
        return {"threshold": THRESHOLD, "limit": self.limit, "width": self.width}


class FamiliarityLayer(keras.layers.Layer):
    """`Familiarity.of` as the layer `familiarity` of a network.

    Args:
        familiarity: a `Familiarity`.
    """

    def __init__(self, familiarity):
        super().__init__(name="familiarity")
        self.familiarity = familiarity

    def call(self, inputs):
        """Pooled features `[batch, channels]`."""
        return self.familiarity.of(inputs)

    def compute_output_shape(self, input_shape):
        """One number per image."""
        return (input_shape[0], 1)


def explained(features, components):
    """Share of each feature vector that lies in the components.

    Args:
        features: pooled features, `[images, channels]`; negative ones, which swish has, count as 0.
        components: as in `Familiarity`.

    Returns:
        `[images, 1]`, 0..1.
    """
    positive = keras.ops.relu(features)
    inside = keras.ops.square(keras.ops.matmul(keras.ops.sqrt(positive), components))
    # Means, because TFLite's sum of integers of 16 bits ends at the largest of them.
    inside, total = (keras.ops.mean(one, axis=-1, keepdims=True) for one in (inside, positive))
    channels, count = components.shape
    return inside * (count / channels) / (total + EPSILON)


def fit(training, validation, classes):
    """Finds the components of the training images, and the limit on the validation images.

    Args:
        training: pooled features, `[images, channels]`.
        validation: likewise.
        classes: number of classes.

    Returns:
        A `Familiarity`.
    """
    count = max(1, min(max(COMPONENTS, PER_CLASS * classes), training.shape[1] // 4, len(training)))
    _, _, rows = np.linalg.svd(np.sqrt(np.maximum(np.float64(training), 0)), full_matrices=False)
    components = np.float32(rows[:count].T)
    shares = keras.ops.convert_to_numpy(explained(np.float32(validation), components))
    limit, unchanged = np.quantile(shares, (1 - FAMILIAR, 1 - UNCHANGED))
    # Rounding may exceed 1, the largest share.
    return Familiarity(components, min(1.0, float(limit)), max(NARROWEST, float(unchanged - limit) / STEEP))


def with_features(model):
    """A model that returns logits and pooled features, with the layers of a classifier.

    Args:
        model: a functional model with the layers `features` and `logits`.
    """
    return inference.with_outputs(model, [_logits(model), _pooled(model)])


def attach(model, familiarity):
    """A model that returns logits and familiarity; the model itself if the familiarity is None.

    Args:
        model: as in `with_features`; its layers are shared.
        familiarity: a `Familiarity`, or None.
    """
    if familiarity is None:
        return model
    outputs = [_logits(model), FamiliarityLayer(familiarity)(_pooled(model))]
    return inference.with_outputs(model, outputs)


def attach_stored(model, run):
    """Attaches the familiarity that `load` finds in a run; see `attach`.

    Raises:
        UserError: a file is damaged, or of another network.
    """
    familiar, channels = load(run), model.get_layer("features").output.shape[-1]
    if familiar and len(familiar.components) != channels:
        raise UserError(
            f"{run.components_file}: for {len(familiar.components)} channels, the model has {channels}"
        )
    return attach(model, familiar)


def probabilities(outputs):
    """Probabilities from what a network returns: its logits, or logits and familiarity.

    Args:
        outputs: logits `[batch, num_classes]`, or a list of these and the familiarity, `[batch, 1]`.

    Returns:
        `[batch, num_classes]`. With familiarity, their sum is 1 minus the probability that the image is
        unlike the training images.
    """
    logits, *familiar = keras.tree.flatten(outputs)
    shares = keras.ops.softmax(logits)
    return shares * familiar[0] if familiar else shares


def unlike(found):
    """The probability that images are unlike the training images: what is missing to a sum of 1.

    Args:
        found: probabilities, `[…, num_classes]`.
    """
    return np.maximum(0.0, 1.0 - np.asarray(found, np.float64).sum(axis=-1))


def save(path, familiarity):
    """Writes the components; limit and width are in `calibration.json`."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, familiarity.components, allow_pickle=False)


def load(run):
    """The `Familiarity` of a run; None for a run that was calibrated without.

    Raises:
        UserError: a file is missing or damaged.
    """
    record = run.calibration and run.calibration.get("unlike")
    if not record:
        return None
    with reading(run.components_file):
        components = np.load(run.components_file, allow_pickle=False)
    valid = isinstance(components, np.ndarray) and components.ndim == 2 and components.dtype == np.float32
    if not valid or not np.isfinite(components).all():
        raise UserError(f"{run.components_file}: damaged, not a matrix of float32")
    return Familiarity(components, record["limit"], record["width"])


def _logits(model):
    # A model that was loaded from a file has a list of outputs.
    return keras.tree.flatten(model.output)[0]


def _pooled(model):
    """Features averaged over the image: the layer `pool` where the classifier has one."""
    if any(layer.name == "pool" for layer in model.layers):
        return model.get_layer("pool").output
    return keras.layers.GlobalAveragePooling2D(name="pool")(model.get_layer("features").output)
