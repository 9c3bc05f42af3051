"""Claim 2: which networks pass gradients back to their first layers, before any training.

    python benchmarks/claims/gradients.py --quick
    python benchmarks/claims/gradients.py

He et al., arXiv 1512.03385, section 4.1: degradation is unlikely to be caused by vanishing gradients, because
batch normalization keeps them alive; arXiv 1603.05027, equation 5: the gradient of a residual block is that
of its branch plus one. Norms of the gradient of each convolution, on random images with random labels. The
control is the plain network without its norms. A second table shows the "plus one" on a block: the mean of
the diagonal of its Jacobian, with and without the shortcut.
"""

import experiment
import numpy as np

from recycle_tf import cli

CASES = {
    # title: (architecture, what is changed)
    "plain-56": ("plain56", None),
    "plain-56 without norms": ("plain56", "norms"),
    "ResNet-56": ("resnet56", None),
    "DenseNet-40": ("densenet40_k12", None),
    "highway-20": ("highway20", None),
    "GoogLeNet": ("googlenet", None),
    "GoogLeNet with auxiliary classifiers": ("googlenet", "auxiliary"),
}
BATCH = 16
PROBES = 8


def main():
    """Prints the ratio of the first layers' gradients to the last ones', and draws all."""
    values = experiment.parse(experiment.parser(__doc__))
    cli.import_tensorflow()
    seeds = 1 if values.quick else 3
    rows = experiment.Rows(values.out / "gradients.jsonl")
    found = {}
    for title, case in CASES.items():
        for seed in range(values.seed, values.seed + seeds):
            norms = rows.once([title, seed], lambda c=case, s=seed: gradient_norms(*c, s))
            found.setdefault(title, []).append(norms)
    lines = []
    for title, runs in found.items():
        ratios = [np.mean(norms[:3]) / np.mean(norms[-3:]) for norms in runs]
        spread = f"{min(ratios):.2g} to {max(ratios):.2g}" if len(ratios) > 1 else f"{ratios[0]:.2g}"
        lines.append([title, len(runs[0]), spread])
    experiment.table(["network", "convolutions", "gradient of the first three / last three"], lines)
    blocks = rows.once(["jacobian", values.seed], lambda: jacobians(values.seed))
    print()
    experiment.table(
        ["block of ResNet-56", "branch alone", "with the shortcut"],
        [[name, f"{branch:.3f}", f"{whole:.3f}"] for name, branch, whole in blocks],
    )
    experiment.save(lambda axes: draw(axes, found), values.out / "gradients.png", size=(8, 4.6))


def gradient_norms(arch, change, seed):
    """Norm of the gradient of each convolution's kernel, from the input to the output."""
    import keras
    import tensorflow as tf

    from recycle_tf import create_model
    from recycle_tf.models.registry import training_model

    keras.utils.set_random_seed(seed)
    # 64 pixels are enough for the five halvings of GoogLeNet.
    model = create_model(arch, 10, 64 if arch == "googlenet" else 32)
    weights = [1.0]
    if change == "norms":
        model = without_norms(model)
    kernels = [v for v in model.trainable_variables if len(v.shape) == 4]
    if change == "auxiliary":
        model, weights = training_model(model, 10)
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 255, (BATCH, *model.input_shape[1:])).astype(np.float32)
    labels = rng.integers(0, 10, BATCH)
    with tf.GradientTape() as tape:
        logits = keras.ops.reshape(model(images, training=True), (BATCH, len(weights), 10))
        losses = keras.losses.sparse_categorical_crossentropy(
            np.repeat(labels[:, None], len(weights), axis=1), logits, from_logits=True
        )
        loss = tf.reduce_mean(losses @ np.float32(weights)[:, None])
    slopes = tape.gradient(loss, [kernel.value for kernel in kernels])
    return [float(tf.norm(slope)) for slope in slopes]


def without_norms(model):
    """The same network with an identity in the place of each batch normalization."""
    import keras

    def replaced(layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            return keras.layers.Identity(name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    def call(layer, *tensors, **options):
        # An identity takes no mask, as a norm does.
        return layer(*tensors, **({} if isinstance(layer, keras.layers.Identity) else options))

    return keras.models.clone_model(model, clone_function=replaced, call_function=call)


def jacobians(seed):
    """`(block, mean diagonal of the branch's Jacobian, and of the sum's)` for a block of each stage.

    Hutchinson's estimate: the mean of v J v / v v over random signs v.
    """
    import keras
    import tensorflow as tf

    from recycle_tf import create_model

    keras.utils.set_random_seed(seed)
    model = create_model("resnet56", 10)
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 255, (BATCH, *model.input_shape[1:])).astype(np.float32)
    found = []
    for stage in (1, 2, 3):
        name, before = f"stage{stage}_block5", f"stage{stage}_block4_act"
        start = model.get_layer(before).output
        ends = [model.get_layer(f"{name}_conv2_norm").output, model.get_layer(f"{name}_add").output]
        block, x = keras.Model(start, ends), keras.Model(model.inputs[0], start)(images, training=True)
        diagonals = []
        for _ in range(PROBES):
            signs = tf.constant(rng.choice([-1.0, 1.0], x.shape).astype(np.float32))
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                outputs = block(x, training=True)
            diagonals.append(
                [
                    float(tf.reduce_sum(signs * tape.gradient(one, x, signs)) / tf.size(x, tf.float32))
                    for one in outputs
                ]
            )
        found.append([name, *np.mean(diagonals, axis=0).tolist()])
    return found


def draw(axes, found):
    """Norms over depth, divided by those of the last layer."""
    for number, (title, runs) in enumerate(found.items()):
        norms = np.mean(runs, axis=0)
        axes.plot(np.linspace(0, 1, len(norms)), norms / norms[-1], color=f"C{number}", label=title)
    axes.set(
        yscale="log",
        xlabel="depth (0: first convolution, 1: last)",
        ylabel="gradient norm / that of the last",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
