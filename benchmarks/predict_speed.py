"""How fast `predict` is, beside the evaluation pipeline of the same network on the same files.

    python benchmarks/predict_speed.py --run=RUN --images=FOLDER

FOLDER has one subfolder of images per class. Both read and decode every file and run the network; they take
turns, and the median counts. CPU time depends less on other load. Evaluation: `pipeline.build_evaluation` and
Keras' `predict`, as at the end of a training run. The last line shows whether the memory of the process grows
with the number of files.
"""

import argparse
import itertools
import pathlib
import statistics
import time

import psutil

from recycle_tf import cli

TURNS = 3


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--files", type=int, default=10_000, help="for the memory; 0 to skip")
    flags = parser.parse_args()
    cli.import_tensorflow()
    import recycle_tf
    from recycle_tf import runs
    from recycle_tf.data import sources
    from recycle_tf.evaluation import temperature

    run = runs.open_run(flags.run)
    split = sources.open_unsplit(flags.images).splits["all"]
    models = {"run": run.path, **{path.name: path for path in sorted(run.export.glob("*")) if is_model(path)}}
    predictors = {name: recycle_tf.load(path) for name, path in models.items()}
    paths = sorted(pathlib.Path(flags.images).rglob("*.jpg"))
    model = temperature.load_calibrated_model(run)
    ways = {"evaluation": lambda: evaluate(run, model, split)}
    ways |= {name: lambda clf=clf: drain(clf.stream(paths, iter)) for name, clf in predictors.items()}
    wall, cpu = ({name: [] for name in ways} for _ in range(2))
    for turn in range(TURNS + 1):
        for name, function in ways.items():
            start = time.perf_counter(), time.process_time()
            function()
            if turn:  # The first one compiles.
                wall[name].append(time.perf_counter() - start[0])
                cpu[name].append(time.process_time() - start[1])
    print("| | images/s | per second of CPU time | relative to evaluation |\n| --- | --- | --- | --- |")
    by_wall, by_cpu = (
        {name: len(paths) / statistics.median(times) for name, times in of.items()} for of in (wall, cpu)
    )
    for name in ways:
        relative = (of[name] / of["evaluation"] for of in (by_wall, by_cpu))
        ratios = " and ".join(f"{ratio:.2f}" for ratio in relative)
        print(f"| {name} | {by_wall[name]:.0f} | {by_cpu[name]:.0f} | {ratios} |", flush=True)
    if flags.files:
        print_memory(predictors["run"], paths, flags.files)


def is_model(path):
    """Whether a file of an export folder can be opened."""
    return path.suffix in (".tflite", ".onnx") or (path / "saved_model.pb").is_file()


def evaluate(run, model, split):
    """Predicts a split as an evaluation does, from its files."""
    from recycle_tf.data import pipeline
    from recycle_tf.evaluation import metrics

    settings = (model.input_shape[1], run.config["batch_size"], run.config["resize"])
    metrics.predict_probabilities(model, pipeline.build_evaluation(split, len(run.labels), *settings))


def drain(answers):
    """Takes all answers and keeps none."""
    for _ in answers:
        pass


def print_memory(predictor, paths, files):
    """Prints resident memory after a tenth of the files and after all of them."""
    process, many = psutil.Process(), itertools.islice(itertools.cycle(paths), files)
    used = []
    for number, _ in enumerate(predictor.stream(list(many), iter), 1):
        if number in (files // 10, files):
            used.append(process.memory_info().rss / 1e6)
    print(f"\nmemory: {used[0]:.0f} MB after {files // 10:,} files, {used[1]:.0f} MB after {files:,}")


if __name__ == "__main__":
    main()
