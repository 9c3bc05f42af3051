"""Image classification networks, one module per family of papers.

Importing this package fills the registry and registers every custom layer and model class with Keras
(`keras.saving.register_keras_serializable`), so that `keras.models.load_model` reads saved models without
`custom_objects`. A family registers by being imported below.
"""

from recycle_tf.models import (
    alexnet,
    densenet,
    efficientnet,
    fractalnet,
    googlenet,
    highway,
    lenet,
    resnet,
    vgg,
)
from recycle_tf.models.registry import create_model, list_models
from recycle_tf.models.summary import describe, stages

__all__ = [
    "alexnet",
    "create_model",
    "densenet",
    "describe",
    "efficientnet",
    "fractalnet",
    "googlenet",
    "highway",
    "lenet",
    "list_models",
    "resnet",
    "stages",
    "vgg",
]
