"""A web page that answers in the browser: files for any static server, none of them fetched from elsewhere.

The network runs in LiteRT.js, Google's `.tflite` runtime compiled to WebAssembly. It is megabytes, so it
comes from npm, in the version and with the bytes that are written here, and npm's own cache keeps it.
"""

import hashlib
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

from recycle_tf.errors import UserError

from . import tflite
from .artifact import Artifact, as_json, size_of

FORMATS = ("web",)
NETWORK = "tflite_float16"
"""What the page computes with: every network can be had in it, and it answers like Keras to three digits."""

PACKAGES = {
    "@litertjs/core@2.5.3": "a97660833e9e7e1063c95e12016718881240b14f7438728a2f62785e912d30fd",
    "@litertjs/wasm-utils@2.5.3": "ce2a1f8379c067be49e59752e5a7f40db6be09f6e497f0f11e59f17b515366a7",
}
"""npm packages and the SHA-256 of their archives."""

RUNTIME = {
    "litert.js": ("@litertjs/core@2.5.3", "dist/index.js"),
    # Its licence, Apache 2.0, and where it comes from.
    "package.json": ("@litertjs/core@2.5.3", "package.json"),
    "wasm-utils.js": ("@litertjs/wasm-utils@2.5.3", "dist/index.js"),
    # The second is for browsers without relaxed SIMD, such as older Safaris.
    **{
        name: ("@litertjs/core@2.5.3", f"wasm/{name}")
        for stem in ("litert_wasm_internal", "litert_wasm_compat_internal")
        for name in (f"{stem}.js", f"{stem}.wasm")
    },
}
"""Files of the page's folder `runtime`: package, and path in it."""

PAGE = pathlib.Path(__file__).parent / "web_page"


def open_runtime(folder=None):
    """The files of the page's folder `runtime`.

    Args:
        folder: where the archives of `PACKAGES` lie; without one, npm fetches them or has them in its cache.

    Returns:
        `{name: bytes}`.

    Raises:
        UserError: npm or the network is missing, or an archive is missing or another one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(folder).expanduser() if folder else _pack(temporary)
        archives = {package: _open_archive(place / _archive_name(package), package) for package in PACKAGES}
        files = {
            name: archives[package].extractfile(f"package/{path}").read()
            for name, (package, path) in RUNTIME.items()
        }
        for archive in archives.values():
            archive.close()
    # A browser does not know where npm puts packages.
    own = files["litert.js"].replace(b'"@litertjs/wasm-utils"', b'"./wasm-utils.js"')
    return {**files, "litert.js": own}


def export(spec, model, format_name, directory, runtime):
    """Writes `directory/web`: page, runtime, network and `spec.json`.

    Args:
        spec: of the model, as `artifact.make_spec` gives it.
        model: a Keras model with logits.
        format_name: `"web"`.
        directory: an existing folder.
        runtime: as `open_runtime` gives it.
    """
    # It asks about one picture at a time.
    path, spec = directory / "web", {"format": format_name, **spec, "batch": 1}
    shutil.copytree(PAGE, path)
    (path / "runtime").mkdir()
    for name, content in runtime.items():
        (path / "runtime" / name).write_bytes(content)
    tflite.export(spec, model, NETWORK, path).path.rename(path / "model.tflite")
    (path / "spec.json").write_text(as_json(spec), encoding="utf-8")
    return Artifact(format_name, path, size_of(path), spec)


def load(path):
    """Pixels `[batch, image_size, image_size, 3]` -> probabilities, of the page's network in LiteRT."""
    return tflite.load(path / "model.tflite")


def _pack(folder):
    """Lets npm put the archives into a folder; returns it."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"--formats=web: npm, which fetches LiteRT.js, is not installed; {_offline()}")
    command = [npm, "pack", "--silent", "--prefer-offline", f"--pack-destination={folder}", *PACKAGES]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"--formats=web: npm could not fetch LiteRT.js; is there a network? {_offline()}")
    return pathlib.Path(folder)


def _offline():
    return (
        "elsewhere `npm pack "
        + " ".join(PACKAGES)
        + "` writes two archives: put them into a folder, and add --web_runtime=FOLDER"
    )


def _open_archive(path, package):
    if not path.is_file():
        raise UserError(f"--web_runtime={path.parent}: has no {path.name}; `npm pack {package}` writes it")
    if hashlib.sha256(path.read_bytes()).hexdigest() != PACKAGES[package]:
        raise UserError(f"{path}: not the bytes of {package}; `npm pack {package}` writes them")
    return tarfile.open(path)


def _archive_name(package):
    """`@litertjs/core@2.5.3` -> `litertjs-core-2.5.3.tgz`."""
    scope, name, version = package.replace("/", "@").split("@")[1:]
    return f"{scope}-{name}-{version}.tgz"
