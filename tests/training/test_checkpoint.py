"""Checkpoints: everything that the next step depends on, also in the middle of an epoch."""

import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from recycle_tf.errors import UserError
from recycle_tf.training.checkpoint import Checkpoint, last_checkpoint, restore
from recycle_tf.training.progress import Progress
from recycle_tf.training.stopping import Interruption


def compiled(seed):
    """A small network with weights, statistics, dropout seeds, optimizer slots and metrics."""
    keras.utils.set_random_seed(seed)
    parts = [keras.layers.Dense(16), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input([8]), *parts, keras.layers.Dense(3)])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-2), loss, metrics=["accuracy"])
    return model


class PressCtrlC(keras.callbacks.Callback):
    """Sends SIGINT `times` after a number of steps."""

    def __init__(self, steps, times=1):
        super().__init__()
        self.steps = steps
        self.times = times

    def on_train_batch_end(self, batch, logs=None):
        self.steps -= 1
        for _ in range(0 if self.steps else self.times):
            signal.raise_signal(signal.SIGINT)


def fit(model, folder, progress, every, ctrl_c=None):
    """Three epochs of four steps."""
    rng = np.random.default_rng(0)
    examples = rng.normal(size=(96, 8)).astype(np.float32)
    dataset = tf.data.Dataset.from_tensor_slices((examples, np.eye(3, dtype=np.float32)[np.arange(96) % 3]))
    checkpoint = Checkpoint(folder, progress, every)
    interruption = Interruption(checkpoint)
    with interruption.listening():
        return model.fit(
            dataset.batch(8).skip(progress.steps),
            epochs=3,
            initial_epoch=progress.epoch,
            steps_per_epoch=4,
            shuffle=False,
            verbose=0,
            callbacks=[progress, *filter(None, [ctrl_c]), checkpoint, interruption],
        ).history


@pytest.fixture
def _terminal():
    """SIGINT as in a terminal; a process that a shell started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    model = compiled(1)
    return model, fit(model, tmp_path_factory.mktemp("whole"), Progress(4), "1h")


@pytest.mark.parametrize(
    ("every", "ctrl_c", "stopped_after", "name"),
    [
        ("1h", PressCtrlC(3), "epoch 1, step 3 of 4", "epoch0000_step000003"),
        ("1h", PressCtrlC(4), "epoch 1", "epoch0001"),
        ("1h", PressCtrlC(6), "epoch 2, step 2 of 4", "epoch0001_step000002"),
        ("1h", PressCtrlC(7, times=2), None, "epoch0001"),
        ("2steps", PressCtrlC(7, times=2), None, "epoch0001_step000002"),
        ("0s", PressCtrlC(7, times=2), None, "epoch0001_step000002"),
    ],
)
@pytest.mark.usefixtures("_terminal")
def test_resumes_within_an_epoch_with_its_metrics(
    uninterrupted, tmp_path, every, ctrl_c, stopped_after, name
):
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(compiled(1), tmp_path, Progress(4), every, ctrl_c)
    # A second Ctrl-C interrupts at once, without a message or a further checkpoint.
    assert [text.split(";")[0] for text in caught.value.args] == (
        [f"stopped after {stopped_after}"] if stopped_after else []
    )
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.npz"]
    model = compiled(99)
    found = fit(model, tmp_path, restore(model, tmp_path, 4), "1h")
    expected, history = uninterrupted
    assert len(found["loss"]) == 3 - int(name[5:9])
    for key, values in found.items():
        np.testing.assert_allclose(values, history[key][-len(values) :], rtol=1e-5)
    for a, b in zip(expected.variables, model.variables, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5, err_msg=a.path)


def written(folder, progress, model=None):
    """A `Checkpoint` that has just written its file."""
    checkpoint = Checkpoint(folder, progress, "1h")
    checkpoint.set_model(model or compiled(1))
    checkpoint.write()
    return checkpoint


def test_without_a_checkpoint_training_starts_at_the_beginning(tmp_path):
    for folder in (None, tmp_path / "none", tmp_path):
        assert last_checkpoint(folder) == (0, 0, None)
        assert restore(compiled(1), folder, 2).steps == 0


def test_the_name_says_epoch_and_step(tmp_path):
    written(tmp_path, Progress(4, epoch=12, step=3))
    assert last_checkpoint(tmp_path) == (12, 3, tmp_path / "epoch0012_step000003.npz")


def test_a_checkpoint_with_other_variables_is_rejected(tmp_path):
    written(tmp_path, Progress(4, epoch=1))
    with np.load(tmp_path / "epoch0001.npz") as values:
        more = {**values, "model99999": np.zeros(3)}
    np.savez(tmp_path / "epoch0001.npz", **more)
    with pytest.raises(UserError, match=str(tmp_path / "epoch0001.npz")):
        restore(compiled(1), tmp_path, 4)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / "epoch0001.npz").write_bytes(content)
    with pytest.raises(UserError, match=str(tmp_path / "epoch0001.npz")):
        restore(compiled(1), tmp_path, 4)


@pytest.mark.parametrize("place", ["flags", "compression"])
def test_a_checkpoint_that_zipfile_cannot_read(tmp_path, place):
    """An encrypted archive is a `RuntimeError`, an unknown compression a `NotImplementedError`."""
    written(tmp_path, Progress(4, epoch=1))
    path = tmp_path / "epoch0001.npz"
    content = bytearray(path.read_bytes())
    at = {"flags": 6, "compression": 8}[place]
    content[at] = content[content.index(b"PK\x01\x02") + at + 2] = 99
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}.*remove it"):
        restore(compiled(1), tmp_path, 4)


def test_weights_that_are_not_finite_do_not_replace_a_checkpoint(tmp_path):
    model = compiled(1)
    checkpoint = written(tmp_path, Progress(4, epoch=1), model)
    model.trainable_variables[3].assign(keras.ops.full_like(model.trainable_variables[3], np.nan))
    checkpoint.progress.epoch = 2
    with pytest.raises(UserError, match=r"epoch 2.*0\.01.*`learning_rate`"):
        checkpoint.write()
    assert [path.name for path in tmp_path.iterdir()] == ["epoch0001.npz"]
