"""Our `.tflite` files beside those that Keras and TensorFlow make of the same networks.

    python benchmarks/tflite.py

Theirs are keras.applications' networks through `TFLiteConverter` with its default settings and through
`model.export(format="litert")`; ours take uint8 pixels and normalise them, which theirs leave to the app but
for EfficientNet. Weights are random, norms as if they had been trained. Every file has a process of its own
and one thread; they run in turn, and a ratio is the median over neighbouring turns.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from tqdm import tqdm

GROUPS = [
    # The files of a group are compared with its first.
    ("converter ResNet50", "litert ResNet50", "float32 resnet50", "float32 resnet50_v1"),
    ("converter VGG16", "litert VGG16", "float32 vgg16"),
    ("converter EfficientNetB0", "litert EfficientNetB0", "float32 efficientnet_b0"),
    ("converter DenseNet121", "litert DenseNet121", "float32 densenet121"),
    ("float32 resnet50", "int8 resnet50"),
    ("float32 efficientnet_lite0", "int8 efficientnet_lite0"),
]
CALLS = 3
CALIBRATION_PICTURES = 8


def build(name, image_size, directory):
    """Writes `directory/NAME.tflite`, of a network of `GROUPS`."""
    from recycle_tf import cli

    tf = cli.import_tensorflow()
    import keras
    import numpy as np

    from export import tflite
    from recycle_tf import create_model

    path = _path(directory, name)
    how, network = name.split()
    keras.utils.set_random_seed(0)
    if how in ("converter", "litert"):
        model = getattr(keras.applications, network)(weights=None, input_shape=(image_size, image_size, 3))
    else:
        model = create_model(network, 1000, image_size)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.moving_mean.shape[0]
            spread = [rng.uniform(0.5, 1.5, size) for _ in range(2)]
            shifts = [rng.normal(0, 0.1, size) for _ in range(2)]
            layer.set_weights([np.float32(one) for one in (spread[0], *shifts, spread[1])])
    if how == "litert":
        model.export(path, format="litert", verbose=False)
    elif how == "converter":
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    else:
        spec = dict.fromkeys(("arch", "run", "input", "output", "resize"), "benchmark")
        spec |= {"labels": [str(number) for number in range(1000)], "image_size": image_size, "batch": 1}
        shape = (CALIBRATION_PICTURES, image_size, image_size, 3)
        pictures = rng.integers(0, 256, shape).astype(np.uint8) if how == "int8" else None
        tflite.export(spec, model, f"tflite_{how}", directory, pictures).path.rename(path)


def _path(folder, name):
    return pathlib.Path(folder) / f"{name}.tflite"


def serve(path):
    """For every line on standard input, prints seconds a picture: on the clock, and of the processor."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    image = interpreter.get_input_details()[0]
    pixels = np.random.default_rng(0).integers(0, 256, image["shape"]).astype(image["dtype"])
    interpreter.set_tensor(image["index"], pixels)
    for _ in sys.stdin:
        # The caches still hold the other networks.
        interpreter.invoke()
        taken = []
        for _ in range(CALLS):
            clock, processor = time.perf_counter(), time.thread_time()
            interpreter.invoke()
            taken.append((time.perf_counter() - clock, time.thread_time() - processor))
        print(json.dumps([statistics.median(one) for one in zip(*taken, strict=True)]), flush=True)


def race(paths, turns):
    """`[[(seconds, seconds of the processor) a turn] a file]`, the files in turn, back and forth."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, f"--serve={path}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for path in paths
    ]
    taken = [[] for _ in paths]
    for turn in range(-1, turns):
        for number in range(len(paths))[:: 1 if turn % 2 else -1]:
            processes[number].stdin.write("\n")
            processes[number].stdin.flush()
            seconds = json.loads(processes[number].stdout.readline())
            if turn >= 0:
                taken[number].append(seconds)
    for process in processes:
        process.stdin.close()
        process.wait()
    return taken


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--only", default="", help="only the groups with this word in a name")
    parser.add_argument("--files", help="folder where files are kept, and those of an earlier run are found")
    parser.add_argument("--build", nargs=2, metavar=("NAME", "FOLDER"), help="only write this file")
    parser.add_argument("--serve", help="only run this file, a turn for each line on standard input")
    flags = parser.parse_args()
    if flags.build:
        build(flags.build[0], flags.image_size, pathlib.Path(flags.build[1]))
        return
    if flags.serve:
        serve(flags.serve)
        return

    groups = [group for group in GROUPS if flags.only in " ".join(group)]
    root = pathlib.Path(__file__).resolve().parents[1]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(root)}
    print(f"{flags.image_size} px, a batch of one, 1 thread, medians of {flags.turns} turns\n")
    print("| file | MB | ms | ratio | ms of the processor | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.files or temporary
        names = [name for name in dict.fromkeys(sum(groups, ())) if not _path(folder, name).is_file()]
        for name in tqdm(names, "converting", disable=None):
            command = [sys.executable, __file__, f"--image_size={flags.image_size}", "--build", name, folder]
            subprocess.run(command, check=True, capture_output=True, env=environment)
        for group in groups:
            paths = [_path(folder, name) for name in group]
            taken = race(paths, flags.turns)
            for name, path, own in zip(group, paths, taken, strict=True):
                cells = []
                for times, first in zip(zip(*own, strict=True), zip(*taken[0], strict=True), strict=True):
                    ratio = statistics.median(a / b for a, b in zip(times, first, strict=True))
                    cells.append(f"{1000 * statistics.median(times):.1f} | {ratio:.3f}")
                print(f"| {name} | {path.stat().st_size / 1e6:.1f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
