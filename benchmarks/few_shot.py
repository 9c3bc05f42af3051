"""Accuracy on photographs of another place, over the number of own photographs per class.

    python benchmarks/few_shot.py --photos=FOLDER --weights=FILE --weights=FILE --plot=few_shot.png

FOLDER holds photographs in class folders, FILE weights of `--arch`: published ones, or those of a fine-tuned
network. The network is not trained; a new head, a logistic regression on its features, is fitted to
TrashNet's training split and 0 to 50 photographs per class. What is left of FOLDER is the test: all classes
of TrashNet can be answered. Mean and standard deviation of five draws; TrashNet's validation split shows what
is forgotten. `--choose` measures penalties and weights of the sources on other draws.
"""

import argparse
import itertools
import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

NUMBERS = (0, 5, 10, 20, 50)
DRAWS, CHOOSING_DRAWS = range(5), range(100, 105)
LEFT = 10
"""Photographs of a class that are always left for the test."""

METHODS = {"every image once": None, "sources equally often": 0.5}
"""What is fitted: the share of the own photographs in it; None for every image once."""

PENALTY = 3e-4
"""Of `label_errors.fit_logistic`."""

COMPONENTS, STEPS = 256, 150
"""Dimensions of the features, and steps in which the regression is fitted."""


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", required=True)
    parser.add_argument("--weights", action="append", type=pathlib.Path, required=True)
    parser.add_argument("--arch", default="efficientnet_lite0")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--manual_dir")
    parser.add_argument("--cache", type=pathlib.Path, help="folder in which features are kept")
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--plot", type=pathlib.Path)
    flags = parser.parse_args()
    if flags.choose:
        return choose(flags)
    print("| features | fitted to | " + " | ".join(map(str, NUMBERS)) + " | TrashNet, 20 |")
    print("| --- | --- |" + " --- |" * (len(NUMBERS) + 1))
    curves = {}
    for path, (name, share) in itertools.product(flags.weights, METHODS.items()):
        data = features_of(flags, path)
        found = [measure(data, number, share, PENALTY, DRAWS) for number in NUMBERS]
        cells = [f"{100 * own.mean():.1f} ± {100 * own.std():.1f}" for own, _ in found]
        kept = found[NUMBERS.index(20)][1]
        print(f"| {path.stem} | {name} | {' | '.join(cells)} | {100 * kept.mean():.1f} |", flush=True)
        curves[f"{path.stem}, {name}"] = [own for own, _ in found]
    if flags.plot:
        plot(flags.plot, curves)


def choose(flags):
    """Prints the mean accuracy with 20 photographs per class, for penalties and shares of these."""
    print(
        "| features | share of own photographs | penalty | own | TrashNet |\n| --- | --- | --- | --- | --- |"
    )
    for path in flags.weights:
        data = features_of(flags, path)
        for share, penalty in itertools.product((None, 0.25, 0.5, 0.75), (1e-4, 3e-4, 1e-3)):
            own, kept = measure(data, 20, share, penalty, CHOOSING_DRAWS)
            cells = (
                f"{share or 'as they are'} | {penalty:g} | {100 * own.mean():.1f} | {100 * kept.mean():.1f}"
            )
            print(f"| {path.stem} | {cells} |", flush=True)


def measure(data, number, share, penalty, draws):
    """Accuracy on the photographs that are left, and on TrashNet's validation split, of each draw."""
    from recycle_tf.evaluation import label_errors

    train, validation, photos = data["train"], data["validation"], data["photos"]
    results = []
    for seed in draws if number else draws[:1]:
        own = draw(data["photos_labels"], number, seed)
        rest = np.setdiff1d(np.arange(len(photos)), own)
        inputs = np.concatenate([train, photos[own]])
        targets = np.concatenate([data["train_labels"], data["photos_labels"][own]])
        importance = np.ones(len(inputs))
        if share is not None and number:
            importance[len(train) :] = share / (1 - share) * len(train) / len(own)
        weights = label_errors.fit_logistic(inputs, targets, penalty, STEPS, importance=importance)
        results.append(
            [
                ((photos[rest] @ weights).argmax(axis=1) == data["photos_labels"][rest]).mean(),
                ((validation @ weights).argmax(axis=1) == data["validation_labels"]).mean(),
            ]
        )
    return np.array(results).T


def draw(labels, number, seed):
    """Indices of `number` photographs per class, fewer where the test would have less than `LEFT`."""
    rng = np.random.default_rng(seed)
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    chosen = [photos[: min(number, len(photos) - LEFT)] for photos in members]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def features_of(flags, path):
    """Features and labels: `{"train": …, "train_labels": …}`, of train, validation and the photographs.

    Features are reduced to the principal components of the training split.
    """
    from recycle_tf.evaluation import label_errors

    cached = flags.cache and flags.cache / f"{path.stem}.npz"
    if cached and cached.is_file():
        found = dict(np.load(cached))
    else:
        found = compute(flags, path)
        if cached:
            flags.cache.mkdir(parents=True, exist_ok=True)
            np.savez(cached, **found)
    reduce = label_errors.principal_components(found["train"], COMPONENTS)
    names = ("train", "validation", "photos")
    return found | {name: reduce(found[name]) for name in names}


def compute(flags, path):
    """The same, by the network."""
    import keras

    from recycle_tf import cli, create_model
    from recycle_tf.data import sources
    from recycle_tf.evaluation import label_errors

    cli.import_tensorflow()
    trashnet = sources.open_source("trashnet", manual_dir=flags.manual_dir)
    photos = sources.open_unsplit(flags.photos)
    model = create_model(flags.arch, len(trashnet.labels), image_size=flags.image_size, weights=path)
    pooled = keras.layers.GlobalAveragePooling2D()(model.get_layer("features").output)
    model = keras.Model(model.inputs, pooled)
    index = np.array([trashnet.labels.index(label) for label in photos.labels])
    found = {}
    for name, source, split in (
        ("train", trashnet, "train"),
        ("validation", trashnet, "validation"),
        ("photos", photos, "all"),
    ):
        labels = source.splits[split].labels
        places = [(split, place) for place in range(len(labels))]
        found[name] = label_errors.extract(source, places, model, "stretch")
        found[f"{name}_labels"] = index[labels] if source is photos else labels
    return found


def plot(path, curves):
    """Draws the curves: mean and standard deviation over the number of photographs."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, draws in curves.items():
        means, spread = ([100 * call(own) for own in draws] for call in (np.mean, np.std))
        axes.errorbar(range(len(NUMBERS)), means, spread, marker="o", capsize=3, label=name)
    axes.set(xlabel="own photographs per class", ylabel="accuracy on the others (%)")
    axes.set_xticks(range(len(NUMBERS)), NUMBERS)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
