"""Named settings of a training; `python train.py --recipe=NAME`, and every flag overrides them."""

import dataclasses

RECIPES = {
    # From random weights, for the best accuracy on some thousand photographs.
    "scratch": {},
    # A first look: a result in minutes, some points below what `scratch` reaches.
    "quick": {"epochs": "30", "warmup": "2", "mix": "none"},
    # From trained weights: the head first; then all, early stages the slowest. The statistics of the batch
    # norms are kept: those of some hundred photographs are worse.
    "finetune": {
        "epochs": "30",
        "head_epochs": 3,
        "warmup": "1",
        "learning_rate": 1e-3,
        "layer_decay": 0.7,
        "freeze_norms": True,
    },
    # As the architecture was published; see `paper`.
    "paper": {"augment": "upright", "mix": "none"},
}

MOMENTUM = 0.9
"""Of all that was published with one, and of the optimizers here."""


def paper(published, batch_size):
    """A published recipe adapted to a run, of any length and batch size.

    Args:
        published: the `Recipe` of an architecture.
        batch_size: of the run; published ones fill the memory of several GPUs.

    Returns:
        Settings, as `RECIPES` has them.
    """
    settings = dataclasses.asdict(published)
    # Goyal et al.: Accurate, Large Minibatch SGD, arXiv 1706.02677, section 2.1.
    settings["learning_rate"] *= batch_size / settings.pop("batch_size")
    # Theirs is part of the gradient, which momentum repeats; Keras' acts once.
    settings["weight_decay"] /= 1 - MOMENTUM
    # Shares of the training stay shares; `epochs` are the run's own.
    return settings
