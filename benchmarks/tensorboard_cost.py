"""Measures the cost of TensorBoard summaries and of a step: half-width ResNet-18, 128 px, batch 32.

python benchmarks/tensorboard_cost.py
"""

import pathlib
import statistics
import tempfile
import time

from recycle_tf import cli

EPOCHS = 150


def main():
    """Prints seconds, medians of alternating measurements."""
    cli.import_tensorflow()
    import numpy as np
    import tensorflow as tf

    from recycle_tf import create_model, runs
    from recycle_tf.config import TrainConfig
    from recycle_tf.evaluation import plots
    from recycle_tf.training import loop, tensorboard

    inference_model = create_model("resnet18", 6, 128, filters=32)
    config = TrainConfig(epochs=str(EPOCHS))
    training = loop.prepare(inference_model, config, tf.distribute.get_strategy(), np.ones(6), 55, None)
    model = training.model
    images = np.random.default_rng(0).uniform(0, 255, (32, 128, 128, 3)).astype(np.float32)
    sample = images, np.eye(6, dtype=np.float32)[np.arange(32) % 6]
    with tempfile.TemporaryDirectory() as folder:
        run = runs.Run(pathlib.Path(folder))
        draw_confusion = plots.confusion_pixels
        summaries = tensorboard.TrainingSummaries(run, list("abcdef"), training, sample, draw_confusion)
        summaries.set_model(model)
        summaries.on_train_begin()
        measured = {
            "training step": lambda: model.train_on_batch(*sample),
            "epoch": lambda: summaries.on_epoch_end(1),
            "every 15th epoch": lambda: summaries.on_epoch_end(0),
        }
        times = {name: [] for name in measured}
        for repetition in range(-2, 8):
            for name, function in measured.items():
                start = time.perf_counter()
                function()
                if name == "training step" and repetition == -2:
                    summaries.on_test_end()
                if repetition >= 0:
                    times[name].append(time.perf_counter() - start)
    print(", ".join(f"{name} {statistics.median(values):.2f} s" for name, values in times.items()))


if __name__ == "__main__":
    main()
