"""The page of an audit in a real browser."""

import pytest

import recycle_tf
from tests.conftest import write_photos


@pytest.mark.parametrize("width", [900, 1280])
def test_no_number_and_no_class_is_broken_over_lines(start_browser, tmp_path, width):
    photos = write_photos(tmp_path / "photos")
    (photos / "can").rename(photos / "cardboard")
    recycle_tf.audit(str(photos), out=tmp_path / "audit")
    with start_browser() as browser:
        browser.set_window_size(width, 800)
        browser.get((tmp_path / "audit" / "audit.html").as_uri())
        heights = browser.execute_script(
            "return [...document.querySelectorAll('table')[0].rows].slice(1)"
            ".flatMap((row) => [...row.cells]).map((cell) => cell.getBoundingClientRect().height)"
        )
        wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert len(heights) == 3 * 6
    assert max(heights) < 2 * 16 * 1.5  # Two lines.
    assert wide <= 0
