"""Named settings of a training; `python train.py --recipe=NAME`, and every flag overrides them."""

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
}
