"""A quiet TensorFlow, and small sets of pictures."""

import contextlib
import importlib.util
import io
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from recycle_tf import cli

ROOT = pathlib.Path(__file__).resolve().parents[1]

cli.import_tensorflow()


def require(*names):
    """Skips a test if a program or Python package is missing, and says which; fails it in CI.

    CI is where the environment variable CI is set: there, a missing tool must not hide a test.
    """
    missing = [name for name in names if not (shutil.which(name) or importlib.util.find_spec(name))]
    if missing:
        unavailable(f"needs {', '.join(missing)}")


def unavailable(reason):
    """Skips a test for a reason outside this project; fails it where the environment variable CI is set."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="session")
def start_browser(tmp_path_factory):
    """Starts headless Chromium in a language."""
    require("chromium", "chromedriver", "selenium")
    from selenium import webdriver

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")

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


@pytest.fixture
def photos(tmp_path):
    """A folder of three classes of 12 pictures, 24x20 pixels, each class of another colour."""
    return write_photos(tmp_path / "photos")


def write_photos(root, classes=("can", "jar", "tube"), count=12, seed=0):
    """Writes PNGs of `classes` below `root`; returns `root`."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        colour = np.full(3, 40)
        colour[number % 3] = 200
        for index in range(count):
            pixels = np.clip(colour + rng.normal(0, 25, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}{index}.png")
    return root


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A run of the tiny residual network on such pictures, trained by the real command."""
    place = tmp_path_factory.mktemp("finished")
    write_photos(place / "photos", count=20)
    result = run_python(
        "train.py", *tiny_training(place / "photos"), f"--run_dir={place / 'run'}", "--epochs=6"
    )
    assert result.returncode == 0, result.stderr
    return place / "run"


@pytest.fixture
def small_disk(tmp_path):
    """Makes a file system of some MB at a path; skips where that is not permitted."""
    mounted = []

    def mount(path, options):
        path.mkdir(exist_ok=True)
        result = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], capture_output=True)
        if result.returncode:
            pytest.skip("may not mount")
        mounted.append(path)

    if not shutil.which("mount"):
        pytest.skip("no mount")
    yield mount
    for path in mounted:
        subprocess.run(["umount", path], check=True)


def tiny_training(dataset):
    """Flags of a training that takes seconds."""
    return (
        f"--dataset={dataset}",
        "--arch=test_resnet",
        "--image_size=32",
        "--batch_size=8",
        "--warmup=1",
        "--augment=none",
        "--mix=none",
    )


def tiny_settings(dataset):
    """Settings of `TrainConfig` for a training run of seconds, with the smallest residual network."""
    return {
        "dataset": str(dataset),
        "arch": "test_resnet_a",
        "overrides": "blocks_per_stage=(1,)",
        "image_size": 32,
        "batch_size": 8,
        "warmup": "1",
        "augment": "none",
        "mix": "none",
    }


def run_python(*arguments, cwd=ROOT, **options):
    """Runs Python with `arguments`, in the checkout's root, and returns the finished process."""
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def run_main(main, *arguments):
    """Calls a command's `main(argv)` in this process; returns the same as `run_python`, in less time."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main([str(argument) for argument in arguments])
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())


def check_refused(result, *names):
    """Checks that a command ended with status 2 and one error line, which contains each of `names`."""
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for name in names:
        assert name in lines[0]
