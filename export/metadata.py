"""TFLite metadata, which MediaPipe Tasks and other programs read from a `.tflite`.

Metadata is a FlatBuffer (schema `metadata_schema.fbs`, identifier M001) stored in a buffer of the network. It
names associated files, which follow the network as an uncompressed zip archive. No package that can be
installed together with this TensorFlow writes it, so its few tables are built here. A table is a tuple of its
fields in the order of the schema, up to the last one that is set; None is a field that is not set, and a
union is two fields, type and table.
"""

import io
import zipfile

import flatbuffers
import numpy as np

from . import flat_buffer
from .artifact import as_json, label_files, translations

BUFFER_NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
PARSER_VERSION = "1.0.0"
"""Version of the schema that introduced the fields used here."""

# Values of the schema's enumerations and unions.
DESCRIPTIONS, TENSOR_AXIS_LABELS = np.uint8(1), np.uint8(2)
FEATURE_PROPERTIES, IMAGE_PROPERTIES = np.uint8(1), np.uint8(2)
NORMALIZATION_OPTIONS = np.uint8(1)
RGB = np.uint8(1)


def attach(network, spec):
    """Adds labels, `spec.json` and metadata to a network.

    Args:
        network: bytes of a `.tflite` with one input, images, and one output, probabilities.
        spec: as returned by `artifact.make_spec`.

    Returns:
        Bytes of a `.tflite`; the same bytes for the same arguments.
    """
    model = flat_buffer.read(network)
    entry, buffer = flat_buffer.Metadata(), flat_buffer.Buffer()
    entry.name, entry.buffer = BUFFER_NAME, len(model.buffers)
    buffer.data = np.frombuffer(_build(_describe(spec)), np.uint8)
    model.metadata.append(entry)
    model.buffers.append(buffer)

    files = {**label_files(spec), "spec.json": as_json(spec)}
    content = io.BytesIO(flat_buffer.write(model))
    with zipfile.ZipFile(content, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            # A fixed date, so that the same model gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return content.getvalue()


def _describe(spec):
    """The table ModelMetadata."""
    size = np.uint32(spec["image_size"])
    locales = {"labels.txt": spec.get("labels_locale")}
    locales |= {f"labels_{locale}.txt": locale for locale in translations(spec)}
    labels = [(file, "names of the classes", TENSOR_AXIS_LABELS, locale) for file, locale in locales.items()]
    image = (
        "image",
        f"{spec['input']}; resized by: {spec['resize']}",
        None,
        # Content of an image: its color space and its size.
        (IMAGE_PROPERTIES, (RGB, (size, size))),
        # The identity: normalization is part of the graph.
        [(NORMALIZATION_OPTIONS, (np.float32([0]), np.float32([1])))],
        (np.float32([255]), np.float32([0])),
    )
    probabilities = (
        "probability",
        spec["output"],
        None,
        (FEATURE_PROPERTIES, ()),
        None,
        (np.float32([1]), np.float32([0])),
        labels,
    )
    return (
        spec["arch"],
        f"Image classifier of {len(spec['labels'])} classes, format {spec['format']}",
        spec["run"],
        [(None, None, [image], [probabilities])],
        spec.get("author"),
        spec.get("license"),
        [("spec.json", "how to prepare images, and the origin of the network", DESCRIPTIONS)],
        PARSER_VERSION,
    )


def _build(table):
    builder = flatbuffers.Builder()
    builder.Finish(_write(builder, table), IDENTIFIER)
    return bytes(builder.Output())


def _write(builder, value):
    """Writes a table (tuple), vector of tables (list), vector of numbers or string; returns its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, list):
        offsets = [_write(builder, table) for table in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    # The objects that a table refers to must be written before it.
    fields = [one if one is None or isinstance(one, np.number) else _write(builder, one) for one in value]
    builder.StartObject(len(fields))
    for slot, field in enumerate(fields):
        if isinstance(field, np.uint8):
            builder.PrependUint8Slot(slot, field, 0)
        elif isinstance(field, np.uint32):
            builder.PrependUint32Slot(slot, field, 0)
        elif field is not None:
            builder.PrependUOffsetTRelativeSlot(slot, field, 0)
    return builder.EndObject()
