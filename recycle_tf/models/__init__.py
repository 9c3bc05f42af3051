"""One file a paper; importing this package fills the registry from their tables."""

from recycle_tf.models import densenet, efficientnet, resnet
from recycle_tf.models.registry import create_model, describe, list_models

__all__ = ["create_model", "densenet", "describe", "efficientnet", "list_models", "resnet"]
