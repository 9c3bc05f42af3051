"""What TensorBoard shows, read from the event files and from a running TensorBoard."""

import itertools
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recycle_tf import create_model, runs
from recycle_tf.config import TrainConfig
from recycle_tf.training import loop
from recycle_tf.training.tensorboard import ConfusionMatrix, TrainingSummaries

STAGES = ["stem", "stage1", "stage2", "stage3", "stage4", "logits"]


def read(folder):
    """An `EventAccumulator` of a folder, with all its events."""
    events = EventAccumulator(str(folder), {"tensors": 0})
    events.Reload()
    return events


def steps(events, tag):
    return [event.step for event in events.Tensors(tag)]


def test_event_files(finished_run):
    events = read(finished_run / "tensorboard")
    for tag in ("recall/can", "recall/jar", "recall/tube", *(f"gradient_norm/{stage}" for stage in STAGES)):
        assert steps(events, tag) == list(range(6)), tag
    for kind, stage in itertools.product(("weights", "gradients"), STAGES):
        assert steps(events, f"{kind}/{stage}") == list(range(6))
    assert steps(events, "confusion") == list(range(6))
    assert steps(events, "augmented") == [0]
    assert steps(events, "test/confusion_matrix") == steps(events, "test/worst_mistakes") == [5]
    width, height, *images = events.Tensors("augmented")[0].tensor_proto.string_val
    assert (width, height, len(images)) == (b"32", b"32", 8)
    nodes = " ".join(node.name for node in events.Graph().node)
    for layer in ("stem_conv", "stage4_block1_conv3", "logits"):
        assert f"/{layer}" in nodes

    metrics = json.loads((finished_run / "report" / "metrics.json").read_text())
    written = tf.make_ndarray(events.Tensors("test/accuracy")[0].tensor_proto)
    assert written == pytest.approx(metrics["accuracy"])


def test_scalars_of_keras(finished_run):
    training, validation = (read(finished_run / "tensorboard" / name) for name in ("train", "validation"))
    for tag in ("epoch_loss", "epoch_accuracy", "epoch_learning_rate", "epoch_images_per_second"):
        assert steps(training, tag) == list(range(6)), tag
    assert steps(validation, "epoch_accuracy") == list(range(6))


def test_recall_is_that_of_the_validation_split(finished_run):
    """All classes have equally many validation images, so that the mean recall is the accuracy."""
    events = read(finished_run / "tensorboard")
    labels = (finished_run / "labels.txt").read_text().split()
    recalls = [
        [tf.make_ndarray(e.tensor_proto) for e in events.Tensors(f"recall/{label}")] for label in labels
    ]
    accuracies = [row["val_accuracy"] for row in runs.Run(finished_run).history_rows()]
    np.testing.assert_allclose(np.mean(recalls, axis=0), accuracies, atol=1e-6)


@pytest.fixture(scope="module")
def board(finished_run):
    """`board(route, **query)`: the answer of a TensorBoard that shows the run."""
    # From Python, because the command does not report the port that it has chosen.
    code = (
        "from tensorboard import program\n"
        "import sys, time\n"
        "board = program.TensorBoard()\n"
        "board.configure(logdir=sys.argv[1], port=0, host='localhost', reload_interval=1)\n"
        "print(board.launch(), flush=True)\n"
        "time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, finished_run],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    address = process.stdout.readline().strip()

    def ask(route, **query):
        url = f"{address}data/{route}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read()

    deadline = time.time() + 60
    while len(json.loads(ask("runs"))) < 3:
        assert time.time() < deadline
        time.sleep(0.2)
    time.sleep(2)  # A run is listed before all of it is read.
    yield ask
    process.kill()
    process.communicate()


def test_tensorboard_serves_scalars(board):
    tags = json.loads(board("plugin/scalars/tags"))
    assert {"epoch_loss", "epoch_accuracy", "epoch_learning_rate", "epoch_images_per_second"} <= set(
        tags["tensorboard/train"]
    )
    assert {"epoch_loss", "epoch_accuracy"} <= set(tags["tensorboard/validation"])
    assert {"recall/can", "gradient_norm/stage1", "test/accuracy"} <= set(tags["tensorboard"])
    points = json.loads(board("plugin/scalars/scalars", run="tensorboard", tag="recall/jar"))
    assert [step for _, step, _ in points] == list(range(6))


@pytest.mark.parametrize("tag", ["augmented", "confusion", "test/confusion_matrix", "test/worst_mistakes"])
def test_tensorboard_serves_images(board, tag):
    assert tag in json.loads(board("plugin/images/tags"))["tensorboard"]
    shown = json.loads(board("plugin/images/images", run="tensorboard", tag=tag, sample=0))
    query = urllib.parse.parse_qs(shown[-1]["query"])
    image = board("plugin/images/individualImage", **{key: value[0] for key, value in query.items()})
    assert image.startswith(b"\x89PNG")


def test_tensorboard_serves_histograms(board):
    tags = json.loads(board("plugin/histograms/tags"))["tensorboard"]
    assert {f"{kind}/{stage}" for kind in ("weights", "gradients") for stage in STAGES} <= set(tags)
    shown = json.loads(board("plugin/histograms/histograms", run="tensorboard", tag="weights/stage2"))
    assert len(shown) == 6


def test_tensorboard_serves_the_graph(board):
    info = json.loads(board("plugin/graphs/info"))
    assert info["tensorboard"]["run_graph"]
    assert b"stage4_block1_conv3" in board("plugin/graphs/graph", run="tensorboard")


def test_tensorboard_serves_settings_with_the_metrics(board, finished_run):
    experiment = json.loads(board("plugin/hparams/experiment", request="{}"))
    assert {"arch", "learning_rate"} <= {info["name"] for info in experiment["hparamInfos"]}
    assert "test/accuracy" in {info["name"]["tag"] for info in experiment["metricInfos"]}
    request = {
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "sliceSize": 10,
    }
    answer = json.loads(board("plugin/hparams/session_groups", request=json.dumps(request)))
    (group,) = answer["sessionGroups"]
    assert group["hparams"]["arch"] == "test_resnet"
    values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
    metrics = json.loads((finished_run / "report" / "metrics.json").read_text())
    assert values["test/accuracy"] == pytest.approx(metrics["accuracy"])


def test_the_confusion_matrix_counts_the_first_classifier():
    labels = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    logits = np.eye(3, dtype=np.float32)[[0, 1, 1, 0]]
    expected = [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    for outputs in (logits, np.stack([logits, logits[::-1]], axis=1)):
        confusion = ConfusionMatrix(3)
        confusion.update_state(labels[:3], outputs[:3])
        confusion.update_state(labels[3:], outputs[3:])
        assert keras.ops.convert_to_numpy(confusion.counts).tolist() == expected
        assert confusion.result() == {}


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (6, 64, 64, 3)).astype(np.float32)
    return tf.constant(images), tf.one_hot(np.arange(6) % 3, 3)


@pytest.mark.parametrize(
    ("arch", "remat"), [("test_resnet", False), ("test_resnet", True), ("test_googlenet", False)]
)
def test_gradients_are_those_of_a_training_step_and_leave_the_model_unchanged(tmp_path, sample, arch, remat):
    keras.utils.set_random_seed(0)
    inference_model = create_model(arch, 3, 64)
    config = TrainConfig(remat=remat, epochs="40")
    training = loop.prepare(inference_model, config, tf.distribute.get_strategy(), np.ones(3), 1, None)
    model, run = training.model, runs.Run(tmp_path)
    plot = np.zeros((2, 2, 4), np.uint8)
    summaries = TrainingSummaries(run, ["can", "jar", "tube"], training, sample, lambda *_: plot)
    summaries.set_model(model)
    before = [variable.numpy() for variable in model.variables]
    summaries.on_train_begin()
    model.test_on_batch(*sample)
    summaries.on_test_end()
    for epoch in (0, 1, 4, 39):
        summaries.on_epoch_end(epoch)
    summaries.on_train_end()
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)

    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.loss(sample[1], model(sample[0], training=True)))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    events = read(run.tensorboard)
    for stage in ("stem", "logits"):
        expected = [
            gradient
            for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
            if variable.path.startswith(stage)
        ]
        written = tf.make_ndarray(events.Tensors(f"gradient_norm/{stage}")[0].tensor_proto)
        assert written == pytest.approx(float(tf.linalg.global_norm(expected)), rel=1e-4)
    assert steps(events, "gradient_norm/stem") == [0, 1, 4, 39]
    assert steps(events, "confusion") == steps(events, "weights/stem") == [0, 4, 39]
