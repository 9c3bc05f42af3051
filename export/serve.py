"""Serves a run's web page on this machine: `python -m export serve --run=RUN`.

    python -m export serve --run=runs/mine --port=8000

This is for trying it out. Any server for static files can publish the folder export/web; a browser allows a
page to use the live camera only over https or on localhost.
"""

import functools
import http
import http.server
import os
import re
import sys

from absl import flags

from recycle_tf import cli, runs
from recycle_tf.errors import UserError

from . import record

HOSTS = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)
"""Host headers that are answered: a page of another site, whose name resolves to this machine, is not."""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder, to pages of this machine only."""

    timeout = 30
    """Seconds to wait for a client that has stopped sending or reading."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        # Operating systems disagree on these, and browsers reject modules of another type.
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".svg": "image/svg+xml",
    }

    def send_head(self):
        """Sends the headers of a file, or an error; files outside the folder are not found."""
        if not HOSTS.fullmatch(self.headers.get("Host", "")):
            return self.send_error(http.HTTPStatus.FORBIDDEN)
        try:
            path = os.path.realpath(self.translate_path(self.path))
        except ValueError:  # a null character
            return self.send_error(http.HTTPStatus.BAD_REQUEST)
        root = os.path.realpath(self.directory)
        if os.path.commonpath([root, path]) != root:
            return self.send_error(http.HTTPStatus.NOT_FOUND)
        return super().send_head()

    def list_directory(self, path):
        """Folders without an index.html are not listed."""
        self.send_error(http.HTTPStatus.NOT_FOUND)

    def end_headers(self):
        """Makes browsers check for a newer version of every file."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format, *args):
        """Requests are not logged."""


class Server(http.server.ThreadingHTTPServer):
    """A server that ignores connections that clients close or abandon."""

    def handle_error(self, request, client_address):
        """Reports an error, unless the client closed the connection or has stopped reading."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def serve(argv):
    """Serves the page until Ctrl-C.

    Raises:
        UserError: an invalid flag, or the run has no page.
    """
    values = flags.FlagValues()
    flags.DEFINE_string("run", None, "Run folder written by train.py.", flag_values=values)
    flags.DEFINE_integer("port", 8000, "Port to listen on; 0 for any free one.", 0, 65535, flag_values=values)
    cli.no_positionals(cli.parse(argv, values, __doc__))
    if not values.run:
        raise UserError("`run`: missing; give a folder that train.py wrote")
    page = runs.open_run(values.run).export / "web"
    if not page.exists() and (page.parent / record.REJECTED / "web").is_dir():
        raise UserError(f"{page}: this page was rejected; {page.parent / 'export.json'} says why")
    if not (page / "index.html").is_file():
        raise UserError(
            f"{page}: page not found; `{cli.program('export')} --run={values.run} --formats=web` writes it"
        )
    with open_server(page, values.port) as server:
        print(f"http://127.0.0.1:{server.server_port}   (stop with Ctrl-C)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def open_server(folder, port):
    """A server for the files of a folder, which only this machine can reach.

    Raises:
        UserError: the port is in use or not permitted.
    """
    try:
        return Server(("127.0.0.1", port), functools.partial(Handler, directory=str(folder)))
    except OSError as error:
        raise UserError(f"`port={port}`: {error.strerror}; choose another one, or 0 for any") from error
