"""Packaging: `recycle_tf` is the wheel's only top-level name; `datasets/` and `export/` go into it."""

import pathlib

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "recycle_tf" / "__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)
BUILDERS = sorted(path.parent.name for path in (HERE / "datasets").glob("*/*_dataset_builder.py"))
# Other releases ship other parts of it.
MEDIAPIPE = "mediapipe==1.2.2"
ONNX = ["onnx", "onnxruntime", "tf2onnx"]


class BuildPackage(build_py):
    """Puts `train.py` into the package, and leaves out the builders' tests, which TFDS wants beside them."""

    def find_package_modules(self, package, package_dir):
        """`(package, module, file)` of a package's modules."""
        found = super().find_package_modules(package, package_dir)
        found = [module for module in found if not module[1].endswith("_test")]
        if package == "recycle_tf.commands":
            # In a checkout, this module loads the file of the top level.
            found = [module for module in found if module[1] != "train"]
            found.append((package, "train", "train.py"))
        return found


setup(
    name="recycle-tf",
    version=VERSION,
    description="From photographs of rubbish to a verified .tflite that says which bin",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11,<3.14",
    packages=[
        *find_packages(include=["recycle_tf", "recycle_tf.*"]),
        "recycle_tf.export",
        *(f"recycle_tf.datasets.{name}" for name in BUILDERS),
    ],
    package_dir={"recycle_tf.export": "export", "recycle_tf.datasets": "datasets"},
    package_data={
        "recycle_tf": ["rules/*.yaml"],
        "recycle_tf.review": ["page/*"],
        "recycle_tf.evaluation": ["report_page/*"],
        "recycle_tf.export": ["*.md", "web_page/*"],
        **{f"recycle_tf.datasets.{name}": ["*.md", "*.bib", "*.txt"] for name in BUILDERS},
    },
    cmdclass={"build_py": BuildPackage},
    entry_points={
        "console_scripts": ["recycle-tf = recycle_tf.__main__:main"],
        "recycle_tf.commands": [
            "export = recycle_tf.export.__main__",
            "benchmark = recycle_tf.export.benchmark",
        ],
    },
    install_requires=[
        # 2.21 with Keras 3.15 is the first pair that exports cleanly on Python 3.12 and 3.13.
        "tensorflow>=2.21,<2.22",
        # keras-cv reaches into Keras' backend, which 3.16 moves.
        "keras>=3.15,<3.16",
        "tensorflow-datasets>=4.9.10",
        # TFDS imports it without declaring it.
        "importlib_resources",
        "keras-cv>=0.9,<0.10",
        "absl-py",
        # TensorFlow 2.21 no longer brings it, and its summaries fail without.
        "tensorboard>=2.21",
        # 1.x and 2.x differ in what they load.
        "ai-edge-litert>=2.3,<3",
        # Writes the metadata of a .tflite; TensorFlow brings it anyway.
        "flatbuffers",
        # Its client fetches and caches timm's published weights.
        "huggingface_hub>=1",
        # Reads them, and what PyTorch users have, without running anything.
        "safetensors",
        "jinja2",
        "matplotlib",
        "pillow",
        "psutil",
        "pyyaml",
        "requests",
        "tqdm",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "dev": [
            "build",
            "dill",
            "fastapi",
            "httpx2",
            "hypothesis",
            "ipython",
            "jax",
            MEDIAPIPE,
            *ONNX,
            "pytest",
            "pytest-xdist",
            "ruff",
            # Only to test that our figures are its figures.
            "scikit-learn",
            "selenium",
        ],
        # Only to test that it runs the exported files as they are.
        "mediapipe": [MEDIAPIPE],
        # Only for `make docs`.
        "docs": ["mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1,<2"],
        # Only for --formats=onnx; tf2onnx also installs top-level packages `tests`, `tools` and `examples`.
        "onnx": ONNX,
        # Only to recreate tests/models/torch_golden.json.gz.
        "torch": ["timm", "torch", "torchvision"],
    },
)
