"""Damaged files of a run: their content, or one line that names the file."""

import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recycle_tf import create_model, runs
from recycle_tf.__main__ import main
from recycle_tf.config import TrainConfig, resolve
from recycle_tf.errors import UserError
from recycle_tf.evaluation import temperature
from tests.crash.server import content
from tests.fuzz.mutations import answer_or_user_error, damaged, damaged_json, examples, run_command

HISTORY = "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,1.0,0.5,0.9\n1,0.6,0.8,0.7,0.6\n"
CALIBRATION = {"temperature": 1.3, "threshold": 0.7, "calibration": {"split": "validation"}}


@pytest.fixture(scope="module")
def record():
    config = {name: field.default for name, field in TrainConfig.__dataclass_fields__.items()}
    return {
        "config": {**config, "arch": "test_resnet", "dataset": "photos"},
        "labels": ["can", "jar", "tube"],
        "fingerprint": "0123456789abcdef",
        "versions": {"keras": "3.15.1"},
    }


@pytest.fixture
def run(record, tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(record))
    (path / "history.csv").write_text(HISTORY)
    (path / "calibration.json").write_text(json.dumps(CALIBRATION))
    return runs.Run(path)


def write(path, text):
    path.write_text(text, encoding="utf-8", errors="surrogatepass")


def test_a_damaged_record(run, record):
    """What is read from it has the types that everything else relies on."""

    @examples(80)
    @given(text=damaged_json(record))
    def check(text):
        write(run.config_file, text)
        for found in (
            answer_or_user_error(lambda name=name: getattr(run, name)) for name in ("config", "labels")
        ):
            assert not isinstance(found, UserError) or "config.json" in str(found)
        labels = answer_or_user_error(lambda: run.labels)
        if not isinstance(labels, UserError):
            assert all(isinstance(label, str) and label.isprintable() for label in labels)
        fingerprint = answer_or_user_error(lambda: run.fingerprint)
        assert isinstance(fingerprint, str | UserError)
        assert isinstance(answer_or_user_error(lambda: run.changed_versions), list | UserError)

    check()


def test_settings_of_a_damaged_record_are_repeated_or_one_line(run, record):
    @examples(60)
    @given(text=damaged_json(record))
    def check(text):
        write(run.config_file, text)
        answer_or_user_error(lambda: resolve({}, earlier=runs.settings_to_repeat(run.path)))

    check()


def test_a_damaged_calibration(run):
    @examples(60)
    @given(text=damaged_json(CALIBRATION))
    def check(text):
        write(run.calibration_file, text)
        found = answer_or_user_error(lambda: run.calibration)
        if isinstance(found, UserError):
            assert "calibration.json" in str(found)
        else:
            assert 0 < found["temperature"] < float("inf")
            assert 0 <= found["threshold"] < float("inf")
            assert not isinstance(found["temperature"], str | bool)

    check()


def test_a_damaged_history(run):
    @examples(60)
    @given(damage=damaged(HISTORY.encode()), epoch=st.integers(0, 2))
    def check(damage, epoch):
        run.history.write_bytes(damage)
        found = answer_or_user_error(run.history_rows)
        if isinstance(found, UserError):
            assert "history.csv" in str(found)
        assert answer_or_user_error(run.truncate_history, epoch) is None or isinstance(found, UserError)

    check()


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_a_command_on_a_damaged_run_is_one_line_and_changes_nothing(run, record, tmp_path, command):
    import export.__main__

    call = {
        "evaluate": (main, "evaluate", f"--run={run.path}"),
        "predict": (main, "predict", f"--model={run.path}", tmp_path),
        "export": (export.__main__.main, f"--run={run.path}"),
    }[command]
    (tmp_path / "image.png").write_bytes(b"")

    @examples(6)
    @given(text=damaged_json(record))
    def check(text):
        write(run.config_file, text)
        before = content(tmp_path)
        # No model is there, and no data.
        assert run_command(*call)[0] == 2
        assert content(tmp_path) == before

    check()


def test_a_damaged_model(run, tmp_path):
    model = create_model("test_resnet", 3, 32, filters=4)
    model.save(tmp_path / "whole.keras")
    whole = (tmp_path / "whole.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "whole.keras") as file:
        structure = json.loads(file.read("config.json"))
        members = {name: file.read(name) for name in file.namelist()}

    def restructured(text):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for name, content in members.items():
                file.writestr(name, text if name == "config.json" else content)
        return buffer.getvalue()

    texts = damaged_json(structure).map(lambda text: text.encode("utf-8", "surrogatepass"))

    @examples(6)
    @given(content=damaged(whole) | texts.map(restructured))
    def check(content):
        run.model_file.write_bytes(content)
        found = answer_or_user_error(temperature.load_calibrated_model, run)
        assert not isinstance(found, UserError) or str(run.model_file) in str(found)

    check()
