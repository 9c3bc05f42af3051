"""Claim 1: deeper plain networks have a higher training error, and residual ones do not.

    python benchmarks/claims/degradation.py --quick --cifar=cifar10.zip
    python benchmarks/claims/degradation.py --cifar=cifar10.zip --seeds=1

He et al., arXiv 1512.03385, figures 1 and 6: plain-20 against plain-56, ResNet-20 against ResNet-56, on
CIFAR-10. It is the training error that rises, so it is not overfitting. Section 4.1 adds that it is not
vanishing gradients either: the figure shows the norm of each convolution's gradient after training.
"""

import experiment
import numpy as np
import training  # Chooses the backend, so it comes before Keras.

ARCHS = ("plain20", "plain56", "resnet20", "resnet56")
GRADIENT_BATCH = 128


def main():
    """Trains what was not trained before, prints the errors and draws the curves."""
    parser = experiment.parser(__doc__)
    parser.add_argument("--cifar", required=True, help="zip or folder with train/CLASS/*.jpg and test/")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network")
    values = experiment.parse(parser)
    per_class, epochs, seeds = (100, 3, 1) if values.quick else (3000, 40, values.seeds)
    data = (
        *training.load_images(values.cifar, "train", per_class),
        *training.load_images(values.cifar, "test", min(per_class, 500)),
    )
    rows = experiment.Rows(values.out / "degradation.jsonl")
    found = {}
    # All architectures of a seed before the next one, so that what is there can be compared at any time.
    for seed in range(values.seed, values.seed + seeds):
        for arch in ARCHS:
            key = [arch, per_class, epochs, seed]
            found.setdefault(arch, []).append(rows.once(key, lambda a=arch, s=seed: run(a, data, epochs, s)))
    report(found, values.out, len(data[0]), epochs)


def run(arch, data, epochs, seed):
    """Trains one network: its history, and the gradient norm of each convolution before and after."""
    from recycle_tf import create_model

    norms = {}

    def make():
        model = create_model(arch, int(data[1].max()) + 1)
        norms["start"] = gradient_norms(model, data)
        return model

    model, history = training.train(make, data, epochs=epochs, seed=seed)
    norms["end"] = gradient_norms(model, data)
    print(f"{arch} seed {seed}: {history[-1]}", flush=True)
    return {"history": history, "gradients": norms, "responses": responses(model, data)}


def gradient_norms(model, data):
    """Norm of the gradient of each 3x3 convolution's kernel, from the input to the output, on one batch."""
    import jax
    import jax.numpy as jnp

    trainable = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]
    chosen = np.random.default_rng(0).permutation(len(data[0]))[:GRADIENT_BATCH]
    images, labels = jnp.asarray(data[0][chosen], jnp.float32), jnp.asarray(data[1][chosen])
    slopes, _ = jax.jit(jax.grad(training.loss_of, argnums=1, has_aux=True), static_argnums=0)(
        model, trainable, fixed, images, labels
    )
    return [
        float(jnp.linalg.norm(slope))
        for slope, variable in zip(slopes, model.trainable_variables, strict=True)
        if len(variable.shape) == 4
    ]


def responses(model, data):
    """Standard deviation of the output of each 3x3 convolution after its norm; see responses.py."""
    import keras

    outputs = [layer.output for layer in model.layers if layer.name.endswith(("conv1_norm", "conv2_norm"))]
    found = keras.Model(model.inputs[0], outputs).predict(
        data[2][:GRADIENT_BATCH].astype("float32"), verbose=0
    )
    return [float(one.std()) for one in found]


def report(found, out, examples, epochs):
    """Prints a table of errors, and draws training error over epochs and gradient norms over depth."""

    def final(arch, name):
        errors = [100 * run["history"][-1][name] for run in found[arch]]
        spread = f" ({min(errors):.1f} to {max(errors):.1f})" if len(errors) > 1 else ""
        return f"{np.mean(errors):.1f}{spread}"

    print(f"{examples} training images, {epochs} epochs, {len(found[ARCHS[0]])} seed(s)")
    titles = ["network", "training error, %", "test error, %", "smallest gradient norm at the end / largest"]
    lines = []
    for arch in ARCHS:
        norms = np.mean([run["gradients"]["end"] for run in found[arch]], axis=0)
        lines.append(
            [arch, final(arch, "train_error"), final(arch, "test_error"), f"{norms.min() / norms.max():.3f}"]
        )
    experiment.table(titles, lines)
    experiment.save(lambda axes: draw(axes, found), out / "degradation.png", columns=3, size=(13, 4.2))


def draw(axes, found):
    """Two panels of errors like figure 6, and one of gradient norms."""
    colors = {"20": "#1f6f8b", "56": "#c1440e"}
    for arch in ARCHS:
        panel, color = axes[int(arch.startswith("resnet"))], colors[arch[-2:]]
        for name, style in (("train_error", "--"), ("test_error", "-")):
            curves = np.array([[100 * row[name] for row in run["history"]] for run in found[arch]])
            steps = np.arange(1, curves.shape[1] + 1)
            label = f"{arch}, {name.replace('_error', '')}"
            panel.plot(steps, curves.mean(axis=0), style, color=color, label=label)
            panel.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.15)
        norms = np.mean([run["gradients"]["end"] for run in found[arch]], axis=0)
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
