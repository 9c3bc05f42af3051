"""Opens a `.tflite` the way a phone does."""

import numpy as np

from recycle_tf import cli


def open_interpreter(path, threads=1):
    """A LiteRT interpreter of a file, its tensors allocated.

    Args:
        path: of the `.tflite`.
        threads: how many it may compute with.

    Raises:
        ValueError: not a `.tflite`, or a damaged one.
        RuntimeError: a network that the runtime cannot prepare.
    """
    from ai_edge_litert.interpreter import Interpreter

    with cli.hushed(2):
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


def open_predictor(path, threads=1):
    """What a file answers: uint8 RGB `[image_size, image_size, 3]` -> float32 probabilities `[num_classes]`.

    Args:
        path: of a `.tflite`; of a larger batch than one, all pictures are the same.
        threads: how many it may compute with.

    Raises:
        ValueError: not a `.tflite`, or a damaged one.
        RuntimeError: a network that the runtime cannot prepare.
    """
    interpreter = open_interpreter(path, threads)
    image, probabilities = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def predict(pixels):
        interpreter.set_tensor(image["index"], np.repeat(pixels[None], image["shape"][0], axis=0))
        interpreter.invoke()
        return interpreter.get_tensor(probabilities["index"])[0]

    return predict
