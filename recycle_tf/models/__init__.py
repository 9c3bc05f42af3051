"""One file a paper; importing this package fills the registry from their tables."""

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
from recycle_tf.models.registry import create_model, describe, list_models

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
    "vgg",
]
