"""Compares the weights after training on one device, on several devices and on several hosts.

    python benchmarks/distribution.py
    python benchmarks/distribution.py --cases=clipping

The same batches train the same network on one device, on two logical CPUs (`MirroredStrategy`) and in two
processes on this machine (`MultiWorkerMirroredStrategy`), through the package's own pipeline and training
step. It prints the largest difference of a weight after the last step, and how far the weights moved.
"""

import argparse
import itertools
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile

NETWORKS = {
    "no batch norm": ("test_lenet", ""),
    "batch norm": ("test_resnet_a", "blocks_per_stage=(1,)"),
}
SETTINGS = {
    "plain": {},
    "clipping": {"clip_norm": 0.5},
    "accumulation": {"accumulate": 2},
    "moving average": {"ema": 0.9},
    "all of them": {"clip_norm": 0.5, "accumulate": 2, "ema": 0.9},
}
CASES = {
    f"{network}, {setting}": (*NETWORKS[network], SETTINGS[setting])
    for network, setting in itertools.product(NETWORKS, SETTINGS)
}
STRATEGIES = {"one_device": "one device", "mirrored": "2 mirrored", "multi_worker": "2 workers"}
BATCH_SIZE, EPOCHS, IMAGES, CLASSES, SIZE = 16, 2, 48, 3, 32


def weights_of(photos, strategy_name, logical_cpus, cases):
    """Trains every case in this process: `{case: what trained returns}`."""
    import numpy as np

    from recycle_tf.data import sources
    from recycle_tf.training.strategy import make_strategy

    strategy = make_strategy(strategy_name, logical_cpus)
    split = sources.subset(sources.open_source(photos).splits["train"], np.arange(IMAGES))
    return {
        case: trained(strategy, split, *settings)
        for case, settings in CASES.items()
        if re.search(cases, case)
    }


def trained(strategy, split, arch, overrides, settings):
    """Trains `EPOCHS` epochs.

    Returns:
        How far the weights moved, followed by all weights and, if there are any, their moving averages.
    """
    import functools

    import keras
    import numpy as np

    from recycle_tf import create_model
    from recycle_tf.config import TrainConfig
    from recycle_tf.data import pipeline
    from recycle_tf.training import keras_internals, loop, multi_worker
    from recycle_tf.training.strategy import scope

    config = TrainConfig(
        arch=arch,
        overrides=overrides,
        optimizer="sgd",
        learning_rate=0.05,
        epochs=str(EPOCHS),
        batch_size=BATCH_SIZE,
        sync_batch_norm="on",
        **settings,
    )
    steps = pipeline.steps_per_epoch(split, BATCH_SIZE)
    keras.utils.set_random_seed(config.seed)
    with scope(strategy):
        inference_model = create_model(arch, CLASSES, SIZE, **config.model_overrides())
    model = loop.prepare(inference_model, config, strategy, [1] * CLASSES, steps, None).model
    before = np.concatenate([np.ravel(v.numpy()) for v in model.variables])
    build = functools.partial(
        pipeline.build_training, split, CLASSES, SIZE, BATCH_SIZE, augment="basic", mix="both", epochs=EPOCHS
    )
    batches = multi_worker.distribute(strategy, build, BATCH_SIZE)
    model.fit(batches, epochs=1, steps_per_epoch=EPOCHS * steps, shuffle=False, verbose=0)
    averages = keras_internals.weight_averages(model.optimizer) if config.ema else []
    after = np.concatenate([np.ravel(v.numpy()) for v in [*model.variables, *averages]])
    moved = np.abs(after[: len(before)] - before).max()
    return [float(moved), *after.tolist()]


def main():
    """Trains with every strategy, each in its own processes, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="", help="only the cases in which this regular expression matches")
    parser.add_argument("--photos", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--strategy", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.strategy:
        from recycle_tf import cli

        cli.import_tensorflow()
        cpus = 2 if arguments.strategy == "mirrored" else 1
        found = weights_of(arguments.photos, arguments.strategy, cpus, arguments.cases)
        pathlib.Path(arguments.out).write_text(json.dumps(found), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        draw(folder / "photos")
        found = {name: run(name, folder, arguments.cases) for name in STRATEGIES}
    print(f"{'':32} {'moved':>9} " + " ".join(f"{title:>10}" for title in list(STRATEGIES.values())[1:]))
    for case, expected in found["one_device"].items():
        differences = [difference(expected, found[name][case]) for name in list(STRATEGIES)[1:]]
        print(f"{case:32} {expected[0]:9.1e} " + " ".join(f"{value:10.1e}" for value in differences))


def difference(a, b):
    """Largest difference of two weights; the first number of each list is how far they moved."""
    return max(abs(x - y) for x, y in zip(a[1:], b[1:], strict=True))


def draw(root):
    """Writes a folder of random images, with one color per class."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(CLASSES):
        (root / f"class{number}").mkdir(parents=True)
        for index in range(IMAGES // CLASSES * 2):
            pixels = rng.integers(0, 156, (SIZE, SIZE, 3)) + 100 * np.eye(CLASSES, dtype=int)[number]
            Image.fromarray(pixels.astype(np.uint8)).save(root / f"class{number}" / f"{index}.png")


def run(strategy, folder, cases):
    """Runs this file in one process, or two for `multi_worker`; returns the results of the first."""
    workers = 2 if strategy == "multi_worker" else 1
    ports = [free_port() for _ in range(workers)]
    processes = []
    for index in range(workers):
        environment = dict(os.environ)
        if workers > 1:
            cluster = {"worker": [f"localhost:{port}" for port in ports]}
            task = {"type": "worker", "index": index}
            environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
        out = folder / f"{strategy}{index}.json"
        command = [sys.executable, __file__, f"--photos={folder / 'photos'}", f"--strategy={strategy}"]
        processes.append(subprocess.Popen([*command, f"--cases={cases}", f"--out={out}"], env=environment))
    if any([process.wait() for process in processes]):
        sys.exit(f"{strategy}: failed, see above")
    return json.loads((folder / f"{strategy}0.json").read_text(encoding="utf-8"))


def free_port():
    """A port of this machine that nothing listens on."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    main()
