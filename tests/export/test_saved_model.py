"""The SavedModel in a server's hands."""

import json

import numpy as np
import tensorflow as tf

from tests.conftest import run_python


def test_every_output_has_the_batch_dimension(exported):
    """TensorFlow Serving's row format rejects a model one of whose outputs has another first dimension."""
    served = tf.saved_model.load(str(exported[0] / "saved_model"))
    for name in ("serve_pixels", "serve_bytes"):
        outputs = served.signatures[name].structured_outputs
        assert {key: spec.shape[0] for key, spec in outputs.items()} == dict.fromkeys(outputs)
    pixels = served.signatures["serve_pixels"](tf.zeros([2, 32, 32, 3], tf.uint8))
    assert {key: tuple(value.shape) for key, value in pixels.items()} == {
        "probabilities": (2, 3),
        "labels": (2, 3),
        "label": (2,),
        "top_labels": (2, 3),
        "top_probabilities": (2, 3),
    }


def test_it_works_without_this_package(exported):
    image = next((exported[0] / "golden").glob("*.png"))
    expected = json.loads((exported[0] / "golden" / "expected.json").read_text())
    code = f"""
import json, sys
import tensorflow as tf
sys.modules["recycle_tf"] = None  # as if it were not installed
served = tf.saved_model.load({str(exported[0] / "saved_model")!r})
outputs = served.signatures["serve_bytes"](tf.constant([open({str(image)!r}, "rb").read()]))
found = {{key: value[0].numpy() for key, value in outputs.items()}}
print(json.dumps({{
    key: value.tolist() if hasattr(value, "tolist") else value for key, value in found.items()
}}, default=bytes.decode))
"""
    result = run_python("-c", code, cwd=exported[0])
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["labels"] == ["can", "jar", "tube"]
    ranked = sorted(zip(found["probabilities"], found["labels"], strict=True), reverse=True)
    assert list(zip(found["top_probabilities"], found["top_labels"], strict=True)) == ranked
    assert found["label"] == found["top_labels"][0]
    row = next(row for row in expected if row["file"] == image.name)
    np.testing.assert_allclose(found["probabilities"], row["probabilities"]["keras"], atol=1e-5)
