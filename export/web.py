"""A web page that classifies images in the browser: static files, none of them loaded from another site.

The network runs in LiteRT.js, Google's `.tflite` runtime compiled to WebAssembly. Its archives have
megabytes, so they are downloaded from npm, in the version and with the SHA-256 given here; npm caches them.
"""

import hashlib
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

from recycle_tf.errors import UserError
from recycle_tf.paths import from_user

from . import tflite
from .artifact import Artifact, as_json, size_of, with_batch

NETWORK = "tflite_float16"
"""Format of the page's network: every network can be exported to it, and probabilities agree to 1e-2."""

PACKAGES = {
    "@litertjs/core@2.5.3": "a97660833e9e7e1063c95e12016718881240b14f7438728a2f62785e912d30fd",
    "@litertjs/wasm-utils@2.5.3": "ce2a1f8379c067be49e59752e5a7f40db6be09f6e497f0f11e59f17b515366a7",
}
"""npm packages and the SHA-256 of their archives."""

RUNTIME = {
    "litert.js": ("@litertjs/core@2.5.3", "dist/index.js"),
    # Its license, Apache 2.0, and its origin.
    "package.json": ("@litertjs/core@2.5.3", "package.json"),
    "wasm-utils.js": ("@litertjs/wasm-utils@2.5.3", "dist/index.js"),
    # The second is for browsers without relaxed SIMD, for example older versions of Safari.
    **{
        name: ("@litertjs/core@2.5.3", f"wasm/{name}")
        for stem in ("litert_wasm_internal", "litert_wasm_compat_internal")
        for name in (f"{stem}.js", f"{stem}.wasm")
    },
}
"""Files of the page's folder `runtime`: package, and path in its archive."""

PAGE = pathlib.Path(__file__).parent / "web_page"


def why_not(model, name):
    """None: every network can be exported to `NETWORK`."""


def why_not_here():
    """Why this machine cannot download the runtime, or None."""
    if shutil.which("npm") is None:
        return f"npm, which downloads LiteRT.js, is not installed; {_offline()}"
    return None


def open_runtime(folder=None):
    """The files of the page's folder `runtime`.

    Args:
        folder: folder with the archives of `PACKAGES`; None to get them from npm or its cache.

    Returns:
        `{name: bytes}`.

    Raises:
        UserError: npm is not installed or cannot download, or an archive is missing or has another SHA-256.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = from_user(folder, "web_runtime") if folder else _pack(temporary)
        archives = {package: _open_archive(place / _archive_name(package), package) for package in PACKAGES}
        files = {
            name: archives[package].extractfile(f"package/{path}").read()
            for name, (package, path) in RUNTIME.items()
        }
        for archive in archives.values():
            archive.close()
    # A browser cannot resolve the names of npm packages.
    own = files["litert.js"].replace(b'"@litertjs/wasm-utils"', b'"./wasm-utils.js"')
    return {**files, "litert.js": own}


def export(spec, model, name, folder, web_runtime):
    """Writes `folder/web`: page, runtime, network and `spec.json`.

    Args:
        spec: as returned by `artifact.make_spec`.
        model: a Keras model that returns what `familiarity.probabilities` takes.
        name: `"web"`.
        folder: an existing folder.
        web_runtime: as returned by `open_runtime`.

    Returns:
        The `Artifact`.

    Raises:
        OSError: it could not be written.
    """
    # The page classifies one image at a time.
    path, spec = folder / "web", {"format": name, **with_batch(spec, 1)}
    shutil.copytree(PAGE, path)
    (path / "runtime").mkdir()
    for file, content in web_runtime.items():
        (path / "runtime" / file).write_bytes(content)
    tflite.export(spec, model, NETWORK, path).path.rename(path / "model.tflite")
    (path / "spec.json").write_text(as_json(spec), encoding="utf-8")
    return Artifact(name, path, size_of(path), spec)


def load(path):
    """A function from pixels `[batch, image_size, image_size, 3]` to probabilities: the network in LiteRT."""
    return tflite.load(path / "model.tflite")


def _pack(folder):
    """Downloads the archives into a folder with npm; returns the folder."""
    if reason := why_not_here():
        raise UserError(f"`formats=web`: {reason}")
    command = [
        shutil.which("npm"),
        "pack",
        "--silent",
        "--prefer-offline",
        f"--pack-destination={folder}",
        *PACKAGES,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"`formats=web`: npm could not download LiteRT.js; check the network; {_offline()}")
    return pathlib.Path(folder)


def _offline():
    return (
        f"or run `npm pack {' '.join(PACKAGES)}` on another machine, copy the two archives into a folder, "
        "and add `web_runtime=FOLDER`"
    )


def _open_archive(path, package):
    if not path.is_file():
        raise UserError(
            f"`web_runtime={path.parent}`: {path.name} not found; `npm pack {package}` downloads it"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != PACKAGES[package]:
        raise UserError(f"{path}: its SHA-256 is not that of {package}; `npm pack {package}` downloads it")
    return tarfile.open(path)


def _archive_name(package):
    """`@litertjs/core@2.5.3` -> `litertjs-core-2.5.3.tgz`."""
    scope, name, version = package.replace("/", "@").split("@")[1:]
    return f"{scope}-{name}-{version}.tgz"
