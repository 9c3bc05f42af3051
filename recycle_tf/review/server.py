"""The web server of a review, for this machine alone.

It listens on 127.0.0.1 and answers only requests whose address begins with a random token and whose `Host`
names this server, so that neither other users of the machine nor web pages in the same browser (DNS rebinding
included) can reach it. Images are asked for by number, never by path, and are sent as new, smaller JPEGs.
"""

import hmac
import http.server
import importlib.resources
import io
import json
import re
import secrets
import shlex
import sys
import threading

from PIL import Image

from recycle_tf.data import decode, near_duplicates
from recycle_tf.errors import UserError
from recycle_tf.review.decisions import InvalidDecisionError

PAGE = importlib.resources.files(__package__) / "page"
TYPES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "texts.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

SIDES = {"image": 1280, "thumbnail": 320}
"""Longest side of an image as it is sent, in pixels."""

MAX_BODY = 4096
"""Bytes of a request; a decision has about a hundred."""

MAX_FILE = 200_000_000
"""Bytes of an image file that is opened."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

_RENDERING = threading.Semaphore(4)
"""Images decoded at once: each may take hundreds of megabytes."""


class Server(http.server.ThreadingHTTPServer):
    """Serves the page of one review.

    Args:
        review: an `images.Review`.
        decisions: its `decisions.Decisions`.
        port: where to listen; 0 for any that is free.

    Raises:
        UserError: the port is taken, or not permitted.
    """

    daemon_threads = True

    def __init__(self, review, decisions, port=0):
        self.review, self.decisions = review, decisions
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"`port={port}`: {reason}; choose another, or 0 for any") from error

    @property
    def address(self):
        """The address of the page, with its token."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def handle_error(self, request, client_address):
        """Ignores browsers that disconnect before they have received everything."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers `GET` for the page, its state and its images, and `POST` for decisions."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "review", ""
    timeout = 60
    """Seconds after which an idle connection is closed."""

    def do_GET(self):  # noqa: N802  (the base class asks for this name)
        """Sends a file of the page, the state as JSON, or an image as JPEG."""
        place = self._place()
        image = re.fullmatch(r"(image|thumbnail)/(\d{1,9})", place or "")
        if place is None:
            self._refuse(404)
        elif place == "state":
            self._send_json(state(self.server.review, self.server.decisions))
        elif image:
            self._send_image(int(image[2]), SIDES[image[1]])
        elif (name := place or "index.html") in TYPES:
            self._send(200, (PAGE / name).read_bytes(), TYPES[name])
        else:
            self._refuse(404)

    def do_POST(self):  # noqa: N802
        """Saves a decision, or takes the last one back."""
        place = self._place()
        if place not in ("decide", "undo"):
            return self._refuse(404)
        body = self._body()
        if body is None:
            return None
        decisions = self.server.decisions
        try:
            if place == "undo":
                index = decisions.undo()
            else:
                index = body.get("image")
                decisions.decide(index, body.get("action"), body.get("label"))
        except InvalidDecisionError:
            return self._refuse(400)
        except OSError as error:
            return self._send_json({"error": error.strerror or str(error)}, 507)
        return self._send_json(
            {"image": index, "decision": _decision(decisions, index), "decided": len(decisions)}
        )

    def log_message(self, format, *args):
        """Does not log requests: they contain the token."""

    def _place(self):
        """The part of the address after the token; None where host or token are wrong."""
        port = self.server.server_port
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            return None
        token, slash, place = self.path.removeprefix("/").partition("/")
        right = hmac.compare_digest(token.encode(), self.server.token.encode())
        return place if right and slash else None

    def _body(self):
        """The JSON object in a request; None, and an answer is sent, if there is no such thing."""
        origin, port = self.headers.get("Origin"), self.server.server_port
        if origin not in (None, f"http://127.0.0.1:{port}", f"http://localhost:{port}"):
            return self._refuse(403)
        if self.headers.get_content_type() != "application/json":
            return self._refuse(415)
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,9}", length):
            return self._refuse(411)
        if int(length) > MAX_BODY:
            return self._refuse(413)
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return self._refuse(400)
        return body if isinstance(body, dict) else self._refuse(400)

    def _send_image(self, index, side):
        images = self.server.review.images
        if index >= len(images):
            return self._refuse(404)
        try:
            with _RENDERING:
                content = render(images[index], side)
        except UserError:
            return self._refuse(415)
        return self._send(200, content, "image/jpeg", "private, max-age=3600")

    def _send_json(self, value, status=200):
        self._send(status, json.dumps(value, ensure_ascii=False).encode("utf-8"), "application/json")

    def _refuse(self, status):
        # What is left of the request is not read, so that nothing may follow on this connection.
        self.close_connection = True
        self._send(status, http.HTTPStatus(status).phrase.encode(), "text/plain")

    def _send(self, status, content, kind, cache="no-store"):
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": cache,
            "Content-Security-Policy": POLICY,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


def render(image, side):
    """An image as it is shown: upright, no longer than `side`.

    Args:
        image: an `images.ReviewImage`.
        side: in pixels.

    Returns:
        The bytes of a JPEG.

    Raises:
        UserError: the file is gone, lies outside its folder by now, is too large or is not an image.
    """
    try:
        file = image.file.resolve(strict=True)
        if not file.is_relative_to(image.root.resolve()) or file.stat().st_size > MAX_FILE:
            raise UserError(f"{image.name}: outside its folder, or too large")
        decode.check_file(file)
        with Image.open(file, formats=decode.FORMATS) as opened:
            opened.draft("RGB", (side, side))
            upright = near_duplicates.upright(opened, near_duplicates.orientation(opened))
            upright.thumbnail((side, side))
            pixels = decode.to_rgb(upright)
    except UserError:
        raise
    except Exception as error:
        # Pillow's parsers raise errors of many kinds for damaged files.
        raise UserError(f"{image.name}: cannot be shown ({type(error).__name__})") from error
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def state(review, decisions):
    """What the page starts with: classes, and the images in the order of the review."""
    return {
        "labels": review.labels,
        "out": str(decisions.out),
        "command": f"python -m recycle_tf train {shlex.quote(f'--dataset={decisions.out}')}",
        "decided": len(decisions),
        "images": [
            {
                **_brief(review, index),
                "split": review.images[index].split,
                "new": review.images[index].label is None,
                "decision": _decision(decisions, index),
                "reasons": [
                    {
                        "kind": reason.kind,
                        "detail": reason.detail,
                        "suggested": reason.suggested,
                        "probability": reason.probability,
                        "others": [_brief(review, other) for other in reason.others],
                    }
                    for reason in review.reasons.get(index, ())
                ],
            }
            for index in review.order
        ],
    }


def _brief(review, index):
    image = review.images[index]
    return {"image": index, "name": image.name, "label": image.label}


def _decision(decisions, index):
    decision = None if index is None else decisions.of(index)
    return decision and {"action": decision.action, "label": decision.label}
