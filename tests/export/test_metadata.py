"""Other programs can use the files: MediaPipe runs them, and its schema reads their metadata."""

import json
import zipfile

import numpy as np
import pytest

from export import artifact
from recycle_tf import create_model
from recycle_tf.data import decode
from tests.conftest import require
from tests.export.conftest import FILES


@pytest.fixture
def mediapipe():
    require("mediapipe")


def classify(path, pixels, locale="en"):
    """The answer of MediaPipe Tasks: `[(index, label, display name, probability)]`, in index order."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=str(path)), display_names_locale=locale
    )
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        (head,) = classifier.classify(image).classifications
    return sorted((c.index, c.category_name, c.display_name, c.score) for c in head.categories)


def describe(path):
    """The metadata of a file, read with MediaPipe's schema."""
    from ai_edge_litert import schema_py_generated as tflite
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    model = tflite.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (entry,) = [one for one in model.metadata if one.name == b"TFLITE_METADATA"]
    content = bytes(model.buffers[entry.buffer].data)
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    return schema.ModelMetadataT.InitFromPackedBuf(content, 0)


@pytest.mark.parametrize("name", FILES)
def test_mediapipe_answers_as_expected(exported, name, mediapipe):
    golden = exported[0] / "golden"
    rows = json.loads((golden / "expected.json").read_text())
    assert len(rows) >= 3
    for row in rows:
        pixels = decode.decode((golden / row["file"]).read_bytes(), 32, "stretch").numpy()
        found = classify(exported[0] / FILES[name], pixels)
        assert [label for _, label, _, _ in found] == ["can", "jar", "tube"]
        probabilities = [probability for *_, probability in found]
        np.testing.assert_allclose(probabilities, row["probabilities"][name], atol=1e-5)


def test_mediapipe_displays_translated_names(exported, mediapipe):
    found = classify(exported[0] / "model_int8.tflite", np.zeros((32, 32, 3), np.uint8), locale="ko")
    assert [(label, display) for _, label, display, _ in found] == [
        ("can", "캔"),
        ("jar", "병"),
        ("tube", "튜브"),
    ]


@pytest.mark.parametrize("name", FILES)
def test_metadata(exported, name, mediapipe):
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    found = describe(exported[0] / FILES[name])
    assert (found.version, found.author, found.license) == (b"run", b"A. Author", None)
    assert found.minParserVersion == b"1.0.0"
    assert [(one.name, one.type) for one in found.associatedFiles] == [
        (b"spec.json", schema.AssociatedFileType.DESCRIPTIONS)
    ]
    (graph,) = found.subgraphMetadata
    (image,), (probabilities,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    properties = image.content.contentProperties
    assert properties.colorSpace == schema.ColorSpaceType.RGB
    assert (properties.defaultSize.width, properties.defaultSize.height) == (32, 32)
    (unit,) = image.processUnits
    assert (list(unit.options.mean), list(unit.options.std)) == ([0], [1])
    assert (list(image.stats.min), list(image.stats.max)) == ([0], [255])
    assert [(one.name, one.type, one.locale) for one in probabilities.associatedFiles] == [
        (b"labels.txt", schema.AssociatedFileType.TENSOR_AXIS_LABELS, None),
        (b"labels_ko.txt", schema.AssociatedFileType.TENSOR_AXIS_LABELS, b"ko"),
    ]


@pytest.mark.parametrize("name", FILES)
def test_files_inside_are_the_ones_beside(exported, name):
    directory = exported[0]
    with zipfile.ZipFile(directory / FILES[name]) as inside:
        for file in ("labels.txt", "labels_ko.txt"):
            assert inside.read(file) == (directory / file).read_bytes()
        spec = json.loads(inside.read("spec.json"))
    beside = json.loads((directory / "spec.json").read_text(encoding="utf-8"))
    del beside["files"]
    assert spec == {"format": name, **beside}
    assert spec["labels_ko"] == ["캔", "병", "튜브"]


def test_the_spec_marks_english_labels(finished_run):
    class Run:
        path = finished_run
        config = {"dataset": "trashnet", "resize": "stretch"}
        fingerprint = "0"
        labels = ["glass", "paper"]

    spec = artifact.make_spec(Run, create_model("test_resnet", 2), {"de": ["Glas", "Papier"]})
    assert spec["labels_locale"] == "en"
    assert "author" not in spec
    assert artifact.translations(spec) == {"de": ["Glas", "Papier"]}
    assert artifact.label_files(spec) == {
        "labels.txt": "glass\npaper\n",
        "labels_de.txt": "Glas\nPapier\n",
    }
