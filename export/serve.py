"""Opens a run's web page on this machine: `python -m export serve --run=RUN`.

    python -m export serve --run=runs/mine --port=8000

It is for trying. Any static server can carry the folder export/web; a phone's live camera wants https.
"""

import functools
import http.server
import sys

from absl import flags

from recycle_tf import cli, runs
from recycle_tf.errors import UserError


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files that a browser asks for again after the next export."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        # Systems disagree on these, and browsers refuse modules of another type.
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".svg": "image/svg+xml",
    }

    def end_headers(self):
        """Adds what every answer has."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format, *args):
        """Says nothing of every file."""


class Server(http.server.ThreadingHTTPServer):
    """Serves on while browsers come and go."""

    def handle_error(self, request, client_address):
        """Says nothing of a browser that left before it had everything."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@cli.command
def main(argv):
    """Serves until Ctrl-C."""
    values = flags.FlagValues()
    flags.DEFINE_string("run", None, "folder that train.py wrote", flag_values=values)
    flags.DEFINE_integer(
        "port", 8000, "where to listen, 0 for any that is free", 0, 65535, flag_values=values
    )
    cli.no_positionals(cli.parse(argv, values, __doc__))
    if not values.run:
        raise UserError("--run: missing; give a folder that train.py wrote")
    page = runs.open_run(values.run).export / "web"
    if not (page / "index.html").is_file():
        raise UserError(f"{page}: no page yet; `python -m export --run={values.run} --formats=web` writes it")
    with open_server(page, values.port) as server:
        print(f"http://127.0.0.1:{server.server_port}   (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def open_server(folder, port):
    """A server of a folder's files that this machine alone can reach.

    Raises:
        UserError: the port is taken, or not ours to take.
    """
    try:
        return Server(("127.0.0.1", port), functools.partial(Handler, directory=str(folder)))
    except OSError as error:
        raise UserError(f"--port={port}: {error.strerror}; choose another, or 0 for any") from error
