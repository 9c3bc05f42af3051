"""Computes the logits of torchvision's and timm's networks that `test_torch_weights.py` compares ours with.

    pip install -e '.[torch]'
    python -m tests.models.make_torch_golden

Run it after adding an architecture; the tests read the file that it writes and do not need PyTorch. If
torchvision was built for CUDA and torch was not, importing torchvision fails with `operator torchvision::nms
does not exist`. Declaring the operators, as below, is sufficient for its classifiers.
"""

import numpy as np
import torch

from tests.models import torch_reference

try:
    import torchvision
except RuntimeError:
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

import timm  # noqa: E402

TORCHVISION = {
    **{f"resnet{n}": (f"resnet{n}", {}) for n in (18, 34, 50, 101, 152)},
    **{f"densenet{n}": (f"densenet{n}", {}) for n in (121, 161, 169, 201)},
    "alexnet_one_tower": ("alexnet", {}),
    # The arguments with which torchvision loads its published weights.
    "googlenet_bn_3x3": (
        "googlenet",
        {"transform_input": True, "aux_logits": True, "init_weights": False},
    ),
}
TIMM = {
    "se_resnet50": "seresnet50.ra2_in1k",
    **{f"efficientnet_lite{n}": f"tf_efficientnet_lite{n}.in1k" for n in range(5)},
}


def build(arch):
    """Their network, and the mean and standard deviation of RGB 0..1 that its published weights expect."""
    if arch in TIMM:
        network = timm.create_model(TIMM[arch], pretrained=False)
        return network, network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    name, options = TORCHVISION[arch]
    transforms = torchvision.models.get_model_weights(name).IMAGENET1K_V1.transforms()
    return torchvision.models.get_model(name, weights=None, **options), transforms.mean, transforms.std


def compute(arch):
    """The entry of an architecture in the golden file."""
    network, mean, std = build(arch)
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    values = {name: torch.from_numpy(torch_reference.tensor(name, shape)) for name, shape in shapes.items()}
    network.load_state_dict(values)
    pixels = (torch_reference.image(torch_reference.SIZES[arch]) / 255 - mean) / std
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32)))[0].numpy()
    return {
        "tensors": shapes,
        "logits": [round(float(value), 6) for value in logits[: torch_reference.LOGITS]],
        "norm": round(float(np.linalg.norm(logits)), 4),
    }


def main():
    """Writes the golden file."""
    golden = {}
    for arch in torch_reference.SIZES:
        golden[arch] = compute(arch)
        print(f"{arch:20} {golden[arch]['norm']:10.3f} {golden[arch]['logits'][:4]}", flush=True)
    torch_reference.write(golden)


if __name__ == "__main__":
    main()
