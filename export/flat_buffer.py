"""The network inside a `.tflite`, as objects of TFLite's schema: read, written, and its operations counted.

The only file that touches the classes that TensorFlow generates from the schema, and its tools for them. Both
are Python and convert nothing.
"""

import collections

from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

Metadata, Buffer = schema.MetadataT, schema.BufferT


def read(content):
    """The `ModelT` of the bytes of a `.tflite`."""
    return flatbuffer_utils.convert_bytearray_to_object(content)


def write(model):
    """The bytes of a `ModelT`."""
    return flatbuffer_utils.convert_object_to_bytearray(model)


def operations(content):
    """How often each operation occurs in a network, the most frequent first: `{name: count}`."""
    model = read(content)
    names = (
        flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        for graph in model.subgraphs
        for operator in graph.operators
    )
    return dict(collections.Counter(names).most_common())


def readers(content):
    """`{tensor: [outputs of the operations that read it]}`, by name."""
    graph = read(content).subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    found = {name: [] for name in names}
    for operator in graph.operators:
        for tensor in operator.inputs:
            if tensor >= 0:
                found[names[tensor]] += [names[output] for output in operator.outputs]
    return found
