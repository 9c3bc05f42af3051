"""Which score tells images that a network cannot know from photographs of waste?

    python benchmarks/unlike.py --run=runs/trashnet --waste=aquatrash --photos=cifar10/test

`--waste` is a folder of photographs of waste of another origin, with one subfolder per class; `--photos` is
one of photographs that are no waste, searched with its subfolders. Drawn textures and noise are added. Prints
a table of scores (AUROC against the images of the run's test split; 0.5 is chance) and one of what the run
answers, without and with its familiarity.
"""

import argparse
import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

from recycle_tf import runs
from recycle_tf.data import backgrounds, cache, decode, pipeline
from recycle_tf.evaluation import datasets, familiarity, inputs, metrics, shifts, temperature

SURE = 0.9
COVERAGES = (0.5, 0.7, 0.9)
STRENGTH = 3


def scores(training, components):
    """Scores that are higher for stranger images: `{name: function of (features, logits)}`.

    Args:
        training: pooled features of training images, `[images, channels]`.
        components: principal components for the scores that need them.
    """
    mean = training.mean(axis=0)
    rows = np.linalg.svd(training - mean, full_matrices=False)[2]

    def residual(features, count):
        centered = features - mean
        return np.linalg.norm(centered - centered @ rows[:count].T @ rows[:count], axis=1)

    unit = training / np.linalg.norm(training, axis=1, keepdims=True)
    return {
        "familiarity": lambda features, _: -explained(features, components),
        "largest probability": lambda _, logits: -temperature.softmax(logits).max(axis=1),
        "energy": lambda _, logits: -np.log(np.exp(logits - 50).sum(axis=1)),
        "residual, 16 components": lambda features, _: residual(features, 16),
        "residual, 64 components": lambda features, _: residual(features, 64),
        "share of residual, 16": lambda features, _: (
            residual(features, 16) / np.linalg.norm(features - mean, axis=1)
        ),
        "5th nearest neighbor": lambda features, _: (
            -np.sort(features / np.linalg.norm(features, axis=1, keepdims=True) @ unit.T, axis=1)[:, -5]
        ),
    }


def explained(features, components):
    """`familiarity.explained` as an array, `[images]`."""
    return keras.ops.convert_to_numpy(familiarity.explained(np.float32(features), components))[:, 0]


def auroc(known, strange):
    """Probability that a strange image has a higher score than a known one."""
    ranks = np.argsort(np.argsort(np.concatenate([known, strange]), kind="stable"), kind="stable") + 1
    return (ranks[len(known) :].sum() - len(strange) * (len(strange) + 1) / 2) / len(known) / len(strange)


def gather(flags, run, size):
    """Images and true classes (None: no waste): `{name: (uint8 [images, size, size, 3], labels)}`."""
    resize, rng = run.config["resize"], np.random.default_rng(0)

    def some(split):
        chosen = pipeline.class_balanced(split, flags.images, 0)
        return cache.decode_all(chosen, size, resize), chosen.labels

    own = datasets.open_source(run, manual_dir=flags.manual_dir, data_dir=flags.data_dir)
    found = {"test split": some(own.splits["test"])}
    if flags.waste:
        found["waste elsewhere"] = some(datasets.open_set(run, str(flags.waste)).split)
    if flags.photos:
        paths = [path for path in sorted(flags.photos.rglob("*")) if path.suffix in decode.SUFFIXES]
        paths = [paths[index] for index in rng.permutation(len(paths))[: flags.images]]
        found["photos, no waste"] = np.stack([inputs.read(path, size, resize) for path in paths]), None
    found["drawn textures"] = backgrounds.bank(min(256, flags.images), size, 1), None
    found["noise"] = rng.integers(0, 256, (min(64, flags.images), size, size, 3)).astype(np.uint8), None
    images, labels = found["test split"]
    few = min(len(images), max(20, flags.images // 10))
    shifted = [shifts.shift(name, images[:few], STRENGTH, 0) for name in shifts.SHIFTS]
    found["test split, shifted"] = np.concatenate(shifted), np.tile(labels[:few], len(shifted))
    return found, some(own.splits["train"])[0]


def main():
    """Prints two tables, and accuracy at coverage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--waste", type=pathlib.Path, help="folder of waste of another origin")
    parser.add_argument("--photos", type=pathlib.Path, help="folder of photographs that are no waste")
    parser.add_argument("--images", type=int, default=600, help="of each set, at most")
    parser.add_argument("--manual_dir")
    parser.add_argument("--data_dir")
    flags = parser.parse_args()
    run = runs.open_run(flags.run)
    model = temperature.load_calibrated_model(run)
    familiar, network = familiarity.load(run), familiarity.with_features(model)
    sets, training = gather(flags, run, model.input_shape[1])

    def predict(images):
        logits, features = network.predict(images, batch_size=32, verbose=0)
        return np.float64(features), np.float64(logits)

    found = {name: (*predict(images), labels) for name, (images, labels) in sets.items()}
    known, *strange = found
    print(f"| score, AUROC against {known} | {' | '.join(strange)} |\n| --- |{' --- |' * len(strange)}")
    for name, score in scores(predict(training)[0], familiar.components).items():
        values = {one: score(*found[one][:2]) for one in found}
        cells = (f"{auroc(values[known], values[one]):.3f}" for one in strange)
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n| images | number | accuracy | unlike | probability above {SURE:g} | calibration error |")
    print("| --- | --- | --- | --- | --- | --- |")
    answers = {}
    for name, (features, logits, labels) in found.items():
        plain = temperature.softmax(logits)
        answers[name] = plain * keras.ops.convert_to_numpy(familiar.of(np.float32(features)))
        both = [plain, answers[name]]
        unlike = (familiarity.unlike(answers[name]) >= familiarity.THRESHOLD).mean()
        sure = " -> ".join(f"{100 * (one.max(axis=1) > SURE).mean():.1f} %" for one in both)
        measured = [labels is not None and metrics.summarise(one, labels, run.labels) for one in both]
        error = " -> ".join(f"{one['calibration_error']:.3f}" for one in measured if one)
        accuracy = f"{100 * measured[0]['accuracy']:.1f} %" if labels is not None else ""
        print(f"| {name} | {len(logits)} | {accuracy} | {100 * unlike:.1f} % | {sure} | {error} |")
    for name in (name for name in strange if sets[name][1] is None):
        print(f"{known} and {name} together: {coverage(answers, found, known, name)}")


def coverage(answers, found, known, name):
    """Accuracy of the most confident answers, without and with familiarity; other images count as wrong."""
    labels, texts = found[known][2], []
    plain = [temperature.softmax(found[one][1]) for one in (known, name)]
    for share in COVERAGES:
        right = []
        for both in (plain, [answers[known], answers[name]]):
            hits = np.concatenate([both[0].argmax(axis=1) == labels, np.zeros(len(both[1]), bool)])
            ranked = np.argsort(-np.concatenate([one.max(axis=1) for one in both]), kind="stable")
            right.append(hits[ranked[: int(share * len(hits))]].mean())
        texts.append(f"most confident {share:.0%} right {right[0]:.1%} -> {right[1]:.1%}")
    return "; ".join(texts)


if __name__ == "__main__":
    main()
