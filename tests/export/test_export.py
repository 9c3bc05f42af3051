"""`python -m export`, and what its gates let through."""

import hashlib
import json
import re
import shutil
import types

import numpy as np
import pytest
from PIL import Image

from export.__main__ import FORMATS
from export.__main__ import _formats as formats_of
from recycle_tf import create_model, list_models
from tests.conftest import run_python, tiny_training
from tests.export.conftest import FILES, run_export
from tests.test_train import check_refused


def record(exported):
    return {row["format"]: row for row in json.loads((exported[0] / "export.json").read_text())}


def test_every_format_is_there_and_verified(exported):
    directory, output = exported
    rows = record(exported)
    assert set(rows) == {"saved_model", *FILES}
    for name, row in rows.items():
        assert row["verification"]["failure"] is None
        assert (directory / row["path"]).exists()
        assert f"{name:16} verified" in output
    assert rows["tflite_float32"]["verification"]["max_gap"] < 1e-4
    assert rows["tflite_int8"]["bytes"] < rows["tflite_float32"]["bytes"]
    assert not [path for path in directory.iterdir() if path.name.startswith(".partial")]


def test_what_is_recorded_of_each(exported):
    rows = record(exported)
    for name, row in rows.items():
        verification = row["verification"]
        assert set(verification["recall_change"]) == {"can", "jar", "tube"}
        assert verification["examples"] == 9
        kept = list((exported[0] / "flips" / name).glob("*"))
        assert len(kept) == verification["flips"]
        assert re.search(rf"(?m)^{name} .* {verification['accuracy']:.4f} ", exported[1])
    for name in FILES:
        assert rows[name]["operations"]["CONV_2D"] > 1
        assert 0 < rows[name]["latency_ms"]["threads_1"] < 1000
        assert 0 < rows[name]["latency_ms"]["threads_2"] < 1000
        assert rows[name]["bytes"] / 2 < rows[name]["peak_memory"] < 100e6
        assert "processors" in rows[name]["machine"]
    assert "QUANTIZE" in rows["tflite_int8"]["operations"]
    assert "QUANTIZE" not in rows["tflite_float32"]["operations"]


@pytest.mark.parametrize("name", FILES)
def test_contract_of_the_file(exported, name):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported[0] / FILES[name]))
    interpreter.allocate_tensors()
    (image,), (probabilities,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert image["dtype"] is np.uint8
    assert list(image["shape"]) == [1, 32, 32, 3]
    assert probabilities["dtype"] is np.float32
    assert list(probabilities["shape"]) == [1, 3]
    operations = {op["op_name"] for op in interpreter._get_ops_details()}
    assert not [op for op in operations if op.startswith("Flex")]


def test_golden_pictures_give_the_expected_probabilities(exported):
    from recycle_tf.data import decode
    from recycle_tf.evaluation.predictor import open_classifier

    golden = exported[0] / "golden"
    expected = json.loads((golden / "expected.json").read_text())
    assert {row["label"] for row in expected} == {"can", "jar", "tube"}
    for name, file in FILES.items():
        classifier = open_classifier(exported[0] / file)
        assert classifier.labels == ["can", "jar", "tube"]
        for row in expected:
            pixels = decode.decode(
                (golden / row["file"]).read_bytes(), classifier.image_size, classifier.resize
            )
            np.testing.assert_allclose(classifier(pixels.numpy()), row["probabilities"][name], atol=1e-5)
            assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest() == row["input_sha256"]


def test_the_golden_page_has_code_for_this_network(exported):
    page = (exported[0] / "golden" / "README.md").read_text(encoding="utf-8")
    for text in ("32 x 32, row by row, the picture stretched", "const val SIZE = 32", "let size = 32"):
        assert text in page
    assert "map { ($0.0, $0.1 * one) }" in page
    assert "$$" not in page


def test_the_golden_page_knows_every_resize():
    from export import golden
    from recycle_tf import options

    assert set(golden.RESIZE) == set(options.RESIZES)


def test_saved_model_needs_nothing_of_ours(exported):
    picture = next((exported[0] / "golden").glob("*.png"))
    expected = json.loads((exported[0] / "golden" / "expected.json").read_text())
    code = f"""
import json, sys
import tensorflow as tf
sys.modules["recycle_tf"] = None  # as if it were not installed
served = tf.saved_model.load({str(exported[0] / "saved_model")!r})
assert {{"serve_bytes", "serve_pixels"}} <= set(served.signatures)
answer = served.signatures["serve_bytes"](tf.constant([open({str(picture)!r}, "rb").read()]))
pixels = served.signatures["serve_pixels"](tf.zeros([2, 32, 32, 3], tf.uint8))
assert {{key: tuple(value.shape) for key, value in pixels.items()}} == {{
    "probabilities": (2, 3), "labels": (3,), "label": (2,), "top_labels": (2, 3), "top_probabilities": (2, 3)
}}
assert answer["top_labels"][0, 0] == answer["label"][0]
print(json.dumps([
    answer["label"][0].numpy().decode(),
    answer["probabilities"][0].numpy().tolist(),
    dict(zip(
        (name.decode() for name in answer["top_labels"][0].numpy()),
        answer["top_probabilities"][0].numpy().tolist(),
    )),
    [name.decode() for name in answer["labels"].numpy()],
]))
"""
    result = run_python("-c", code, cwd=exported[0])
    assert result.returncode == 0, result.stderr
    label, probabilities, top, labels = json.loads(result.stdout.splitlines()[-1])
    assert labels == ["can", "jar", "tube"]
    assert list(top.values()) == sorted(probabilities, reverse=True)
    assert top == dict(zip(labels, probabilities, strict=True))
    row = next(row for row in expected if row["file"] == picture.name)
    np.testing.assert_allclose(probabilities, row["probabilities"]["keras"], atol=1e-5)
    assert label == ["can", "jar", "tube"][int(np.argmax(row["probabilities"]["keras"]))]


def test_predict_with_a_tflite(exported):
    golden = exported[0] / "golden"
    result = run_python("-m", "recycle_tf", "predict", f"--model={exported[0] / 'model_int8.tflite'}", golden)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(list(golden.glob("*.png")))


def test_exporting_one_again_gives_the_same_bytes_and_keeps_the_others(exported, tmp_path):
    directory = shutil.copytree(exported[0].parent, tmp_path / "run") / "export"

    def digest():
        return hashlib.sha256((directory / "model_float16.tflite").read_bytes()).hexdigest()

    before, answers = digest(), (directory / "golden" / "expected.json").read_text()
    result = run_export(directory.parent, "--formats=tflite_float16")
    assert result.returncode == 0, result.stderr
    assert digest() == before
    assert {row["format"] for row in json.loads((directory / "export.json").read_text())} == {
        "saved_model",
        *FILES,
    }
    assert json.loads((directory / "golden" / "expected.json").read_text()) == json.loads(answers)


def test_a_run_in_bfloat16_is_exported_in_float32(photos, tmp_path):
    run = tmp_path / "run"
    flags = (*tiny_training(photos), "--epochs=1", "--mixed_precision=bfloat16", f"--run_dir={run}")
    assert run_python("train.py", *flags).returncode == 0
    result = run_python("-m", "export", f"--run={run}", "--formats=tflite_float32")
    assert result.returncode == 0, result.stderr
    assert "tflite_float32   verified" in result.stdout


def test_deformable_networks_are_not_had_in_integers(photos, tmp_path):
    run = tmp_path / "run"
    flags = (*tiny_training(photos), "--epochs=1", "--arch=test_deformable", f"--run_dir={run}")
    result = run_python("train.py", *flags)
    assert result.returncode == 0, result.stderr
    export = ("-m", "export", f"--run={run}")
    check_refused(
        run_python(*export, "--formats=tflite_float32,tflite_int16x8"),
        "--formats=tflite_int16x8: test_deformable samples its maps at computed coordinates",
    )
    assert not (run / "export").exists()
    result = run_python(*export, "--max_drop=100")
    assert result.returncode == 0, result.stderr
    assert "tflite_int8      left out: test_deformable samples" in result.stdout
    assert "int16x8" not in result.stdout
    assert {row["format"] for row in json.loads((run / "export" / "export.json").read_text())} == {
        "saved_model",
        "tflite_float32",
        "tflite_float16",
        "tflite_dynamic",
    }


def test_all_formats_are_those_that_the_network_can(capsys):
    values = types.SimpleNamespace(formats=["all"], choose=False, unverified=False)
    assert formats_of(values, create_model("test_resnet", 3), None) == list(FORMATS)
    found = formats_of(values, create_model("test_deformable", 3), None)
    assert found == [name for name in FORMATS if name not in ("tflite_int8", "tflite_int16x8")]
    assert "tflite_int16x8   left out: test_deformable samples its maps" in capsys.readouterr().out


def test_choosing(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    export = (
        "-m",
        "export",
        f"--run={run}",
        "--choose",
        "--formats=saved_model,tflite_float32,tflite_float16",
    )
    check_refused(run_python(*export, "--max_mb=0.01"), "--choose: no format could fit")
    assert not (run / "export").exists()
    largest = create_model("test_resnet", 3).count_params() * 3.9 / 1e6
    result = run_python(*export, f"--max_mb={largest}")
    assert result.returncode == 0, result.stderr
    assert "tflite_float32   left out: its weights alone take" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("choice: model_float16.tflite, the only one that fits")
    assert [path.name for path in (run / "export").glob("*.tflite")] == ["model_float16.tflite"]


def test_integers_take_dark_pixels_as_they_are(finished_run, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    from export import artifact, tflite
    from recycle_tf import runs

    model = runs.open_run(finished_run).load_model()
    spec = artifact.make_spec(runs.open_run(finished_run), model)
    dark = np.random.default_rng(0).integers(0, 60, (8, 32, 32, 3)).astype(np.uint8)
    exported = tflite.export(spec, model, "tflite_int8", tmp_path, dark)
    assert Interpreter(model_path=str(exported.path)).get_input_details()[0]["quantization"] == (1.0, 0)


def test_a_format_that_differs_is_rejected(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    export = ("-m", "export", f"--run={run}", "--formats=tflite_int8")
    assert run_python(*export, "--max_drop=12").returncode == 0
    result = run_python(*export, "--max_drop=-101")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: tflite_int8: rejected")
    assert (run / "export" / "rejected" / "model_int8.tflite").is_file()
    assert not (run / "export" / "model_int8.tflite").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--run: missing"),
        (["--run=/no/run", "--formats="], "--formats: empty"),
        (["--run=/no/run", "--max_drop=nan"], "--max_drop=nan: expected points"),
        (["--run=/no/run", "--choose", "--unverified"], "--choose: asks what pictures show"),
        (["--run=/no/run", "--max_mb=5"], "--max_mb=5: goes with --choose"),
        (["--run=/no/run", "--choose", "--max_ms=0"], "--max_ms=0: expected a number above 0"),
        (["--run=/no/run", "more"], "more: not a flag"),
        (["--run=/no/run"], "--run=/no/run: no such folder"),
        (
            ["--run=/no/run", "--formats=tflite_int4"],
            "--formats=tflite_int4: no such format, did you mean tflite_int8",
        ),
    ],
)
def test_mistakes(flags, message):
    check_refused(run_python("-m", "export", *flags), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a text file in UTF-8"),
        ("캔\n병\n", "has 2 names on 2 lines, expected one a line for each of can, jar, tube"),
        ("캔\n\n튜브\n", "has 2 names on 3 lines"),
    ],
)
def test_korean_names_that_do_not_fit(tmp_path, content, message):
    from export import korean
    from recycle_tf.errors import UserError

    file = tmp_path / "korean.txt"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        korean.translate(["can", "jar", "tube"], file)


def test_a_run_without_a_model(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "model.keras").unlink()
    check_refused(run_python("-m", "export", f"--run={run}"), "no model yet")


def test_a_tflite_of_somebody_else_has_no_labels(tmp_path):
    (tmp_path / "other.tflite").write_bytes(b"TFL3")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    result = run_python(
        "-m", "recycle_tf", "predict", f"--model={tmp_path / 'other.tflite'}", tmp_path / "x.png"
    )
    check_refused(result, "has no labels in it")


@pytest.mark.parametrize("arch", list_models("test_*"))
def test_every_family_converts_and_agrees(arch, tmp_path, finished_run):
    convert_and_compare(arch, tmp_path, finished_run)


@pytest.mark.slow
@pytest.mark.parametrize("arch", list_models())
def test_every_row_converts_and_agrees(arch, tmp_path, finished_run):
    convert_and_compare(arch, tmp_path, finished_run)


def convert_and_compare(arch, folder, run):
    """The converter is told to use builtin operations alone: any other one fails it."""
    from export import artifact, tflite
    from recycle_tf import runs

    model = create_model(arch, 3)
    spec = artifact.make_spec(runs.open_run(run), model)
    exported = tflite.export(spec, model, "tflite_float32", folder)
    size = model.input_shape[1]
    pictures = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    logits = np.array(model(pictures))
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    expected = exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(tflite.load(exported.path)(pictures), expected, atol=1e-4)


def test_a_damaged_tflite(exported, tmp_path):
    content = bytearray((exported[0] / "model_int8.tflite").read_bytes())
    content[:400] = bytes(400)
    (tmp_path / "damaged.tflite").write_bytes(content)
    picture = next((exported[0] / "golden").glob("*.png"))
    result = run_python("-m", "recycle_tf", "predict", f"--model={tmp_path / 'damaged.tflite'}", picture)
    check_refused(result, "damaged, LiteRT cannot load it")
