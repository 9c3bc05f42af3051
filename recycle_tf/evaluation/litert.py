"""Opens a `.tflite` file with LiteRT, as a phone does."""

import numpy as np

from recycle_tf import quiet


def open_interpreter(path, threads=1):
    """A LiteRT interpreter of a file, with allocated tensors.

    Args:
        path: of the `.tflite` file.
        threads: number of threads it may use.

    Raises:
        ValueError: not a `.tflite` file, or a damaged one.
        RuntimeError: a network that the runtime cannot prepare.
    """
    from ai_edge_litert.interpreter import Interpreter

    with quiet.hushed(2):
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


def open_predictor(path, threads=1):
    """The function that a file computes for one image.

    Args:
        path: of a `.tflite` file; with a batch larger than one, the image is repeated.
        threads: number of threads it may use.

    Returns:
        `predict`: uint8 RGB `[image_size, image_size, 3]` -> float32 probabilities `[num_classes]`.

    Raises:
        ValueError: not a `.tflite` file, or a damaged one.
        RuntimeError: a network that the runtime cannot prepare.
    """
    return predictor(open_interpreter(path, threads))


def predictor(interpreter):
    """The function of `open_predictor`, for an open interpreter."""
    image, probabilities = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def predict(pixels):
        interpreter.set_tensor(image["index"], np.repeat(pixels[None], image["shape"][0], axis=0))
        interpreter.invoke()
        return interpreter.get_tensor(probabilities["index"])[0]

    return predict
