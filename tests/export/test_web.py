"""The page in a real browser, fed through its own file input; what it computes with; and `serve`."""

import contextlib
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest
from PIL import Image

from export import serve, web
from recycle_tf import options
from recycle_tf.data import decode
from recycle_tf.errors import UserError
from recycle_tf.evaluation import litert
from tests.conftest import ROOT, run_python
from tests.export.conftest import run_export
from tests.test_train import check_refused


@pytest.fixture(scope="module")
def run(finished_run, tmp_path_factory):
    """A run whose page and float32 file are written."""
    run = shutil.copytree(finished_run, tmp_path_factory.mktemp("web") / "run")
    (run / "korean.txt").write_text("캔\n병\n튜브\n", encoding="utf-8")
    result = run_export(run, "--formats=tflite_float32,web")
    assert result.returncode == 0, result.stderr
    assert "web              verified" in result.stdout
    return run


@pytest.fixture(scope="module")
def start_browser(tmp_path_factory):
    """Starts headless Chromium in a language."""
    from selenium import webdriver

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        pytest.fail("the page is tested in Chromium: `apt-get install chromium chromium-driver`")

    @contextlib.contextmanager
    def start(language="en"):
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        options.add_experimental_option("prefs", {"intl.accept_languages": language})
        for flag in (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--lang={language}",
            f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
        ):
            options.add_argument(flag)
        window = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            yield window
        finally:
            window.quit()

    return start


@pytest.fixture(scope="module")
def browser(start_browser):
    with start_browser() as window:
        yield window


@contextlib.contextmanager
def served(folder):
    """The address of a folder's files."""
    with serve.open_server(folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def address(run):
    with served(run / "export" / "web") as address:
        yield address


@pytest.fixture
def page(browser, address):
    """The page, its network loaded."""
    return open_page(browser, address)


def open_page(browser, address):
    browser.get(address)
    wait_for(browser, "ready")
    return browser


def wait_for(browser, state):
    from selenium.webdriver.support.ui import WebDriverWait

    def reached(_):
        return browser.execute_script("return document.body.dataset.state") == state

    WebDriverWait(browser, 60).until(reached)


def ask(browser, file):
    """Gives the page a file; returns `{label: share}` as it shows them."""
    browser.execute_script("document.body.dataset.state = 'asked'")
    browser.find_element("id", "file").send_keys(str(file))
    wait_for(browser, "answered")
    rows = browser.find_elements("css selector", "#likelihoods li")
    return {row.get_attribute("data-label"): float(row.text.split()[-1].rstrip("%")) / 100 for row in rows}


def test_golden_pictures_through_the_file_input(page, run):
    golden = run / "export" / "golden"
    for row in json.loads((golden / "expected.json").read_text()):
        found = ask(page, golden / row["file"])
        expected = dict(zip(("can", "jar", "tube"), row["probabilities"]["web"], strict=True))
        # Shown to a tenth of a per cent; of a PNG every decoder makes the same pixels.
        assert found == pytest.approx(expected, abs=2e-3)
        best = max(expected, key=expected.get)
        assert page.find_element("css selector", "#answer .name").text.lower() == best
        assert (
            page.find_element("css selector", "#answer .sure").text == f"{min(expected[best], 0.99):.0%} sure"
        )
        assert re.match(r"Computed in [\d.]+ ms on this device", page.find_element("id", "speed").text)
        assert page.find_element("id", "picture").get_attribute("alt") == "The picture that was asked about"


@pytest.mark.parametrize("file", ["web/model.tflite", "model_float32.tflite"])
def test_the_runtime_gives_the_probabilities_of_litert(browser, run, tmp_path, file):
    folder = shutil.copytree(run / "export" / "web", tmp_path / "web")
    shutil.copyfile(run / "export" / file, tmp_path / "model.tflite")
    shutil.move(tmp_path / "model.tflite", folder / "model.tflite")
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    predict = litert.open_predictor(run / "export" / file)
    code = """
        const [pixels, done] = arguments;
        import("./network.js").then(({network}) => network)
            .then(({predict}) => predict(Uint8Array.from(pixels)))
            .then((probabilities) => done([...probabilities]), (error) => done(String(error)));
    """
    with served(folder) as address:
        open_page(browser, address)
        for picture in pictures:
            found = browser.execute_async_script(code, picture.ravel().tolist())
            np.testing.assert_allclose(found, predict(picture), atol=1e-3)


def pictures():
    """`{name: bytes}`: shrunk and enlarged, lying on its side, see-through, of both orientations."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    large = Image.fromarray(rough).resize((203, 151), Image.Resampling.BICUBIC)
    sideways = Image.Exif()
    sideways[0x0112] = 6
    see_through = Image.fromarray(rng.integers(0, 256, (50, 31, 4)).astype(np.uint8))

    def encode(picture, kind, **options):
        content = io.BytesIO()
        picture.save(content, kind, **options)
        return content.getvalue()

    return {
        "shrunk.png": encode(large, "PNG"),
        "shrunk.jpg": encode(large, "JPEG", quality=90),
        "sideways.jpg": encode(large, "JPEG", quality=90, exif=sideways),
        "enlarged.png": encode(Image.fromarray(rough[:21, :17]), "PNG"),
        "see_through.png": encode(see_through, "PNG"),
    }


@pytest.mark.parametrize("resize", options.RESIZES)
def test_a_picture_is_prepared_as_for_the_training(page, resize):
    code = """
        const [content, resize, done] = arguments;
        import("./picture.js").then(async ({decode, prepare}) => {
            const pixels = await decode(new Blob([Uint8Array.from(content)]));
            return [...prepare(pixels, 32, resize)];
        }).then(done, (error) => done(String(error)));
    """
    for name, content in pictures().items():
        found = np.array(page.execute_async_script(code, list(content), resize)).reshape(32, 32, 3)
        gap = np.abs(found - decode.decode(content, 32, resize).numpy().astype(int))
        # To the byte; but browsers keep what is seen through multiplied with its alpha.
        assert gap.max() <= (1 if name == "see_through.png" else 0), name


def test_jpegs_through_the_file_input(page, run, tmp_path):
    predict = litert.open_predictor(run / "export" / "web" / "model.tflite")
    for path in (run / "export" / "golden").glob("*.png"):
        photo = tmp_path / f"{path.stem}.jpg"
        Image.open(path).resize((203, 151), Image.Resampling.BICUBIC).save(photo, quality=95)
        expected = predict(decode.decode(photo.read_bytes(), 32).numpy())
        np.testing.assert_allclose(list(ask(page, photo).values()), sorted(expected)[::-1], atol=1e-3)


def test_below_the_threshold_it_is_not_sure_in_both_languages(browser, run, tmp_path):
    folder = shutil.copytree(run / "export" / "web", tmp_path / "web")
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    (folder / "spec.json").write_text(json.dumps(spec | {"threshold": 1.01}))
    picture = next((run / "export" / "golden").glob("*.png"))
    with served(folder) as address:
        open_page(browser, address)
        first, second, _ = ask(browser, picture)
        answer = browser.find_element("id", "answer")
        assert answer.text.startswith(f"?\nNot sure\nIt may be {first} or {second}.")
        browser.find_element("css selector", "button[lang=ko]").click()
        korean = {"can": "캔", "jar": "병", "tube": "튜브"}
        assert f"잘 모르겠습니다\n{korean[first]} 또는 {korean[second]}일 수 있습니다." in answer.text
        assert browser.find_element("tag name", "html").get_attribute("lang") == "ko"


def test_a_korean_browser_gets_korean(start_browser, address, run):
    with start_browser("ko") as browser:
        open_page(browser, address)
        assert browser.find_element("tag name", "h1").text == "어디에 버릴까요?"
        ask(browser, next((run / "export" / "golden").glob("*.png")))
        assert browser.find_element("css selector", "#answer .name").text in ("캔", "병", "튜브")


def test_the_camera(page):
    page.find_element("id", "camera").click()
    wait_for(page, "live")
    page.find_element("id", "stop").click()
    wait_for(page, "ready")
    page.find_element("id", "camera").click()
    wait_for(page, "live")
    page.find_element("id", "shutter").click()
    wait_for(page, "answered")
    assert page.find_element("id", "picture").get_attribute("src").startswith("data:image/jpeg")


@pytest.mark.parametrize("media", ["{getUserMedia: () => Promise.reject(new Error('none'))}", "undefined"])
def test_without_a_camera(page, media):
    page.execute_script(f"""
        Object.defineProperty(navigator, "mediaDevices", {{value: {media}}});
        document.getElementById("snapshot").click = () => (document.body.dataset.state = "snapshot");
    """)
    page.find_element("id", "camera").click()
    if media == "undefined":  # A page from http: the phone's own camera takes the picture.
        wait_for(page, "snapshot")
    else:
        wait_for(page, "noCamera")
        assert page.find_element("id", "answer").text.startswith("There is no camera")


def test_a_file_that_is_no_picture(page, tmp_path):
    (tmp_path / "letter.jpg").write_text("no picture")
    page.find_element("id", "file").send_keys(str(tmp_path / "letter.jpg"))
    wait_for(page, "unreadable")
    assert page.find_element("id", "answer").text.startswith("This file is not a picture")
    assert not page.find_element("id", "picture").is_displayed()


def test_without_its_network_it_says_so(browser, run, tmp_path):
    folder = shutil.copytree(run / "export" / "web", tmp_path / "web")
    (folder / "model.tflite").unlink()
    with served(folder) as address:
        browser.get(address)
        wait_for(browser, "failed")
        assert browser.find_element("id", "answer").text.startswith("The network could not be loaded.")


def test_it_asks_nobody_else(page, address, run):
    ask(page, next((run / "export" / "golden").glob("*.png")))
    asked = page.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert any(name.endswith(".wasm") for name in asked)
    assert not [name for name in asked if not name.startswith((address, "blob:"))]
    # And it could not if it would: the browser holds it to its own policy.
    code = "const done = arguments[0]; fetch('http://localhost:1/').then(done, (e) => done(String(e)))"
    page.execute_script("addEventListener('securitypolicyviolation', (e) => (window.refused = e.blockedURI))")
    page.execute_async_script(code)
    assert page.execute_script("return window.refused").startswith("http://localhost:1")


def test_both_languages_say_the_same(page):
    code = """
        const done = arguments[0];
        import("./texts.js").then(({TEXTS}) => done(TEXTS));
    """
    english, korean = (page.execute_async_script(code)[language] for language in ("en", "ko"))
    assert list(english) == list(korean)
    for key in english:
        assert sorted(re.findall(r"{\w+}", english[key])) == sorted(re.findall(r"{\w+}", korean[key])), key


def test_white_can_be_read_on_every_bin():
    colours = set(re.findall(r"#[0-9a-f]{6}", (web.PAGE / "bins.js").read_text(encoding="utf-8")))
    assert len(colours) > 6
    for colour in colours:
        part = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        # WCAG 2.2, relative luminance; 4.5 is level AA.
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5, colour


def test_the_keyboard_reaches_everything(page):
    from selenium.webdriver.common.keys import Keys

    reached = []
    for _ in range(5):
        page.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.switch_to.active_element
        reached.append(focused.get_attribute("id") or focused.get_attribute("lang") or focused.tag_name)
    assert reached == ["en", "ko", "camera", "choose", "summary"]


def test_serve(run):
    process = subprocess.Popen(
        [sys.executable, "-m", "export", "serve", f"--run={run}", "--port=0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal; a process that a shell started in the background ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    address = re.match(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
    types = {"/": "text/html", "/page.js": "text/javascript", "/icon.svg": "image/svg+xml"}
    types["/runtime/litert_wasm_internal.wasm"] = "application/wasm"
    for path, kind in types.items():
        with urllib.request.urlopen(address + path) as answer:
            assert answer.headers.get_content_type() == kind
            assert answer.headers["Cache-Control"] == "no-cache"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_serve_without_a_page(finished_run):
    check_refused(
        run_python("-m", "export", "serve", f"--run={finished_run}"),
        f"no page yet; `python -m export --run={finished_run} --formats=web` writes it",
    )
    check_refused(run_python("-m", "export", "serve"), "--run: missing; give a folder that train.py wrote")


def test_serve_on_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port={port}: Address already in use; choose another"):
            serve.open_server(tmp_path, port)


def test_no_runtime(monkeypatch, tmp_path):
    offline = re.escape(
        "elsewhere `npm pack @litertjs/core@2.5.3 @litertjs/wasm-utils@2.5.3` writes two archives: "
        "put them into a folder, and add --web_runtime=FOLDER"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=f"npm, which fetches LiteRT.js, is not installed; {offline}"):
        web.open_runtime()
    (tmp_path / "npm").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    with pytest.raises(UserError, match=rf"npm could not fetch LiteRT.js; is there a network\? {offline}"):
        web.open_runtime()


def test_a_runtime_from_a_folder(tmp_path):
    with pytest.raises(UserError, match=r"has no litertjs-core-2.5.3.tgz; `npm pack @litertjs/core@2.5.3`"):
        web.open_runtime(tmp_path)
    (tmp_path / "litertjs-core-2.5.3.tgz").write_bytes(b"another")
    with pytest.raises(UserError, match=r"not the bytes of @litertjs/core@2.5.3; `npm pack @litertjs/core"):
        web.open_runtime(tmp_path)
    command = ["npm", "pack", "--prefer-offline", f"--pack-destination={tmp_path}", *web.PACKAGES]
    subprocess.run(command, check=True, capture_output=True)
    assert web.open_runtime(tmp_path) == web.open_runtime()


def test_a_browser_that_leaves_is_no_error(tmp_path, capfd):
    (tmp_path / "large").write_bytes(bytes(30_000_000))
    with served(tmp_path) as address:
        for _ in range(3):
            urllib.request.urlopen(address + "large").close()
        with urllib.request.urlopen(address + "large") as answer:
            assert len(answer.read()) == 30_000_000
    assert capfd.readouterr() == ("", "")
