"""How many changed labels of TrashNet the search for label errors finds.

    python benchmarks/label_errors.py --manual_dir=FOLDER_OF_TRASHNET --weights=FILE.safetensors

5 % of the labels of the official training split are replaced by another class, at random; only the images of
that split are used. Precision and recall count the changed labels: labels wrong before count as right.
`--probabilities=FOLDER` also writes labels and out-of-fold probabilities, to compare with cleanlab (not a
dependency):

    python benchmarks/label_errors.py --cleanlab=FOLDER

needs only NumPy and cleanlab.
"""

import argparse
import os
import pathlib
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

SHARE, SEEDS = 0.05, (0, 1, 2)
ARCH, SIZE = "efficientnet_lite0", 224


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manual_dir")
    parser.add_argument("--data_dir")
    parser.add_argument("--weights")
    parser.add_argument("--probabilities", type=pathlib.Path)
    parser.add_argument("--cleanlab", type=pathlib.Path)
    flags = parser.parse_args()
    rows = cleanlab_rows(flags.cleanlab) if flags.cleanlab else own_rows(flags)
    print("| selected by | seed | found | precision | recall |\n| --- | --- | --- | --- | --- |")
    for name, seed, selected, changed in rows:
        hits = changed[selected].sum()
        precision, recall = hits / len(selected), hits / changed.sum()
        print(f"| {name} | {seed} | {len(selected)} | {precision:.2f} | {recall:.2f} |")


def own_rows(flags):
    """`(name, seed, selected examples, whether each label was changed)`."""
    from recycle_tf.evaluation import label_errors

    features, true = read_features(flags)
    for seed in SEEDS:
        labels, changed = change(true, seed)
        start = time.perf_counter()
        probabilities = label_errors.out_of_fold(features, labels, seed)
        seconds = time.perf_counter() - start
        print(f"seed {seed}: {features.shape} features, folds fitted in {seconds:.1f} s", file=sys.stderr)
        if flags.probabilities:
            flags.probabilities.mkdir(parents=True, exist_ok=True)
            path = flags.probabilities / f"{seed}.npz"
            np.savez(path, labels=labels, probabilities=probabilities, changed=changed)
        errors = label_errors.find(labels, probabilities)
        ranking = np.argsort(errors.margins)
        precision = np.cumsum(changed[ranking]) / np.arange(1, len(ranking) + 1)
        yield "the audit's findings", seed, errors.indices, changed
        yield "lowest margins, 5 %", seed, ranking[: changed.sum()], changed
        last = np.flatnonzero(precision >= 0.6)[-1]
        yield "lowest margins, down to precision 0.6", seed, ranking[: last + 1], changed


def read_features(flags):
    """Features and labels of the official training split."""
    import keras

    import recycle_tf
    from recycle_tf.data import sources
    from recycle_tf.evaluation import label_errors

    source = sources.open_source("trashnet", manual_dir=flags.manual_dir, data_dir=flags.data_dir)
    model = recycle_tf.create_model(ARCH, len(source.labels), image_size=SIZE, weights=flags.weights)
    pooled = keras.layers.GlobalAveragePooling2D()(model.get_layer("features").output)
    model = keras.Model(model.inputs, pooled)
    split = source.splits["train"]
    places = [("train", index) for index in range(len(split))]
    return label_errors.extract(source, places, model, "stretch"), split.labels


def change(labels, seed):
    """Replaces 5 % of the labels by another class; returns them, and which ones were changed."""
    rng = np.random.default_rng(seed)
    classes, count = labels.max() + 1, round(SHARE * len(labels))
    chosen = rng.choice(len(labels), count, replace=False)
    changed = np.zeros(len(labels), bool)
    changed[chosen] = True
    new = labels.copy()
    new[chosen] = (new[chosen] + rng.integers(1, classes, count)) % classes
    return new, changed


def cleanlab_rows(folder):
    """The same for every filter of cleanlab, on the same probabilities."""
    from cleanlab.filter import find_label_issues

    for path in sorted(folder.glob("*.npz")):
        stored = np.load(path)
        for name in ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning"):
            selected = find_label_issues(
                stored["labels"],
                stored["probabilities"],
                filter_by=name,
                return_indices_ranked_by="normalized_margin",
                n_jobs=1,
            )
            yield f"cleanlab, {name}", path.stem, selected, stored["changed"]


if __name__ == "__main__":
    main()
