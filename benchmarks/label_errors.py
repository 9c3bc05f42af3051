"""How many changed labels of TrashNet the search finds, and what training without its findings brings.

    python benchmarks/label_errors.py --manual_dir=FOLDER_OF_TRASHNET --weights=FILE.safetensors

5 % of the labels of the official training split are replaced by another class, at random, and searched for.
Precision and recall count the changed labels: labels wrong before count as right.
The second table is the accuracy on the official test split of a linear classifier: a multinomial logistic
regression on the same features, whose network stays fixed. It is fitted to the labels after the change, to
these without the findings, to these with the true labels of the findings (a person has reviewed them), and to
the labels before the change.
Where cleanlab is installed (it is no dependency: `pip install cleanlab`), its filters are measured on the
same probabilities.
"""

import argparse
import importlib.util
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

SHARE, SEEDS = 0.05, (0, 1, 2)
ARCH, SIZE = "efficientnet_lite0", 224
FINDINGS = "the audit's findings"


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manual_dir")
    parser.add_argument("--data_dir")
    parser.add_argument("--weights")
    flags = parser.parse_args()
    (features, true), test = read_features(flags)
    print("| selected by | seed | found | precision | recall |\n| --- | --- | --- | --- | --- |")
    accuracies = {}
    for seed, labels, changed, selections in searches(features, true):
        for name, selected in selections.items():
            hits = changed[selected].sum()
            precision, recall = hits / len(selected), hits / changed.sum()
            print(f"| {name} | {seed} | {len(selected)} | {precision:.2f} | {recall:.2f} |")
        for name, accuracy in retrained(features, labels, true, selections[FINDINGS], test).items():
            accuracies.setdefault(name, []).append(accuracy)
    print(f"\n| trained on | {' | '.join(f'seed {seed}' for seed in SEEDS)} | mean |")
    print("| --- " * (len(SEEDS) + 2) + "|")
    for name, found in accuracies.items():
        print(f"| {name} | {' | '.join(f'{100 * one:.1f}' for one in (*found, np.mean(found)))} |")


def retrained(features, labels, true, findings, test):
    """`{what a linear classifier is fitted to: its accuracy on the test split}`."""
    from recycle_tf.evaluation import label_errors

    reduce = label_errors.principal_components(features)
    inputs, test_inputs, test_labels = reduce(features), reduce(test[0]), test[1]

    def accuracy(inputs, labels):
        weights = label_errors.fit_logistic(inputs, labels)
        return ((test_inputs @ weights).argmax(axis=1) == test_labels).mean()

    reviewed, left = labels.copy(), np.delete(np.arange(len(labels)), findings)
    reviewed[findings] = true[findings]
    return {
        "5 % of the labels changed": accuracy(inputs, labels),
        "the same, without the findings": accuracy(inputs[left], labels[left]),
        "the same, the findings reviewed": accuracy(inputs, reviewed),
        "no label changed": accuracy(inputs, true),
    }


def searches(features, true):
    """For each seed: `(seed, labels, whether each was changed, {name: selected examples})`."""
    from recycle_tf.evaluation import label_errors

    for seed in SEEDS:
        labels, changed = change(true, seed)
        start = time.perf_counter()
        probabilities = label_errors.out_of_fold(features, labels, seed)
        seconds = time.perf_counter() - start
        print(f"seed {seed}: {features.shape} features, folds fitted in {seconds:.1f} s", file=sys.stderr)
        errors = label_errors.find(labels, probabilities)
        ranking = np.argsort(errors.margins)
        precision = np.cumsum(changed[ranking]) / np.arange(1, len(ranking) + 1)
        selections = {
            FINDINGS: errors.indices,
            "lowest margins, 5 %": ranking[: changed.sum()],
            "lowest margins, down to precision 0.6": ranking[: np.flatnonzero(precision >= 0.6)[-1] + 1],
        }
        if importlib.util.find_spec("cleanlab"):
            selections |= of_cleanlab(labels, probabilities)
        yield seed, labels, changed, selections


def of_cleanlab(labels, probabilities):
    """What every filter of cleanlab selects: `{name: indices}`."""
    from cleanlab.filter import find_label_issues

    return {
        f"cleanlab, {name}": find_label_issues(
            labels, probabilities, filter_by=name, return_indices_ranked_by="normalized_margin", n_jobs=1
        )
        for name in ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning")
    }


def read_features(flags):
    """`(features, labels)` of the official training split, and of the official test split."""
    import keras

    import recycle_tf
    from recycle_tf.data import sources
    from recycle_tf.evaluation import label_errors

    source = sources.open_source("trashnet", manual_dir=flags.manual_dir, data_dir=flags.data_dir)
    model = recycle_tf.create_model(ARCH, len(source.labels), image_size=SIZE, weights=flags.weights)
    pooled = keras.layers.GlobalAveragePooling2D()(model.get_layer("features").output)
    model = keras.Model(model.inputs, pooled)
    found = []
    for name in ("train", "test"):
        split = source.splits[name]
        places = [(name, index) for index in range(len(split))]
        found.append((label_errors.extract(source, places, model, "stretch"), split.labels))
    return found


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


if __name__ == "__main__":
    main()
