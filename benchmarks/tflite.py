"""Compares our `.tflite` files with those that Keras and TensorFlow make from the same architectures.

    python benchmarks/tflite.py

Theirs are the networks of keras.applications, converted by `TFLiteConverter` with default settings and by
`model.export(format="litert")`. Our files take uint8 pixels and normalize them; theirs leave this to the app,
except for EfficientNet. Weights are random, with norms as after training. Every file runs in a separate
process with one thread. The processes take turns, and a ratio is the median over neighboring turns.
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
    # The files of a group are compared with the first one.
    ("converter ResNet50", "litert ResNet50", "float32 resnet50", "float32 resnet50_v1"),
    ("converter VGG16", "litert VGG16", "float32 vgg16"),
    ("converter EfficientNetB0", "litert EfficientNetB0", "float32 efficientnet_b0"),
    ("converter DenseNet121", "litert DenseNet121", "float32 densenet121"),
    ("float32 resnet50", "int8 resnet50"),
    ("float32 efficientnet_lite0", "int8 efficientnet_lite0"),
]
CALLS = 3
REPRESENTATIVE_IMAGES = 8


def build(name, image_size, folder):
    """Writes `folder/NAME.tflite` for a name in `GROUPS`."""
    from recycle_tf import cli

    tf = cli.import_tensorflow()
    import keras
    import numpy as np

    path = file_of(folder, name)
    source, network = name.split()
    keras.utils.set_random_seed(0)
    model = create(source, network, image_size)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.moving_mean.shape[0]
            scales = [rng.uniform(0.5, 1.5, size) for _ in range(2)]
            shifts = [rng.normal(0, 0.1, size) for _ in range(2)]
            layer.set_weights([np.float32(one) for one in (scales[0], *shifts, scales[1])])
    if source == "litert":
        model.export(path, format="litert", verbose=False)
    elif source == "converter":
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    else:
        shape = (REPRESENTATIVE_IMAGES, image_size, image_size, 3)
        export_ours(model, f"tflite_{source}", folder, rng.integers(0, 256, shape).astype(np.uint8)).rename(
            path
        )


def create(source, network, image_size):
    """The network of keras.applications or ours."""
    if source in ("converter", "litert"):
        import keras

        shape = (image_size, image_size, 3)
        return getattr(keras.applications, network)(weights=None, input_shape=shape)
    from recycle_tf import create_model

    return create_model(network, 1000, image_size)


def export_ours(model, format_name, folder, representative_images):
    """Exports a model; returns the path."""
    from export.formats import FORMATS

    spec = dict.fromkeys(("arch", "run", "input", "output", "resize"), "benchmark")
    spec |= {"labels": [str(number) for number in range(1000)], "batch": 1}
    spec["image_size"] = model.input_shape[1]
    target = FORMATS[format_name]
    needed = "representative_images"
    inputs = {needed: representative_images} if needed in target.needs else {}
    return target.load_module().export(spec, model, format_name, folder, **inputs).path


def file_of(folder, name):
    """The path of a file of `GROUPS`."""
    return pathlib.Path(folder) / f"{name}.tflite"


def serve(path):
    """For every line on standard input, prints seconds per image: wall-clock time and processor time."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    image = interpreter.get_input_details()[0]
    pixels = np.random.default_rng(0).integers(0, 256, image["shape"]).astype(image["dtype"])
    interpreter.set_tensor(image["index"], pixels)
    for _ in sys.stdin:
        # The first call is not timed: the caches still hold the other networks.
        interpreter.invoke()
        taken = []
        for _ in range(CALLS):
            clock, processor = time.perf_counter(), time.thread_time()
            interpreter.invoke()
            taken.append((time.perf_counter() - clock, time.thread_time() - processor))
        print(json.dumps([statistics.median(one) for one in zip(*taken, strict=True)]), flush=True)


def race(paths, turns):
    """Times files in turn, back and forth.

    Returns:
        For each file a list with one pair per turn: seconds, and seconds of the processor.
    """
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


def compare(groups, folder, image_size, turns):
    """Builds the files that are missing in a folder, times them, and prints a row for each."""
    root = pathlib.Path(__file__).resolve().parents[1]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(root)}
    print(f"{image_size} px, batch of one, 1 thread, medians of {turns} turns\n")
    print("| file | MB | ms | ratio | ms of the processor | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    names = [name for name in dict.fromkeys(sum(groups, ())) if not file_of(folder, name).is_file()]
    for name in tqdm(names, "converting", disable=None):
        command = [sys.executable, __file__, f"--image_size={image_size}", "--build", name, folder]
        subprocess.run(command, check=True, capture_output=True, env=environment)
    for group in groups:
        paths = [file_of(folder, name) for name in group]
        taken = race(paths, turns)
        for name, path, own in zip(group, paths, taken, strict=True):
            cells = []
            for times, first in zip(zip(*own, strict=True), zip(*taken[0], strict=True), strict=True):
                ratio = statistics.median(a / b for a, b in zip(times, first, strict=True))
                cells.append(f"{1000 * statistics.median(times):.1f} | {ratio:.3f}")
            print(f"| {name} | {path.stat().st_size / 1e6:.1f} | {' | '.join(cells)} |", flush=True)


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--only", default="", help="only the groups with this word in a name")
    parser.add_argument(
        "--files", help="folder where files are saved, and files of an earlier run are reused"
    )
    parser.add_argument("--build", nargs=2, metavar=("NAME", "FOLDER"), help="only write this file")
    parser.add_argument("--serve", help="only run this file, one turn per line on standard input")
    flags = parser.parse_args()
    if flags.build:
        build(flags.build[0], flags.image_size, pathlib.Path(flags.build[1]))
    elif flags.serve:
        serve(flags.serve)
    else:
        groups = [group for group in GROUPS if flags.only in " ".join(group)]
        with tempfile.TemporaryDirectory() as temporary:
            compare(groups, flags.files or temporary, flags.image_size, flags.turns)


if __name__ == "__main__":
    main()
