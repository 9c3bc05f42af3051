"""The page in a real browser, through its file input, and the runtime that it computes with."""

import base64
import contextlib
import io
import json
import re
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from PIL import Image

from export import web
from recycle_tf import options
from recycle_tf.data import decode, sources
from recycle_tf.errors import UserError
from recycle_tf.evaluation import litert, rules
from recycle_tf.review import images as review_images
from tests.conftest import require, write_photos
from tests.export.conftest import RULES, served, succeed


@pytest.fixture(scope="module")
def run(mild_run, tmp_path_factory, web_runtime):
    """A run with a page and a float32 file."""
    run = shutil.copytree(mild_run, tmp_path_factory.mktemp("web") / "run")
    (run / "korean.txt").write_text("캔\n병\n튜브\n", encoding="utf-8")
    output = succeed(run, "--formats=tflite_float32,web", f"--translations=ko:{run / 'korean.txt'}")
    assert "web              verified" in output
    return run


@pytest.fixture(scope="module")
def browser(start_browser):
    with start_browser() as window:
        yield window


@pytest.fixture(scope="module")
def address(run):
    with served(run / "export" / "web") as port:
        yield address_of(port)


@pytest.fixture
def page(browser, address):
    """The page, ready to classify."""
    return open_page(browser, address)


def address_of(port):
    return f"http://127.0.0.1:{port}/"


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
    """Lets the page classify a file; returns `{label: probability}` as it shows them."""
    browser.execute_script("document.body.dataset.state = 'asked'")
    browser.find_element("id", "file").send_keys(str(file))
    wait_for(browser, "answered")
    rows = browser.find_elements("css selector", "#likelihoods li")
    return {row.get_attribute("data-label"): float(row.text.split()[-1].rstrip("%")) / 100 for row in rows}


def test_golden_images_through_the_file_input(page, run):
    golden = run / "export" / "golden"
    for row in json.loads((golden / "expected.json").read_text()):
        found = ask(page, golden / row["file"])
        expected = dict(zip(("can", "jar", "tube"), row["probabilities"]["web"], strict=True))
        # The page rounds to a tenth of a percent; every decoder gives the same pixels for a PNG.
        assert found == pytest.approx(expected, abs=2e-3)
        best = max(expected, key=expected.get)
        assert page.find_element("css selector", "#answer .name").text.lower() == best
        assert (
            page.find_element("css selector", "#answer .sure").text == f"{min(expected[best], 0.99):.0%} sure"
        )
        assert re.match(r"Computed in [\d.]+ ms on this device", page.find_element("id", "speed").text)
        assert page.find_element("id", "photo").get_attribute("alt") == "The classified photo"


@pytest.mark.parametrize("file", ["web/model.tflite", "model_float32.tflite"])
def test_the_runtime_gives_the_probabilities_of_litert(browser, run, tmp_path, file):
    folder = shutil.copytree(run / "export" / "web", tmp_path / "web")
    shutil.copyfile(run / "export" / file, tmp_path / "model.tflite")
    shutil.move(tmp_path / "model.tflite", folder / "model.tflite")
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    predict = litert.open_predictor(run / "export" / file)
    code = """
        const [pixels, done] = arguments;
        import("./network.js").then(({network}) => network)
            .then(({predict}) => predict(Uint8Array.from(pixels)))
            .then((probabilities) => done([...probabilities]), (error) => done(String(error)));
    """
    with served(folder) as port:
        open_page(browser, address_of(port))
        for image in images:
            found = browser.execute_async_script(code, image.ravel().tolist())
            np.testing.assert_allclose(found, predict(image), atol=1e-3)


def image_files():
    """`{name: bytes}`: shrunk and enlarged, rotated by Exif data, transparent, of both orientations."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    large = Image.fromarray(rough).resize((203, 151), Image.Resampling.BICUBIC)
    sideways = Image.Exif()
    sideways[0x0112] = 6
    transparent = Image.fromarray(rng.integers(0, 256, (50, 31, 4)).astype(np.uint8))

    def encode(image, kind, **options):
        content = io.BytesIO()
        image.save(content, kind, **options)
        return content.getvalue()

    return {
        "shrunk.png": encode(large, "PNG"),
        "shrunk.jpg": encode(large, "JPEG", quality=90),
        "sideways.jpg": encode(large, "JPEG", quality=90, exif=sideways),
        "enlarged.png": encode(Image.fromarray(rough[:21, :17]), "PNG"),
        "transparent.png": encode(transparent, "PNG"),
        # With bars, half of its height is 10.5 rows.
        "halves.png": encode(large.resize((64, 21)), "PNG"),
    }


@pytest.mark.parametrize("resize", options.RESIZES)
def test_an_image_is_prepared_as_in_training(page, resize):
    code = """
        const [content, resize, done] = arguments;
        import("./image.js").then(async ({decode, prepare}) => {
            const pixels = await decode(new Blob([Uint8Array.from(content)]));
            return [...prepare(pixels, 32, resize)];
        }).then(done, (error) => done(String(error)));
    """
    for name, content in image_files().items():
        found = np.array(page.execute_async_script(code, list(content), resize)).reshape(32, 32, 3)
        gap = np.abs(found - decode.decode(content, 32, resize).numpy().astype(int))
        # Equal bytes, except that browsers store transparent pixels multiplied by their alpha.
        assert gap.max() <= (1 if name == "transparent.png" else 0), name


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
    image = next((run / "export" / "golden").glob("*.png"))
    with served(folder) as port:
        open_page(browser, address_of(port))
        first, second, _ = ask(browser, image)
        answer = browser.find_element("id", "answer")
        assert answer.text.startswith("?\nNot sure\n")
        assert f"{first} or {second}" in answer.text
        browser.find_element("css selector", "button[lang=ko]").click()
        korean = {"can": "캔", "jar": "병", "tube": "튜브"}
        assert f"잘 모르겠습니다\n{korean[first]} 또는 {korean[second]}일 수 있습니다." in answer.text
        assert browser.find_element("tag name", "html").get_attribute("lang") == "ko"


@pytest.fixture
def open_with(browser, run, tmp_path):
    """Opens the page with changes of its spec, and lets it classify an image."""
    with contextlib.ExitStack() as stack:

        def open_changed(**changes):
            folder = shutil.copytree(run / "export" / "web", tmp_path / "web")
            spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
            (folder / "spec.json").write_text(json.dumps(spec | changes), encoding="utf-8")
            open_page(browser, address_of(stack.enter_context(served(folder))))
            ask(browser, next((run / "export" / "golden").glob("*.png")))
            return browser.find_element("id", "answer")

        yield open_changed


def test_the_bin_and_its_advice_in_both_languages(open_with, browser):
    place = rules.parse(RULES, "test").content(["can", "jar", "tube"])
    # No class reaches this threshold, but all go into the same bin.
    answer = open_with(rules=place, threshold=0.9999)
    first, *rest = answer.text.splitlines()
    assert (first, rest[0]) == ("This goes into", "Yellow bin")
    assert rest[1].startswith("99% sure, looks like ")
    assert rest[2:4] == ["Empty it.", "Is it greasy? If yes: Gray bin"]
    assert "Rules: Here." in rest[4]
    browser.find_element("css selector", "button[lang=ko]").click()
    for text in ("노란 통", "비우세요.", "기름이 묻었나요? 그렇다면 회색 통", "기준: 이곳."):
        assert text in answer.text
    assert "since yesterday" in browser.find_element("id", "about").get_attribute("textContent")


def test_in_doubt_the_bin_of_least_harm(open_with):
    place = rules.parse(RULES, "test").content(["can", "jar", "tube"])
    answer = open_with(rules=place, threshold=1.01)
    assert answer.text.startswith("?\nNot sure\n")
    assert "Yellow bin does the least harm" in answer.text
    assert "Empty it." not in answer.text


@pytest.mark.parametrize("name", rules.built_in())
def test_the_page_decides_as_predict_does(tmp_path, name):
    place, labels = rules.load(name), ["glass", "paper", "cardboard", "plastic", "metal", "trash"]
    rows = np.random.default_rng(0).dirichlet(np.full(6, 0.3), 300).tolist()
    spec = {"rules": place.content(labels), "labels": labels, "threshold": 0.7}
    expression = f"{json.dumps(rows)}.map((row) => page.decide({json.dumps(spec)}, row))"
    expected = [place.decide(row, labels, 0.7) for row in rows]
    assert len({one.bin for one in expected}) >= 3
    assert {one.sure for one in expected} == {True, False}
    for found, one in zip(in_node(tmp_path, "rules", expression), expected, strict=True):
        assert found.pop("probability") == pytest.approx(one.probability)
        assert found == {"bin": one.bin, "label": one.label, "sure": one.sure}


def test_an_image_unlike_those_of_training_in_both_languages(browser, run, tmp_path):
    folder = shutil.copytree(run / "export" / "web", tmp_path / "web")
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    (folder / "spec.json").write_text(json.dumps(spec | {"unlike": {"threshold": 0.0}}))
    with served(folder) as port:
        open_page(browser, address_of(port))
        ask(browser, run / "export" / "golden" / "drawn.png")
        answer = browser.find_element("id", "answer")
        assert answer.get_attribute("data-sure") == "false"
        assert answer.text.startswith("?\nI do not know this\nThe photo is unlike")
        browser.find_element("css selector", "button[lang=ko]").click()
        assert answer.text.startswith("?\n모르는 사진입니다\n")


@pytest.fixture
def unsure(browser, run, tmp_path):
    """A page that is sure of nothing."""
    folder = shutil.copytree(run / "export" / "web", tmp_path / "web")
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    (folder / "spec.json").write_text(json.dumps(spec | {"threshold": 1.01}))
    with served(folder) as port:
        yield open_page(browser, address_of(port))


def save(browser, folder):
    """Presses the button that saves photographs; returns the path of what was downloaded."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    browser.find_element("id", "save").click()
    WebDriverWait(browser, 60).until(lambda _: list(folder.glob("*.zip")))
    return next(folder.glob("*.zip"))


def test_unsure_photographs_are_saved_and_reviewed(unsure, tmp_path):
    photos = write_photos(tmp_path / "photos")
    button = unsure.find_element("id", "save")
    assert not button.is_displayed()
    given = {}
    for number, (folder, name) in enumerate([("a", "병 1.jpg"), ("b", "병 1.jpg"), ("c", "병 1-2.PNG")]):
        (tmp_path / folder).mkdir()
        given[folder] = tmp_path / folder / name
        Image.new("RGB", (60, 40), (80 * number, 99, 9)).save(given[folder])
        ask(unsure, given[folder])
        assert button.text == f"Save unsure photos ({number + 1})"
    ask(unsure, given["a"])  # The same again is not kept twice.
    unsure.find_element("css selector", "button[lang=ko]").click()
    assert button.text == "잘 모르는 사진 저장 (3)"
    (tmp_path / "downloads").mkdir()
    archive = save(unsure, tmp_path / "downloads")
    assert re.fullmatch(r"not_sure_\d{8}_\d{6}\.zip", archive.name)
    expected = {"병 1.jpg": "a", "병 1-2.jpg": "b", "병 1-2.PNG": "c"}
    with zipfile.ZipFile(archive) as content:
        assert content.testzip() is None
        assert {name: content.read(name) for name in content.namelist()} == {
            name: given[folder].read_bytes() for name, folder in expected.items()
        }
    review = review_images.collect(sources.open_source(str(photos)), tmp_path / "out.csv", inbox=archive)
    new = [review.images[index] for index in review.order]
    assert {image.name for image in new} == {f"{archive.stem}/{name}" for name in expected}
    assert all(image.label is None and image.file.is_file() for image in new)


def test_a_photograph_of_the_camera_is_saved(unsure, tmp_path):
    unsure.find_element("id", "camera").click()
    wait_for(unsure, "live")
    unsure.find_element("id", "shutter").click()
    wait_for(unsure, "answered")
    with zipfile.ZipFile(save(unsure, tmp_path)) as content:
        (member,) = content.infolist()
        image = Image.open(io.BytesIO(content.read(member)))
    assert re.fullmatch(r"camera_\d{8}_\d{6}\.jpg", member.filename)
    natural = "const {naturalWidth, naturalHeight} = document.getElementById('photo');"
    assert [*image.size] == unsure.execute_script(f"{natural} return [naturalWidth, naturalHeight]")


def test_sure_answers_are_not_saved(page, run):
    ask(page, next((run / "export" / "golden").glob("*.png")))
    assert page.find_element("id", "answer").get_attribute("data-sure") == "true"
    assert not page.find_element("id", "save").is_displayed()


def test_python_reads_what_the_page_packs(tmp_path):
    given = {"a.jpg": b"123456789", "사진 é.png": bytes(range(256)) * 300, "empty.gif": b""}
    encoded = [[name, base64.b64encode(content).decode()] for name, content in given.items()]
    expression = f"""
        (await Promise.all({json.dumps(encoded)}.map(async ([name, content]) => {{
            const bytes = new Uint8Array(Buffer.from(content, "base64"));
            const date = new Date(2026, 10, 27, 23, 59, 58);
            return {{name, date, crc: page.crc32(bytes), blob: new Blob([bytes])}};
        }})).then((files) => page.zip(files).arrayBuffer())
            .then((all) => Buffer.from(all).toString("base64")))
    """
    packed = base64.b64decode(in_node(tmp_path, "zip", expression))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == given
        assert archive.infolist()[0].CRC == 0xCBF43926  # The check value of CRC-32.
        assert {member.date_time for member in archive.infolist()} == {(2026, 11, 27, 23, 59, 58)}


def test_a_korean_browser_shows_korean(start_browser, address, run):
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
    assert page.find_element("id", "photo").get_attribute("src").startswith("blob:")
    assert page.execute_script("return document.getElementById('photo').naturalWidth") > 0


def test_nothing_else_begins_while_a_camera_starts(page):
    """Of two streams, one would never be stopped."""
    page.execute_script("""
        navigator.mediaDevices.getUserMedia = () => new Promise((_, refuse) => (window.refuse = refuse));
    """)
    page.find_element("id", "camera").click()
    page.find_element("css selector", ".languages button[lang=ko]").click()
    for name in ("camera", "choose"):
        assert not page.find_element("id", name).is_enabled()
    page.execute_script("window.refuse(new Error('no'))")
    wait_for(page, "noCamera")
    assert page.find_element("id", "camera").is_enabled()


@pytest.mark.parametrize("media", ["{getUserMedia: () => Promise.reject(new Error('none'))}", "undefined"])
def test_without_a_camera(page, media):
    page.execute_script(f"""
        Object.defineProperty(navigator, "mediaDevices", {{value: {media}}});
        document.getElementById("snapshot").click = () => (document.body.dataset.state = "snapshot");
    """)
    page.find_element("id", "camera").click()
    if media == "undefined":  # Over http: the camera app of the phone takes the photo.
        wait_for(page, "snapshot")
    else:
        wait_for(page, "noCamera")
        assert page.find_element("id", "answer").text.startswith("No camera")


def test_a_file_that_is_not_an_image(page, tmp_path):
    (tmp_path / "letter.jpg").write_text("not an image")
    page.find_element("id", "file").send_keys(str(tmp_path / "letter.jpg"))
    wait_for(page, "unreadable")
    assert page.find_element("id", "answer").text.startswith("The browser cannot read")
    assert not page.find_element("id", "photo").is_displayed()


def test_a_page_without_its_network_says_so(browser, run, tmp_path):
    folder = shutil.copytree(run / "export" / "web", tmp_path / "web")
    (folder / "model.tflite").unlink()
    with served(folder) as port:
        browser.get(address_of(port))
        wait_for(browser, "failed")
        assert browser.find_element("id", "answer").text.startswith("The network could not be loaded.")


def test_the_page_loads_nothing_from_other_sites(page, address, run):
    ask(page, next((run / "export" / "golden").glob("*.png")))
    asked = page.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert any(name.endswith(".wasm") for name in asked)
    assert not [name for name in asked if not name.startswith((address, "blob:"))]
    # The browser enforces this: a request to another site violates the page's policy.
    code = "const done = arguments[0]; fetch('http://localhost:1/').then(done, (e) => done(String(e)))"
    page.execute_script("addEventListener('securitypolicyviolation', (e) => (window.refused = e.blockedURI))")
    page.execute_async_script(code)
    assert page.execute_script("return window.refused").startswith("http://localhost:1")


def in_node(tmp_path, module, expression):
    """The value of an expression of what a module of the page exports, in Node."""
    require("node")
    (tmp_path / f"{module}.mjs").write_text((web.PAGE / f"{module}.js").read_text(encoding="utf-8"))
    code = f"import * as page from './{module}.mjs'; console.log(JSON.stringify({expression}))"
    (tmp_path / "test.mjs").write_text(code)
    result = subprocess.run(["node", "test.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


NAMES_OF_PROPERTIES = ["constructor", "toString", "__proto__", "hasOwnProperty"]


def test_classes_may_be_called_like_properties_of_objects(tmp_path):
    expression = f"{json.dumps([*NAMES_OF_PROPERTIES, 'glass'])}.map((label, i) => page.bin(label, i))"
    *others, glass = in_node(tmp_path, "bins", expression)
    assert len({one["color"] for one in others}) == len(others)
    assert len({one["drawing"] for one in others}) == 1
    assert all(one["drawing"].startswith("<svg") for one in others)
    assert glass["drawing"] != others[0]["drawing"]


def test_the_page_shows_classes_that_are_called_like_properties(browser, run, tmp_path):
    folder = shutil.copytree(run / "export" / "web", tmp_path / "web")
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    spec = {key: value for key, value in spec.items() if key != "labels_ko"}
    labels = NAMES_OF_PROPERTIES[:3]
    (folder / "spec.json").write_text(json.dumps(spec | {"labels": labels}))
    with served(folder) as port:
        open_page(browser, address_of(port))
        found = ask(browser, next((run / "export" / "golden").glob("*.png")))
    assert sorted(found) == sorted(labels)
    assert sum(found.values()) == pytest.approx(1, abs=0.01)


def test_both_languages_have_the_same_texts(tmp_path):
    english, korean = (in_node(tmp_path, "texts", f"page.TEXTS.{language}") for language in ("en", "ko"))
    assert list(english) == list(korean)
    for key in english:
        assert sorted(re.findall(r"{\w+}", english[key])) == sorted(re.findall(r"{\w+}", korean[key])), key


def test_white_is_readable_on_every_color(tmp_path):
    colors = set(re.findall(r"#[0-9a-f]{6}", (web.PAGE / "bins.js").read_text(encoding="utf-8")))
    assert len(colors) > 6
    light = ["#ffffff", "#ffd000", "#2aa7b8"]
    colors |= set(
        in_node(tmp_path, "bins", f"{json.dumps(light)}.map((one) => page.container(one, 0).color)")
    )
    assert in_node(tmp_path, "bins", "page.container('#333333', 0).color") == "#333333"
    for color in colors:
        part = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        # WCAG 2.2, relative luminance; 4.5 is level AA.
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5, color


def test_the_keyboard_reaches_everything(page):
    from selenium.webdriver.common.keys import Keys

    reached = []
    for _ in range(5):
        page.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.switch_to.active_element
        reached.append(focused.get_attribute("id") or focused.get_attribute("lang") or focused.tag_name)
    assert reached == ["en", "ko", "camera", "choose", "summary"]


def test_no_runtime(monkeypatch, tmp_path):
    offline = f".*npm pack {' '.join(web.PACKAGES)}.*`web_runtime=FOLDER`"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=f"npm.* is not installed{offline}"):
        web.open_runtime()
    (tmp_path / "npm").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    with pytest.raises(UserError, match=f"npm could not download LiteRT.js{offline}"):
        web.open_runtime()


def test_a_runtime_from_a_folder(tmp_path, web_runtime):
    with pytest.raises(UserError, match=rf"web_runtime={tmp_path}.*litertjs-core-2\.5\.3\.tgz"):
        web.open_runtime(tmp_path)
    (tmp_path / "litertjs-core-2.5.3.tgz").write_bytes(b"another")
    with pytest.raises(UserError, match=rf"{tmp_path}/litertjs-core-2\.5\.3\.tgz: .*SHA-256"):
        web.open_runtime(tmp_path)
    command = ["npm", "pack", "--prefer-offline", f"--pack-destination={tmp_path}", *web.PACKAGES]
    subprocess.run(command, check=True, capture_output=True)
    assert web.open_runtime(tmp_path) == web_runtime
