"""The page beside the golden images."""

from export import golden
from recycle_tf import options


def test_without_such_a_file_the_golden_page_has_no_tests():
    spec = {"image_size": 32, "resize": "crop"}
    page, without = golden._page(spec, ("tflite_int8", "model_int8.tflite")), golden._page(spec, None)
    assert "```kotlin" in page
    assert "model_int8.tflite" in page
    assert "expected.json" in without
    assert "tflite_int8" in without
    assert "```kotlin" not in without
    assert "$" not in without


def test_the_golden_page_knows_every_resize():
    assert set(golden.RESIZE) == set(options.RESIZES)
