"""The acts of an export: what it writes, what it keeps, and what it rejects."""

import hashlib
import json
import re
import shutil
import types

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from export import artifact, exporting, gates, golden, int8, record, tflite
from export.formats import FORMATS
from export.settings import ExportSettings
from recycle_tf import create_model, list_models, runs
from recycle_tf.commands import predict
from recycle_tf.data import decode
from recycle_tf.evaluation.predictor import open_predictor
from tests.conftest import run_python, write_photos
from tests.export.conftest import (
    FILES,
    ROW,
    RULES,
    VERDICT,
    check_error,
    check_whole,
    export,
    rows_of,
    run_command,
    succeed,
)


def test_every_format_is_written_and_verified(exported):
    folder, output = exported
    rows = rows_of(folder.parent)
    assert set(rows) == {"saved_model", *FILES}
    for name, row in rows.items():
        assert row["verification"]["failure"] is None
        assert (folder / row["path"]).exists()
        assert re.search(rf"(?m)^{name} +verified$", output)
    assert rows["tflite_float32"]["verification"]["max_gap"] < 1e-4
    assert rows["tflite_int8"]["bytes"] < rows["tflite_float32"]["bytes"]
    check_whole(folder.parent)


def test_the_command(copy):
    result = run_python("-m", "export", f"--run={copy}", "--formats=tflite_float32")
    assert (result.returncode, result.stderr) == (0, "")
    assert "tflite_float32   verified" in result.stdout
    assert f"artifacts {copy / 'export'}" in result.stdout


def test_what_is_recorded_for_each(exported):
    rows = rows_of(exported[0].parent)
    for name, row in rows.items():
        verification = row["verification"]
        assert set(verification["recall_change"]) == {"can", "jar", "tube"}
        assert verification["examples"] == 9
        saved = list((exported[0] / "flips" / name).glob("*"))
        assert len(saved) == verification["flips"]
        assert re.search(rf"(?m)^{name} .* {verification['accuracy']:.4f} ", exported[1])
    for name in FILES:
        assert rows[name]["operations"]["CONV_2D"] > 1
        assert 0 < rows[name]["latency_ms"]["threads_1"] < 1000
        assert 0 < rows[name]["latency_ms"]["threads_2"] < 1000
        assert rows[name]["bytes"] / 2 < rows[name]["peak_memory"] < 100e6
        assert "processors" in rows[name]["machine"]
    assert "QUANTIZE" in rows["tflite_int8"]["operations"]
    assert "QUANTIZE" not in rows["tflite_float32"]["operations"]


def test_files_have_their_digests(exported):
    files = json.loads((exported[0] / "spec.json").read_text(encoding="utf-8"))["files"]
    assert {"model_int8.tflite", "saved_model/saved_model.pb"} <= set(files)
    for name, digest in files.items():
        assert hashlib.sha256((exported[0] / name).read_bytes()).hexdigest() == digest


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


def test_golden_images_give_the_expected_probabilities(exported):
    folder = exported[0] / "golden"
    expected = json.loads((folder / "expected.json").read_text())
    assert {row["label"] for row in expected} == {"can", "jar", "tube", None}
    for name, file in FILES.items():
        predictor = open_predictor(exported[0] / file)
        assert predictor.labels == ["can", "jar", "tube"]
        for row in expected:
            encoded = (folder / row["file"]).read_bytes()
            pixels = decode.decode(encoded, predictor.image_size, predictor.resize)
            found = predictor.probabilities(pixels.numpy()[None])[0]
            np.testing.assert_allclose(found, row["probabilities"][name], atol=1e-5)
            assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest() == row["input_sha256"]


def test_files_of_every_format_say_that_an_image_is_unlike(copy):
    file = copy / "calibration.json"
    record = json.loads(file.read_text())
    # Nothing is familiar, the training images a little more than a texture.
    record["unlike"] |= {"limit": 1.0, "width": 0.02}
    file.write_text(json.dumps(record))
    formats = ("saved_model", "tflite_float32", "tflite_float16", "tflite_int8", "tflite_int16x8")
    succeed(copy, f"--formats={','.join(formats)}", "--max_drop=40")
    *rows, drawn = json.loads((copy / "export" / "golden" / "expected.json").read_text())
    assert (drawn["file"], drawn["label"]) == (golden.DRAWN, None)
    for row in (*rows, drawn):
        sums = {name: sum(found) for name, found in row["probabilities"].items()}
        assert sums["keras"] < 0.5
        for name in formats:
            assert sums[name] == pytest.approx(sums["keras"], abs=0.1 if "int" in name else 0.01), name
    (answer,) = open_predictor(copy / "export" / "model_int8.tflite").predict(
        copy / "export" / "golden" / golden.DRAWN
    )
    assert (answer.familiar, answer.sure) == (False, False)
    spec = json.loads((copy / "export" / "spec.json").read_text())
    assert spec["unlike"] == record["unlike"]
    assert "missing" in spec["output"]


def test_the_golden_page_has_code_for_this_network(exported):
    page = (exported[0] / "golden" / "README.md").read_text(encoding="utf-8")
    for text in ("32 x 32", "stretched to that size", "const val SIZE = 32", "let size = 32"):
        assert text in page
    assert "map { ($0.0, $0.1 * norm) }" in page
    # Both runtimes, with versions that have them.
    for text in (
        "litert:2.3.0",
        "import com.google.ai.edge.litert.CompiledModel",
        "litert:1.4.1",
        "import LiteRT",
    ):
        assert text in page
    assert "$$" not in page


@pytest.mark.parametrize("name", FILES)
def test_compiled_model_of_litert_2_answers_as_expected(exported, name):
    """As the golden page's tests do: the pixels' bytes are written as int8."""
    from ai_edge_litert.compiled_model import CompiledModel

    folder = exported[0]
    model = CompiledModel.from_file(str(folder / FILES[name]))
    (image,), (probabilities,) = model.create_input_buffers(0), model.create_output_buffers(0)
    for row in json.loads((folder / "golden" / "expected.json").read_text()):
        pixels = decode.decode((folder / "golden" / row["file"]).read_bytes(), 32, "stretch").numpy()
        image.write(pixels[None].view(np.int8))
        model.run_by_index(0, [image], [probabilities])
        found = probabilities.read(3, np.float32)
        np.testing.assert_allclose(found, row["probabilities"][name], atol=1e-4)


def test_predict_with_a_tflite(exported):
    folder = exported[0] / "golden"
    result = run_command(predict.main, f"--model={exported[0] / 'model_int8.tflite'}", folder)
    assert result.status == 0, result.errors
    assert len(result.output.splitlines()) == len(list(folder.glob("*.png")))


def test_exporting_one_again_gives_the_same_bytes_and_keeps_the_others(exported, tmp_path):
    run = shutil.copytree(exported[0].parent, tmp_path / "run")
    (run / "export" / "notes.txt").write_text("of the user")

    def digest(name):
        return hashlib.sha256((run / "export" / name).read_bytes()).hexdigest()

    before = {name: digest(name) for name in ("model_float16.tflite", "golden/expected.json")}
    names = f"--translations=ko:{run / 'korean.txt'}"
    succeed(run, "--formats=tflite_float16", names, "--author=A. Author")
    assert {name: digest(name) for name in before} == before
    assert set(rows_of(run)) == {"saved_model", *FILES}
    assert (run / "export" / "notes.txt").read_text() == "of the user"
    check_whole(run)


def test_a_deleted_file_is_no_longer_listed(exported, tmp_path):
    folder = shutil.copytree(exported[0], tmp_path / "export")
    (folder / "model_int8.tflite").unlink()
    assert {row["format"] for row in record.read(folder)} == {"saved_model", *FILES} - {"tflite_int8"}


def test_a_model_in_bfloat16_is_exported_in_float32(copy):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = create_model("test_resnet", 3, image_size=32)
    finally:
        keras.config.set_dtype_policy("float32")
    assert "bfloat16" in {layer.compute_dtype for layer in model.layers}
    model.save(copy / "model.keras")
    assert "tflite_float32   verified" in succeed(copy, "--formats=tflite_float32")


def settings(**given):
    return ExportSettings(run="run", **given)


def test_all_formats_are_those_that_the_network_supports(capsys):
    found = exporting.select_formats(settings(formats="all"), create_model("test_resnet", 3))
    assert [one.name for one in found] == list(FORMATS)
    found = exporting.select_formats(settings(formats="all"), create_model("test_deformable", 3))
    integers = ("tflite_int8", "tflite_int16x8")
    assert [one.name for one in found] == [name for name in FORMATS if name not in integers]
    output = capsys.readouterr().out
    for name in integers:
        assert re.search(rf"(?m)^{name} +not exported: test_deformable ", output)


def test_default_formats_need_no_further_packages():
    found = exporting.select_formats(settings(), create_model("test_resnet", 3))
    assert [one.name for one in found] == ["saved_model", *list(FILES)[:4]]


def test_a_format_that_the_network_does_not_support(copy, monkeypatch):
    monkeypatch.setattr(int8, "why_not", lambda model, name: "reason")
    result = export(copy, "--formats=tflite_float32,tflite_int8")
    check_error(result, "--formats=tflite_int8: reason")
    assert not (copy / "export").exists()


def test_choosing(copy):
    flags = ("--choose", "--formats=saved_model,tflite_float32,tflite_float16")
    check_error(export(copy, *flags, "--max_mb=0.01"), "--formats")
    assert not (copy / "export").exists()
    model = create_model("test_resnet", 3)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    # Norms become part of the convolutions.
    largest = (model.count_params() - sum(norm.count_params() for norm in norms)) * 3.9 / 1e6
    output = succeed(copy, *flags, f"--max_mb={largest}")
    assert re.search(r"(?m)^saved_model +not exported: --choose", output)
    assert re.search(r"(?m)^tflite_float32 +not exported: .*--max_mb", output)
    assert output.splitlines()[-1].startswith("choice: model_float16.tflite, the only one")
    assert [path.name for path in (copy / "export").glob("*.tflite")] == ["model_float16.tflite"]


def test_integers_take_dark_pixels_as_they_are(finished_run, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    run = runs.open_run(finished_run)
    model = run.load_model()
    dark = np.random.default_rng(0).integers(0, 60, (8, 32, 32, 3)).astype(np.uint8)
    path = int8.export(artifact.make_spec(run, model), model, "tflite_int8", tmp_path, dark).path
    assert Interpreter(model_path=str(path)).get_input_details()[0]["quantization"] == (1.0, 0)


def test_a_format_that_differs_is_rejected(copy, monkeypatch):
    succeed(copy, "--formats=tflite_dynamic")
    with monkeypatch.context() as stricter:
        stricter.setitem(gates.MAX_LOGIT_ERROR, gates.WEIGHTS, 0.0)
        check_error(export(copy, "--formats=tflite_dynamic"), "tflite_dynamic", "rejected")
    assert (copy / "export" / "rejected" / "model_dynamic.tflite").is_file()
    assert not (copy / "export" / "model_dynamic.tflite").exists()
    assert "rejected" in (copy / "export" / "card.md").read_text(encoding="utf-8")
    check_whole(copy)
    succeed(copy, "--formats=tflite_dynamic")
    assert (copy / "export" / "model_dynamic.tflite").is_file()
    assert not (copy / "export" / "rejected" / "model_dynamic.tflite").exists()


def test_a_run_without_a_model(copy):
    (copy / "model.keras").unlink()
    check_error(export(copy), "no model yet")


def predict_with(content, folder):
    (folder / "network.tflite").write_bytes(content)
    Image.new("RGB", (8, 8)).save(folder / "x.png")
    return run_command(predict.main, f"--model={folder / 'network.tflite'}", folder / "x.png")


def test_a_tflite_of_another_program_has_no_labels(tmp_path):
    check_error(predict_with(b"TFL3", tmp_path), "network.tflite", "labels")


def test_a_damaged_tflite(exported, tmp_path):
    content = (exported[0] / "model_int8.tflite").read_bytes()
    check_error(predict_with(bytes(400) + content[400:], tmp_path), "network.tflite", "damaged")


@pytest.mark.parametrize("arch", list_models("test_*"))
def test_every_family_converts_and_agrees(arch, tmp_path, finished_run):
    convert_and_compare(arch, tmp_path, finished_run)


@pytest.mark.slow
@pytest.mark.parametrize("arch", list_models())
def test_every_row_converts_and_agrees(arch, tmp_path, finished_run):
    convert_and_compare(arch, tmp_path, finished_run)


def convert_and_compare(arch, folder, run):
    """The converter may only use built-in operations: any other one makes it fail."""
    model = create_model(arch, 3)
    spec = artifact.make_spec(runs.open_run(run), model)
    path = tflite.export(spec, model, "tflite_float32", folder).path
    size = model.input_shape[1]
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    np.testing.assert_allclose(tflite.load(path)(images), artifact.answer(model, images), atol=1e-4)


def test_the_rules_travel_with_every_file(copy, tmp_path):
    place = tmp_path / "town.yaml"
    place.write_text(yaml.safe_dump(RULES, allow_unicode=True), encoding="utf-8")
    check_error(export(copy, f"--rules={tmp_path / 'gone.yaml'}"), "--rules=", "No such file")
    check_error(export(copy, "--rules=korea"), "can", "no bin")
    assert not (copy / "export").exists()
    succeed(copy, "--formats=tflite_float32", f"--rules={place}")
    spec = json.loads((copy / "export" / "spec.json").read_text(encoding="utf-8"))
    assert spec["rules"]["classes"]["can"]["bin"] == "yellow"
    photos = write_photos(tmp_path / "new", count=1)
    model = copy / "export" / "model_float32.tflite"
    result = run_command(predict.main, f"--model={model}", photos)
    assert result.output.count("-> Yellow bin. Empty it. Is it greasy? If yes: Gray bin.") == 3


def test_files_with_other_rules_are_named(capsys):
    rows = [{"path": "web", "rules": RULES}, {"path": "model_int8.tflite"}]
    exporting.warn_of_other_rules(rows, {"rules": RULES})
    assert capsys.readouterr().err.startswith("warning: model_int8.tflite: ")
    exporting.warn_of_other_rules(rows[1:], {})
    assert capsys.readouterr().err == ""


def test_files_of_a_network_that_was_trained_further_are_removed(exported, tmp_path):
    copy = shutil.copytree(exported[0].parent, tmp_path / "run")
    run = runs.Run(copy)
    model = run.load_model()
    head = model.get_layer("logits")
    head.set_weights([weight * 1.01 for weight in head.get_weights()])
    model.save(run.model_file)
    output = succeed(copy, "--formats=tflite_float32")
    (line,) = [line for line in output.splitlines() if line.startswith("removed")]
    assert set(rows_of(copy)) == {"tflite_float32"}
    for image in json.loads((run.export / "golden" / "expected.json").read_text()):
        assert set(image["probabilities"]) == {"keras", "tflite_float32"}
    check_whole(copy)
    for name in ("tflite_float16", "tflite_int8"):
        assert FILES[name] in line
        assert not (run.export / FILES[name]).exists()
    # The tests on the page are of a file that is there.
    page = (run.export / "golden" / "README.md").read_text(encoding="utf-8")
    assert FILES["tflite_float32"] in page
    assert "model_int8" not in page
    assert "tflite_int8" not in page


def test_folders_of_an_export_that_are_links_lead_nowhere(tmp_path):
    photos, folder = tmp_path / "photos", tmp_path / "export"
    for path in (photos / "tflite_int8", folder):
        path.mkdir(parents=True)
    for name in ("rejected", "flips"):
        (folder / name).symlink_to(photos)
    exporting.remove_outdated(folder, [ROW | {"path": "rejected/tflite_int8"}])
    assert (photos / "tflite_int8").is_dir()


def test_the_golden_page_tests_a_file_that_is_there():
    def file(*rows):
        return exporting.file_of_apps([ROW | row for row in rows])

    assert file({}) == ("tflite_int8", "model_int8.tflite")
    float16 = {"format": "tflite_float16", "path": "model_float16.tflite"}
    assert file(float16, {}) == ("tflite_int8", "model_int8.tflite")
    failed = {"verification": VERDICT | {"failure": "it fails"}, "path": "rejected/model_int8.tflite"}
    assert file(float16, failed) == ("tflite_float16", "model_float16.tflite")
    assert file(failed) is None
    assert file({"batch": 4}) is None
    assert file({"format": "saved_model", "path": "saved_model"}) is None


def test_batches_of_representative_images_are_different_images():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((5, 2, 2, 3), np.uint8)
    found = [tflite.batches({"batch": size}, images)[..., 0, 0, 0].tolist() for size in (1, 3, 16, "dynamic")]
    assert found[0] == found[3] == [[0], [255], [0], [1], [2], [3], [4]]
    assert found[1] == [[0, 255, 0], [1, 2, 3], [4, 0, 255]]
    assert [len(found[2]), len(found[2][0])] == [1, 16]


def test_without_npm_all_formats_are_those_without_the_page(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    everything = ExportSettings(run="r", formats="all")
    assert "npm" in exporting._why_not(everything, None, FORMATS["web"])
    downloaded = ExportSettings(run="r", formats="all", web_runtime="archives")
    assert exporting._why_not(downloaded, None, FORMATS["web"]) is None


def test_the_spec_of_the_page_takes_one_image():
    found = artifact.with_batch({"batch": 8, "input": "[8, 96]", "unlike": {}, "labels": ["a"]}, 1)
    assert found["batch"] == 1
    assert found["input"].endswith("[1, image_size, image_size, 3]")
    assert "[1, number of labels]" in found["output"]
    assert "unlike those of training" in found["output"]
    assert found["labels"] == ["a"]


def test_the_latency_of_a_batch_is_per_image(monkeypatch, tmp_path):
    spec = {"format": "tflite_int8", "batch": 8}
    made = types.SimpleNamespace(
        format="tflite_int8", path=tmp_path / "model.tflite", spec=spec, bytes=1, operations=None
    )
    monkeypatch.setattr(exporting.litert, "open_predictor", lambda path, threads: print)
    monkeypatch.setattr(exporting.latency, "time_alternately", lambda calls: dict.fromkeys(calls, 24.0))
    monkeypatch.setattr(exporting.peak, "measure", lambda path: 0)
    test = types.SimpleNamespace(images=[None])
    (row,) = exporting.make_rows([exporting.Exported(made)], tmp_path, test)
    assert row["latency_ms"] == {"threads_1": 3.0, "threads_2": 3.0}


def test_an_unverified_export_keeps_what_was_measured(exported, tmp_path):
    copy = shutil.copytree(exported[0].parent, tmp_path / "run")
    before = sorted(path.name for path in (copy / "export" / "golden").iterdir())
    succeed(copy, "--formats=tflite_float16", "--unverified")
    assert sorted(path.name for path in (copy / "export" / "golden").iterdir()) == before
    card = (copy / "export" / "card.md").read_text()
    assert "not verified" in card
    assert FILES["tflite_int8"] in card
    assert "Nothing was measured" not in card
