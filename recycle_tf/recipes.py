"""Recipes: named sets of training settings, which explicit settings override."""

import dataclasses

_FINETUNE = {
    "epochs": "30",
    "head_epochs": 3,
    "warmup": "1",
    "learning_rate": 1e-3,
    "layer_decay": 0.7,
    "freeze_norms": True,
}

RECIPES = {
    # From random weights, for the best accuracy on a few thousand photographs.
    "scratch": {},
    # A first result in minutes, some points below `scratch`.
    "quick": {"epochs": "30", "warmup": "2", "mix": "none"},
    # From pretrained weights: the head first, then all layers, early stages slowest. The batch-norm
    # statistics of the pretrained weights stay; those of a few hundred photographs are worse.
    "finetune": _FINETUNE,
    # The same for photographs unlike those of training: objects on plain paper are put elsewhere.
    "robust": {**_FINETUNE, "augment": "wild"},
    # From a trained network, which only has to get used to integers. What the recipe of that network may have
    # set for its own training is set back.
    "quantize": {
        "epochs": "5",
        "warmup": "0",
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "learning_rate": 5e-5,
        "schedule": "cosine",
        "head_epochs": 0,
        "layer_decay": 1.0,
        "freeze": "",
        "freeze_norms": False,
        "lr_multipliers": "",
        "ema": None,
        "progressive": None,
        "remat": False,
        "time_limit": None,
        "mixed_precision": "off",
    },
    # From a trained network, for photographs of another place beside those it was trained on: every source
    # counts the same, and the early stages, which see edges and textures, hardly change. The head is trained
    # already, so it is not trained alone first, even if the earlier run did that.
    "adapt": {
        "epochs": "10",
        "warmup": "1",
        "head_epochs": 0,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "learning_rate": 5e-4,
        "schedule": "cosine",
        "layer_decay": 0.5,
        "freeze_norms": True,
        "class_balance": "none",
        "source_weights": "even",
        "time_limit": None,
    },
    # As the architecture's authors trained it; see `paper`.
    "paper": {"augment": "upright", "mix": "none"},
}

FROM_THE_START = ("scratch", "quick", "finetune", "robust", "paper")
"""Recipes of a whole training: of a run that is repeated with one of them, no `OWN_SETTINGS` are kept."""

_OF_OPTIMIZERS = ("optimizer", "weight_decay", "schedule", "decay", "decay_at", "label_smoothing")
OWN_SETTINGS = frozenset(_OF_OPTIMIZERS).union(*(RECIPES[name] for name in FROM_THE_START))
"""What these recipes set, with the published part of `paper`."""

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
    # Published weight decay is part of the gradient, which momentum accumulates; Keras applies it once. For
    # EfficientNet's RMSProp, which also divides the gradient by its size, this is an approximation.
    settings["weight_decay"] /= 1 - MOMENTUM
    # Milestones are fractions of the training; `epochs` stays the run's own.
    return settings
