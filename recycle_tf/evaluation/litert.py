"""Opens a `.tflite` file with LiteRT, as a phone does."""

import numpy as np

from recycle_tf import quiet
from recycle_tf.errors import UserError


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
    interpreter = open_interpreter(path, threads)
    image, probabilities = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def predict(pixels):
        interpreter.set_tensor(image["index"], np.repeat(pixels[None], image["shape"][0], axis=0))
        interpreter.invoke()
        return interpreter.get_tensor(probabilities["index"])[0]

    return predict


def batch_predictor(interpreter):
    """The function that a file computes for any number of images.

    Args:
        interpreter: of `open_interpreter`.

    Returns:
        `predict`: uint8 RGB `[batch, image_size, image_size, 3]` -> float32 probabilities
        `[batch, num_classes]`.
    """
    image, probabilities = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    fixed = image["shape_signature"][0]

    def predict(pixels):
        try:
            if fixed == -1 and interpreter.get_input_details()[0]["shape"].tolist() != list(pixels.shape):
                interpreter.resize_tensor_input(image["index"], pixels.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(image["index"], pixels)
            interpreter.invoke()
        except RuntimeError as error:
            raise UserError(f"LiteRT cannot run the file: {str(error).partition(chr(10))[0]}") from error
        return interpreter.get_tensor(probabilities["index"])

    return predict if fixed == -1 else in_batches(predict, fixed)


def in_batches(predict, size):
    """A function for any number of images, from one for batches of `size` images."""

    def predict_any(pixels):
        found = []
        for start in range(0, len(pixels), size):
            part = pixels[start : start + size]
            # `np.resize` repeats images to fill the last batch; their results are dropped.
            found.append(predict(np.resize(part, (size, *part.shape[1:])))[: len(part)])
        return np.concatenate(found)

    return predict_any
