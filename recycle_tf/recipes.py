"""Recipes: named sets of training settings, which explicit settings override."""

import dataclasses

RECIPES = {
    # From random weights, for the best accuracy on a few thousand photographs.
    "scratch": {},
    # A first result in minutes, some points below `scratch`.
    "quick": {"epochs": "30", "warmup": "2", "mix": "none"},
    # From pretrained weights: the head first, then all layers, early stages slowest. The batch-norm
    # statistics of the pretrained weights stay; those of a few hundred photographs are worse.
    "finetune": {
        "epochs": "30",
        "head_epochs": 3,
        "warmup": "1",
        "learning_rate": 1e-3,
        "layer_decay": 0.7,
        "freeze_norms": True,
    },
    # From a trained network, for photographs of another place beside those it was trained on: every source
    # counts the same, and the early stages, which see edges and textures, hardly change.
    "adapt": {
        "epochs": "10",
        "warmup": "1",
        "learning_rate": 5e-4,
        "layer_decay": 0.5,
        "freeze_norms": True,
        "source_weights": "even",
    },
    # As the architecture's authors trained it; see `paper`.
    "paper": {"augment": "upright", "mix": "none"},
}

MOMENTUM = 0.9
"""Momentum of all published recipes that use one, and of our optimizers."""


def paper(published, batch_size):
    """Adapts an architecture's published recipe to a training run of any length and batch size.

    Args:
        published: the architecture's `models.registry.Recipe`.
        batch_size: of the run; published batches fill the memory of several GPUs.

    Returns:
        Settings, as in `RECIPES`.
    """
    settings = dataclasses.asdict(published)
    # Goyal et al., Accurate, Large Minibatch SGD, arXiv 1706.02677, section 2.1.
    settings["learning_rate"] *= batch_size / settings.pop("batch_size")
    # Published weight decay is part of the gradient, which momentum accumulates; Keras applies it once.
    settings["weight_decay"] /= 1 - MOMENTUM
    # Milestones are fractions of the training; `epochs` stays the run's own.
    return settings
