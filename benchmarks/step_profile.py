"""Where a training step on a CPU spends its time: the share of each kind of operation.

    python benchmarks/step_profile.py --arch=efficientnet_lite0
    python benchmarks/step_profile.py --arch=efficientnet_lite0 --keras_norms

TensorFlow's profiler records four steps. The time of an operation is that on the thread that runs it, without
other operations inside; several run at once, so that shares are shares of work, not of the step's duration.
"""

import argparse
import collections
import os
import pathlib
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

STEPS = 4


def profile(arch, image_size, batch_size, fused, folder):
    """Trains some steps, and records four of them in `folder`."""
    from recycle_tf import cli

    tf = cli.import_tensorflow()
    import keras
    import numpy as np

    from recycle_tf import create_model
    from recycle_tf.data.parallel import without_autotune
    from recycle_tf.training.batch_norm import fuse_batch_norm

    keras.utils.set_random_seed(0)
    model = create_model(arch, 6, image_size)
    if fused:
        fuse_batch_norm(model)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss, jit_compile=False)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (batch_size, image_size, image_size, 3)).astype("float32")
    labels = np.eye(6, dtype="float32")[rng.integers(0, 6, batch_size)]
    data = without_autotune(tf.data.Dataset.from_tensors((images, labels)).repeat())
    model.fit(data, steps_per_epoch=3, verbose=0)
    tf.profiler.experimental.start(folder)
    model.fit(data, steps_per_epoch=STEPS, verbose=0)
    tf.profiler.experimental.stop()


def operations(folder):
    """`(picoseconds by kind of operation, number by kind)` of what was recorded in a folder."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
    recorded = xplane_pb2.XSpace()
    recorded.ParseFromString(path.read_bytes())
    times, numbers = collections.Counter(), collections.Counter()
    for plane in recorded.planes:
        names = {number: metadata.name for number, metadata in plane.event_metadata.items()}
        for line in plane.lines:
            running = []
            events = sorted(line.events, key=lambda event: (event.offset_ps, -event.duration_ps))
            for event in events:
                kind = names[event.metadata_id].rpartition(":")[2]
                while running and running[-1][0] <= event.offset_ps:
                    running.pop()
                if running:
                    times[running[-1][1]] -= event.duration_ps
                times[kind] += event.duration_ps
                numbers[kind] += 1
                running.append((event.offset_ps + event.duration_ps, kind))
    return times, numbers


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="efficientnet_lite0")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--keras_norms", action="store_true", help="batch normalization as Keras composes it")
    flags = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        profile(flags.arch, flags.image_size, flags.batch, not flags.keras_norms, folder)
        times, numbers = operations(folder)
    # What waits for others, not operations.
    for waiting in ("Run", "TFE_DeleteTensorHandle"):
        times.pop(waiting, None)
    print("| operation | ms per step | calls | share |\n| --- | --- | --- | --- |")
    for kind, time in times.most_common(14):
        milliseconds, calls = time / 1e9 / STEPS, numbers[kind] / STEPS
        print(f"| {kind} | {milliseconds:.0f} | {calls:.0f} | {100 * time / times.total():.0f} % |")


if __name__ == "__main__":
    main()
