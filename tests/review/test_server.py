"""The server: who may ask, for what, and what it never sends."""

import io
import json

import pytest
from PIL import Image

from recycle_tf.errors import UserError
from recycle_tf.review import images, server
from tests.review.conftest import ask, reviewing


@pytest.fixture
def running(photos):
    with reviewing(photos) as running:
        yield running


def test_the_page_and_its_files(running):
    for name, kind in {**server.TYPES, "": "text/html; charset=utf-8"}.items():
        status, headers, content = ask(running, name)
        assert (status, headers["Content-Type"]) == (200, kind)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert b"http://" not in content.replace(b'xmlns="http://www.w3.org/2000/svg"', b""), name
        assert b"https://" not in content, name


def test_it_listens_on_this_machine_only(running):
    assert running.server_address[0] == "127.0.0.1"
    assert len(running.token) >= 32
    assert running.address.endswith(f"/{running.token}/")


@pytest.mark.parametrize("place", ["", "state", "page.js", "image/0"])
@pytest.mark.parametrize("token", ["", "x", "%00", "wrong" * 8])
def test_without_the_token_there_is_nothing(running, place, token):
    assert ask(running, place, token=token)[0] == 404
    assert ask(running, "decide", {"image": 0, "action": "drop"}, token=token)[0] == 404
    assert len(running.decisions) == 0


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "[::1]:{port}"]
)
def test_another_host_is_refused(running, host):
    host = host.format(port=running.server_port)
    assert ask(running, "state", headers={"Host": host})[0] == 404
    assert ask(running, "undo", {}, headers={"Host": host})[0] == 404


def test_localhost_is_this_machine(running):
    assert ask(running, "", headers={"Host": f"localhost:{running.server_port}"})[0] == 200


@pytest.mark.parametrize(
    "place",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "image/../../photos/can/can0.png",
        "image/can/can0.png",
        "image//etc/passwd",
        "image/-1",
        "image/36",
        "image/999999999999999",
        "image/0/",
        "thumbnail/",
        "__init__.py",
        "page/index.html",
        "state?x",
    ],
)
def test_nothing_but_its_images_is_sent(running, place):
    assert ask(running, place)[0] == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_other_methods(running, method):
    assert ask(running, "state", method=method)[0] == 501


def test_methods_are_not_interchangeable(running):
    assert ask(running, "state", {})[0] == 404
    assert ask(running, "decide")[0] == 404
    assert ask(running, "undo")[0] == 404


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"[" * 4000, {}, 400),
        (b"\xff", {}, 400),
        (b"x" * 5000, {}, 413),
        ({"image": 0, "action": "drop"}, {"Content-Type": "text/plain"}, 415),
        ({"image": 0, "action": "drop"}, {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"image": 0, "action": "drop"}, {"Origin": "http://evil.example"}, 403),
        ({"image": 0, "action": "drop"}, {"Origin": "null"}, 403),
        ({"image": 0, "action": "drop"}, {"Content-Length": "x"}, 411),
        ({"image": 0}, {}, 400),
        ({"image": 0, "action": "delete"}, {}, 400),
        ({"image": 0, "action": "move"}, {}, 400),
        ({"image": 0, "action": "move", "label": "cup"}, {}, 400),
        ({"image": 36, "action": "drop"}, {}, 400),
        ({"image": -1, "action": "drop"}, {}, 400),
        ({"image": "0", "action": "drop"}, {}, 400),
        ({"image": True, "action": "drop"}, {}, 400),
        ({"image": 0, "action": ["drop"]}, {}, 400),
        ({"image": 0, "action": "move", "label": ["can"]}, {}, 400),
    ],
)
def test_requests_that_change_nothing(running, body, headers, status):
    assert ask(running, "decide", body, headers=headers)[0] == status
    assert len(running.decisions) == 0


def test_decide_and_undo(running):
    _, _, content = ask(running, "state")
    before = json.loads(content)
    assert before["labels"] == ["can", "jar", "tube"]
    status, _, content = ask(running, "decide", {"image": 3, "action": "move", "label": "tube"})
    assert (status, json.loads(content)["decision"]) == (200, {"action": "move", "label": "tube"})
    now = json.loads(ask(running, "state")[2])
    assert now["decided"] == 1
    assert json.loads(ask(running, "undo", {})[2]) == {"image": 3, "decision": None, "decided": 0}
    assert json.loads(ask(running, "state")[2]) == before
    assert json.loads(ask(running, "undo", {})[2])["image"] is None


def test_a_disk_that_is_full_is_reported(running, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    status, _, content = ask(running, "decide", {"image": 0, "action": "drop"})
    assert (status, json.loads(content)) == (507, {"error": "No space left on device"})
    monkeypatch.undo()
    assert len(running.decisions) == 0
    assert running.decisions.journal.read_bytes() == b""


def one(file, root=None):
    return images.ReviewImage(file.name, file, root or file.parent, "can", "train", "")


def test_images_are_upright_and_small(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (3000, 1500), "red").save(tmp_path / "large.jpg", exif=exif)
    with Image.open(io.BytesIO(server.render(one(tmp_path / "large.jpg"), 320))) as shown:
        assert (shown.format, shown.size) == ("JPEG", (160, 320))
        assert not shown.getexif()


def test_transparent_pixels_show_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    with Image.open(io.BytesIO(server.render(one(tmp_path / "clear.png"), 320))) as shown:
        assert min(shown.getpixel((4, 4))) > 250


def test_files_that_are_not_shown(tmp_path, monkeypatch):
    inside, outside = tmp_path / "in", tmp_path / "secret.png"
    inside.mkdir()
    Image.new("RGB", (8, 8)).save(outside)
    (inside / "link.png").symlink_to(outside)
    (inside / "page.png").write_text("<script>alert(1)</script>")
    (inside / "cut.png").write_bytes(outside.read_bytes()[:45])
    Image.new("RGB", (8, 8)).save(inside / "fine.png")
    for name in ("link.png", "page.png", "cut.png", "gone.png"):
        with pytest.raises(UserError, match=name):
            server.render(one(inside / name), 320)
    monkeypatch.setattr(server, "MAX_FILE", 10)
    with pytest.raises(UserError, match=r"fine\.png"):
        server.render(one(inside / "fine.png"), 320)


def test_an_image_that_cannot_be_shown_is_no_error_of_the_server(photos):
    (photos / "can" / "can0.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    with reviewing(photos) as running:
        names = [image.name for image in running.review.images]
        assert ask(running, f"image/{names.index('photos/can/can0.png')}")[0] == 415
        assert ask(running, f"image/{names.index('photos/can/can1.png')}")[1]["Content-Type"] == "image/jpeg"


def test_a_port_that_is_taken(running, photos):
    with pytest.raises(UserError, match=f"`port={running.server_port}`"):
        server.Server(running.review, running.decisions, running.server_port)
