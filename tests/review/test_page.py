"""The page in a real browser, by keyboard and by pointer."""

import os
import re
import time

import numpy as np
import pytest
from PIL import Image

from recycle_tf.data import sources
from recycle_tf.review import server
from tests.conftest import write_photos
from tests.review.conftest import reviewing, write_findings

# An assistive technology finds every control by one of these names.
NAMED = "return [...document.querySelectorAll('button, input')].filter((one) => !one.textContent.trim() && \
!one.labels?.length && !one.ariaLabel).map((one) => one.id)"


def open_page(browser, running):
    browser.get(running.address)
    wait_for(browser)
    return browser


def wait_for(browser, place=None, decided=None):
    """Waits until an image is shown: at a place, counting from 1, or after so many decisions."""
    from selenium.webdriver.support.ui import WebDriverWait

    def reached(_):
        state, position, progress = browser.execute_script(
            "return [document.body.dataset.state, document.getElementById('position').textContent, "
            "document.getElementById('progress').value]"
        )
        right = place is None or position.startswith(f"{place} ")
        return state == "ready" and right and decided in (None, progress)

    WebDriverWait(browser, 30, poll_frequency=0.01).until(reached)


def press(browser, key):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(key).perform()


def decision(running, index):
    found = running.decisions.of(index)
    return found and (found.action, found.label)


def text(browser, name):
    return browser.find_element("id", name).text


@pytest.fixture
def running(photos):
    with reviewing(photos) as running:
        yield running


def test_one_key_per_image(browser, running):
    page = open_page(browser, running)
    assert text(page, "label") == "can"
    for place, (key, expected) in enumerate(
        [(" ", ("keep", "can")), ("3", ("move", "tube")), ("x", ("drop", None)), ("1", ("keep", "can"))]
    ):
        wait_for(page, place + 1)
        press(page, key)
        wait_for(page, place + 2)
        assert decision(running, place) == expected
    assert text(page, "count") == "4 of 36 reviewed"
    press(page, "z")
    wait_for(page, 4)
    assert decision(running, 3) is None
    assert text(page, "count") == "3 of 36 reviewed"


def test_arrows_move_without_deciding(browser, running):
    from selenium.webdriver.common.keys import Keys

    page = open_page(browser, running)
    press(page, Keys.ARROW_RIGHT)
    wait_for(page, 2)
    press(page, Keys.ARROW_RIGHT)
    wait_for(page, 3)
    press(page, Keys.ARROW_LEFT)
    wait_for(page, 2)
    assert len(running.decisions) == 0


def test_an_arrow_before_the_answer_is_there(browser, running, monkeypatch):
    """The decision is about the image that was shown when the key was pressed."""
    from selenium.webdriver.common.keys import Keys

    page, wait = open_page(browser, running), os.fsync
    monkeypatch.setattr("os.fsync", lambda file: (time.sleep(0.8), wait(file)))
    press(page, "x")
    press(page, Keys.ARROW_RIGHT)
    wait_for(page, 2, decided=1)
    assert (decision(running, 0), decision(running, 1)) == (("drop", None), None)
    assert not page.find_element("id", "decided").is_displayed()
    press(page, Keys.ARROW_LEFT)
    wait_for(page, 1)
    assert page.find_element("id", "decided").is_displayed()


def test_by_pointer(browser, running):
    page = open_page(browser, running)
    page.find_element("css selector", "#classes [data-label=jar]").click()
    wait_for(page, 2)
    page.find_element("id", "drop").click()
    wait_for(page, 3)
    # The space bar means the label, not the button that was clicked last.
    press(page, " ")
    wait_for(page, 4)
    page.find_element("id", "undo").click()
    wait_for(page, 3)
    assert [decision(running, index) for index in range(3)] == [("move", "jar"), ("drop", None), None]


def test_buttons_are_large_enough_to_touch(browser, running):
    page = open_page(browser, running)
    for button in page.find_elements("css selector", "main button"):
        assert button.size["height"] >= 44, button.text


def test_it_resumes_where_it_was(browser, photos):
    with reviewing(photos) as running:
        page = open_page(browser, running)
        press(page, " ")
        wait_for(page, 2)
        page.refresh()
        wait_for(page, 2)
    with reviewing(photos) as running:
        wait_for(open_page(browser, running), 2)


def test_reasons_and_images_to_compare(browser, photos, inbox):
    findings = write_findings(
        photos.parent / "audit.json",
        ("label_error", ["can/can3.png", "jar/jar0.png", "jar/jar1.png"], ["can", "jar", "jar"])
        + ({"suggested": "jar", "probability": 0.87},),
        ("two_labels", ["can/can1.png", "jar/jar1.png"], ["can", "jar"]),
    )
    with reviewing(photos, findings=findings, inbox=inbox) as running:
        page = open_page(browser, running)
        assert "jar (87%)" in text(page, "reasons")
        assert len(page.find_elements("css selector", "#others img")) == 2
        assert "suggested" in page.find_element("css selector", "[data-label=jar]").text
        assert page.find_element("id", "image").get_attribute("alt") == "Image under review, labeled can"
        for place in (2, 3, 4):
            press(page, " ")
            wait_for(page, place)
        assert not page.find_element("id", "keep").is_enabled()
        press(page, " ")
        press(page, "2")
        wait_for(page, 5)
        press(page, "x")
        wait_for(page, decided=5)
        assert text(page, "status") == "All images are reviewed."
    source = sources.open_source(str(photos.parent / "reviewed.csv"))
    assert ("inbox/a.png", "jar", "train") in [row[:3] for row in source.manifest()]


def test_a_hundred_new_photographs_by_keyboard(browser, photos):
    """One key per image; prints the seconds per image, of which a person's own time is not a part."""
    for file in photos.rglob("*.png"):
        # Tiny images would be reviewed first.
        with Image.open(file) as image:
            image.resize((60, 50)).save(file)
    inbox = photos.parent / "inbox"
    rng = np.random.default_rng(0)
    inbox.mkdir()
    for number in range(100):
        pixels = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((1600, 1200)).save(inbox / f"{number:03d}.jpg")
    with reviewing(photos, inbox=inbox) as running:
        page = open_page(browser, running)
        start, keys = time.perf_counter(), 0
        for number in range(100):
            wait_for(page, decided=number)
            press(page, str(1 + number % 3))
            keys += 1
        wait_for(page, decided=100)
        seconds = (time.perf_counter() - start) / 100
        assert text(page, "status") == "All images are reviewed."
    print(f"100 photographs: {keys} keys, 0 clicks, {seconds:.2f} s per image")
    manifest = (photos.parent / "reviewed.csv").read_text().splitlines()
    assert sum(row.startswith("inbox/") for row in manifest) == keys == 100


def test_an_image_that_cannot_be_shown(browser, photos):
    (photos / "can" / "can0.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    with reviewing(photos) as running:
        page = open_page(browser, running)
        assert text(page, "notice") == "This file cannot be shown as an image."
        press(page, "x")
        wait_for(page, 2)
        assert decision(running, 0) == ("drop", None)


def test_what_was_not_saved_is_said_and_stays(browser, running, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    page = open_page(browser, running)
    monkeypatch.setattr("os.fsync", full)
    press(page, "x")
    time.sleep(0.5)
    assert "No space left on device" in text(page, "failure")
    monkeypatch.undo()
    wait_for(page, 1)
    press(page, "x")
    wait_for(page, 2)
    assert text(page, "failure") == ""


def test_shortcuts_can_be_turned_off(browser, running):
    page = open_page(browser, running)
    page.find_element("id", "shortcuts").click()
    page.find_element("tag name", "h1").click()
    press(page, "x")
    time.sleep(0.3)
    assert len(running.decisions) == 0


def test_a_korean_browser_gets_korean(start_browser, running):
    with start_browser("ko") as browser:
        page = open_page(browser, running)
        assert text(page, "keep").startswith("레이블이 맞습니다")
        assert page.find_element("tag name", "html").get_attribute("lang") == "ko"
        page.find_element("css selector", "button[lang=en]").click()
        assert text(page, "keep").startswith("The label is right")


def test_both_languages_say_the_same():
    english, korean = (server.PAGE / "texts.js").read_text(encoding="utf-8").split("  ko: {")
    entries = [re.findall(r"^    (\w+): \"(.*)\",$", part, re.MULTILINE) for part in (english, korean)]
    assert [key for key, _ in entries[0]] == [key for key, _ in entries[1]]
    for (key, first), (_, second) in zip(*entries, strict=True):
        assert sorted(re.findall(r"{\w+}", first)) == sorted(re.findall(r"{\w+}", second)), key


def test_every_control_has_a_name_and_can_be_focused(browser, running):
    from selenium.webdriver.common.keys import Keys

    page = open_page(browser, running)
    assert page.execute_script(NAMED) == []
    page.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(10):
        page.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.switch_to.active_element
        reached.append(focused.get_attribute("id") or focused.get_attribute("data-label") or focused.text)
    assert reached == ["EN", "한국어", "next", "keep", "can", "jar", "tube", "drop", "undo", "shortcuts"]


def test_it_asks_nobody_else(browser, running):
    page = open_page(browser, running)
    asked = page.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert any("/image/" in name for name in asked)
    assert all(name.startswith(running.address) for name in asked)
    page.execute_script("addEventListener('securitypolicyviolation', (e) => (window.refused = e.blockedURI))")
    page.execute_async_script("const done = arguments[0]; fetch('http://localhost:1/').then(done, done)")
    assert page.execute_script("return window.refused").startswith("http://localhost:1")


@pytest.mark.slow
def test_a_hundred_images_by_keyboard(browser, tmp_path):
    photos = write_photos(tmp_path / "photos", count=34)
    with reviewing(photos) as running:
        page = open_page(browser, running)
        keys, start = 0, time.perf_counter()
        for place in range(100):
            press(page, " 123x"[place % 5])
            keys += 1
            wait_for(page, place + 2)
        seconds = time.perf_counter() - start
        print(f"{keys / 100:.2f} keys and {seconds / 100:.3f} s per image")
        assert len(running.decisions) == keys == 100
        assert seconds / 100 < 0.5
