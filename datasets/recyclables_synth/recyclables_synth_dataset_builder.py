"""Synthetic images of waste, drawn on the machine that needs them: nothing is downloaded."""

import io
from collections.abc import Iterator

import tensorflow_datasets as tfds

from .drawing import LABELS, draw

_JPEG_QUALITY = 90


class Builder(tfds.core.GeneratorBasedBuilder):
    """900 drawings, with equally many of each class in each split."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "150 images of each of the six classes."}
    EXAMPLES_PER_CLASS = {"train": 105, "validation": 20, "test": 25}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=LABELS),
                    "id": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager  # nothing to download
        splits, first = {}, 0
        for split, count in self.EXAMPLES_PER_CLASS.items():
            splits[split] = self._generate_examples(range(first, first + count))
            first += count
        return splits

    def _generate_examples(self, seeds: range) -> Iterator[tuple[str, dict]]:
        for label in LABELS:
            for seed in seeds:
                name = f"{label}{seed}.jpg"
                yield name, {"image": _jpeg(label, seed), "label": label, "id": name}


def _jpeg(label: str, seed: int) -> io.BytesIO:
    file = io.BytesIO()
    draw(label, seed).save(file, "JPEG", quality=_JPEG_QUALITY)
    file.seek(0)
    return file
