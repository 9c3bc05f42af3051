"""Claim 1: deeper plain networks have a higher training error, and residual ones do not.

    python benchmarks/claims/degradation.py --quick --cifar=cifar10.zip
    python benchmarks/claims/degradation.py --cifar=cifar10.zip --seeds=1

He et al., arXiv 1512.03385, figures 1 and 6: plain-20 against plain-56, ResNet-20 against ResNet-56, on
CIFAR-10. It is the training error that rises, so it is not overfitting. Section 4.1 adds that it is not
vanishing gradients either: the figure shows the norm of each convolution's gradient after training.
"""

import experiment
import numpy as np
import training

from recycle_tf import cli

ARCHS = ("plain20", "plain56", "resnet20", "resnet56")
QUICK, FULL = (500, 8), (3000, 40)
"""Images per class, of which `train.py` keeps 15 % for validation, and epochs."""
BATCH = 128
"""Images of which gradients and responses are taken."""


def main():
    """Trains what was not trained before, prints the errors and draws the curves."""
    parser = experiment.parser(__doc__)
    parser.add_argument("--cifar", required=True, help="zip or folder with train/CLASS/*.jpg and test/")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network; 1 with --quick")
    values = experiment.parse(parser)
    cli.import_tensorflow()
    per_class, epochs = QUICK if values.quick else FULL
    images = values.out / f"cifar_{per_class}"
    training.choose_images(values.cifar, per_class, images)
    rows = experiment.Rows(values.out / "degradation.jsonl")
    found = {}
    # All architectures of a seed before the next one, so that what is there can be compared at any time.
    for seed in range(values.seed, values.seed + (1 if values.quick else values.seeds)):
        for arch in ARCHS:
            key = [training.RECIPE, arch, per_class, epochs, seed]
            folder = values.out / "degradation" / "_".join(map(str, key[1:]))
            result = rows.once(key, lambda a=arch, f=folder, s=seed: run(images, f, a, epochs, s))
            found.setdefault(arch, []).append(result)
    report(found, values.out)


def run(images, folder, arch, epochs, seed):
    """Trains one network: errors by epoch and on the test split, gradient norms and responses at the end."""
    from recycle_tf.evaluation import stored_reports

    finished = training.train_on_cifar(images, folder, arch, epochs, seed)
    model = finished.load_model()
    examples, labels = training.batch(images, finished.labels, BATCH)
    return {
        "history": finished.history_rows(),
        "test_error": 1 - stored_reports.read(finished.report)["accuracy"],
        # First, because a pass in training mode changes the moving statistics.
        "responses": responses(model, examples),
        "gradients": gradient_norms(model, examples, labels),
    }


def gradient_norms(model, images, labels):
    """Norm of the gradient of each 3x3 convolution's kernel, from the input to the output, on one batch."""
    import keras
    import tensorflow as tf

    kernels = [variable.value for variable in model.trainable_variables if len(variable.shape) == 4]
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    return [float(tf.norm(slope)) for slope in tape.gradient(loss, kernels)]


def responses(model, images):
    """Standard deviation of the output of each 3x3 convolution after its norm; see responses.py."""
    import keras

    outputs = [layer.output for layer in model.layers if layer.name.endswith(("conv1_norm", "conv2_norm"))]
    found = keras.Model(model.inputs[0], outputs).predict(images, verbose=0)
    return [float(one.std()) for one in found]


def report(found, out):
    """Prints a table of errors, and draws errors over epochs and gradient norms over depth."""
    titles = ["network", "training error, %", "test error, %", "smallest gradient norm at the end / largest"]
    lines = []
    for arch, runs in found.items():
        norms = np.mean([run["gradients"] for run in runs], axis=0)
        trained = spread([100 * (1 - run["history"][-1]["accuracy"]) for run in runs])
        tested = spread([100 * run["test_error"] for run in runs])
        lines.append([arch, trained, tested, f"{norms.min() / norms.max():.3f}"])
    experiment.table(titles, lines)
    experiment.save(lambda axes: draw(axes, found), out / "degradation.png", columns=3, size=(13, 4.2))


def spread(errors):
    """The mean of the seeds, and their range if there are several."""
    several = f" ({min(errors):.1f} to {max(errors):.1f})" if len(errors) > 1 else ""
    return f"{np.mean(errors):.1f}{several}"


def draw(axes, found):
    """Two panels of errors like figure 6, and one of gradient norms."""
    colors = {"20": "#1f6f8b", "56": "#c1440e"}
    for arch, runs in found.items():
        panel, color = axes[int(arch.startswith("resnet"))], colors[arch[-2:]]
        for name, title, style in (("accuracy", "training", "--"), ("val_accuracy", "validation", "-")):
            curves = np.array([[100 * (1 - row[name]) for row in run["history"]] for run in runs])
            steps = np.arange(1, curves.shape[1] + 1)
            panel.plot(steps, curves.mean(axis=0), style, color=color, label=f"{arch}, {title}")
            panel.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.15)
        norms = np.mean([run["gradients"] for run in runs], axis=0)
        style = "-" if arch.startswith("resnet") else "--"
        axes[2].plot(np.linspace(0, 1, len(norms)), norms, style, color=color, label=arch)
    for panel, title in zip(
        axes, ("plain networks", "residual networks", "gradients after training"), strict=True
    ):
        panel.set_title(title)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    highest = max(panel.get_ylim()[1] for panel in axes[:2])
    for panel in axes[:2]:
        panel.set(xlabel="epoch", ylabel="error, %", ylim=(0, highest))
    axes[2].set(xlabel="depth (0: first convolution, 1: last)", ylabel="norm of the gradient", yscale="log")


if __name__ == "__main__":
    main()
