"""The settings of a training run: one dataclass, pure data. Nothing here opens a file.

The command line makes a flag from every field (`recycle_tf.cli.define_flags`).
"""

import ast
import dataclasses
import functools
import numbers
import os
import pathlib
import re
import typing

from recycle_tf import options
from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.recipes import FROM_THE_START, OWN_SETTINGS, RECIPES, paper

LONGEST = 1e12
"""Largest number of a duration, in its unit."""


LARGEST_TURN = 1000
"""Largest weight of a source."""


def _setting(default, help, choices=None, low=None, high=None, units=None):
    """A field with its help text and its valid values.

    Args:
        default: its default value.
        help: one or two sentences for `--help`.
        choices: all valid values, or None.
        low: smallest valid number.
        high: largest valid number.
        units: of a duration: valid suffixes of a number.
    """
    rules = {"help": help, "choices": choices, "range": None if low is None else (low, high), "units": units}
    return dataclasses.field(default=default, metadata=rules)


_NEVER_EMPTY = ("from_run", "run_dir", "manual_dir", "data_dir", "weights")
"""Optional settings of which an empty text is a mistake, such as `--run_dir=$OUT` where there is no `OUT`."""


@dataclasses.dataclass(frozen=True, init=False)
class TrainConfig:
    """Every setting of a training run; the help text of a field describes it.

    A setting that is not given takes its value from the recipe, or else its default:
    `TrainConfig(recipe="quick").epochs` is `"30"`.

    Raises:
        UserError: an unknown setting or an invalid value; names the setting, the value and what is valid.
    """

    arch: str = _setting("densenet121", "Architecture; `recycle-tf models` lists them.")
    overrides: str = _setting(
        "", "Settings of the architecture to change: NAME=VALUE,…, for example filters=32,drop_rate=0.3."
    )
    recipe: str = _setting(
        "scratch",
        "Named set of settings: scratch, quick, finetune (needs --weights), robust (the same for photographs "
        "unlike those of training), adapt (adds photographs to the run in --from_run), "
        "quantize (the default with --quantize), or paper (optimizer, learning rate and schedule of the "
        "architecture's paper). Other flags override it.",
        choices=options.RECIPES,
    )
    weights: str | None = _setting(
        None,
        "Initial weights: imagenet (published weights), or a file of the same architecture: .keras, "
        ".weights.h5, .h5 (keras.applications) or .safetensors (torchvision, timm). Default: random.",
    )

    dataset: str = _setting(
        "trashnet",
        "trashnet, trashnet/clean, recyclables_synth, an image classification dataset of TFDS such as "
        "cifar10, a folder with one subfolder of images per class or a .csv file with the columns "
        "image,label,split (both also at gs:// or s3://), or a folder that `recycle-tf shard` wrote; or "
        "several of these, for example trashnet+photos+more.csv. A path with a + in it can only be used "
        "alone.",
    )
    label_map: str | None = _setting(
        None,
        "YAML file with other names for classes, one per line: 'Carton: cardboard', or 'Carton: -' to leave "
        "the class out. With several sources, the first one's classes count, and this file adds to them.",
    )
    source_weights: str = _setting(
        "size",
        "How often images of several sources are drawn: size (every image once per epoch), even (every "
        "source equally often), or whole numbers, for example 1,2.",
    )
    split: str = _setting(
        "stratified",
        "How to split a folder that has no split: stratified, or grouped (near-duplicates stay in the same "
        "part).",
        choices=options.SPLIT_METHODS,
    )
    manual_dir: str | None = _setting(
        None, "Folder with manually downloaded dataset files. Default: $RECYCLE_TF_MANUAL_DIR."
    )
    data_dir: str | None = _setting(
        None, "Folder for prepared datasets. Default: that of TensorFlow Datasets."
    )
    image_size: int | None = _setting(
        None,
        "Height and width of the network's input in pixels. Default: the architecture's.",
        low=32,
        high=2048,
    )
    progressive: str | None = _setting(
        None,
        "Smaller image sizes to start with, for example 96,128; each lasts as long as --image_size at the "
        "end.",
    )
    resize: str = _setting(
        "stretch", "How an image becomes square: stretch, letterbox or crop.", choices=options.RESIZES
    )
    augment: str = _setting(
        "trivial",
        "Augmentation: none, trivial (crops, flips, quarter turns and one further operation), basic (the "
        "same with small color changes), upright (crops, mirroring, light), wild (objects on other "
        "backgrounds, for photographs on plain paper), or a policy of keras-cv: randaugment, augmix, "
        "gridmask.",
        choices=options.POLICIES,
    )
    backgrounds: str | None = _setting(
        None,
        "Folder of images for --augment=wild to put half of the objects on. Default: drawn textures only.",
    )
    mix: str = _setting("both", "Mixing of two images: none, mixup, cutmix or both.", choices=options.MIXES)
    on_bad_image: str = _setting(
        "error",
        "What to do with an image that cannot be used: error, or skip: leave it out and list it.",
        choices=options.ON_BAD_IMAGE,
    )
    cache: str = _setting(
        "auto",
        "Where decoded images are cached: memory, disk (a temporary file), off, or auto (the first in which "
        "they fit).",
        choices=options.CACHES,
    )
    data_service: str | None = _setting(
        None, "Address of a tf.data service whose workers prepare the batches: grpc://HOST:PORT."
    )

    from_run: str | None = _setting(
        None, "Repeat the run in this folder: its settings, except --run_dir and the flags given here."
    )
    run_dir: str | None = _setting(
        None,
        "Run folder. Default: the unfinished run of the same command if there is one, else a new folder "
        "runs/ARCH-DATASET-TIME.",
    )
    epochs: str = _setting(
        "100",
        "Length of training: a number of epochs, for example 30, or of steps, for example 5000steps.",
        units=("", "epochs", "steps"),
    )
    time_limit: str | None = _setting(
        None,
        "Maximum training time, for example 90m or 2h, over all parts of a resumed run. Default: none.",
        units=("m", "h", "s"),
    )
    lr_finder: bool = _setting(
        False,
        "Plot the loss over a growing learning rate to lr_finder.png, suggest a --learning_rate, and stop "
        "without creating a run.",
    )
    patience: int | None = _setting(
        None,
        "Stop after this many epochs without a better model. Default: train all epochs.",
        low=1,
        high=1e6,
    )
    batch_size: int = _setting(32, "Images per step, over all devices.", low=1, high=65536)
    optimizer: str = _setting(
        "adamw",
        "adamw, sgd (Nesterov momentum 0.9), momentum (0.9), rmsprop (momentum 0.9), lion or lamb.",
        choices=options.OPTIMIZERS,
    )
    freeze: str = _setting(
        "", "Layers to freeze: regular expressions that match the start of a name, for example stem,stage1."
    )
    freeze_norms: bool = _setting(
        False, "Freeze batch normalization: neither its weights nor its statistics change."
    )
    lr_multipliers: str = _setting(
        "",
        "Learning-rate multipliers of layers: PATTERN=MULTIPLIER,…, for example stem=0.1,stage[12]=0.3.",
    )
    layer_decay: float = _setting(
        1.0,
        "Layer-wise learning-rate decay: a stage's learning rate is that of the stage after it times this.",
        low=0.01,
        high=1,
    )
    head_epochs: int = _setting(
        0,
        "Train only the head for this many epochs first; the rest then starts with its own warm-up and "
        "optimizer.",
        low=0,
        high=1e6,
    )
    learning_rate: float = _setting(2e-3, "Peak learning rate, after the warm-up.", low=1e-9, high=100)
    warmup: str = _setting(
        "5",
        "Length of the linear warm-up: epochs, for example 5, or 500steps; at most a fifth of the training.",
        units=("", "epochs", "steps"),
    )
    schedule: str = _setting(
        "cosine",
        "Learning-rate schedule after the warm-up: cosine (to 0), step (times --decay at each of "
        "--decay_at), exponential (to --decay times the peak), constant, or one_cycle (rises for 30 % of "
        "the training instead of the warm-up, then cosine).",
        choices=options.SCHEDULES,
    )
    decay: float = _setting(0.1, "Factor of the step and exponential schedules.", low=1e-6, high=1)
    decay_at: str = _setting("0.5,0.75", "Fractions of the training at which the step schedule decays.")
    weight_decay: float = _setting(
        0.05, "Decoupled weight decay; not applied to biases and normalization.", low=0, high=10
    )
    loss: str = _setting(
        "cross_entropy",
        "cross_entropy, or focal (gives less weight to images that are already classified well).",
        choices=options.LOSSES,
    )
    focal_gamma: float = _setting(2.0, "Focusing parameter of the focal loss.", low=1, high=10)
    label_smoothing: float = _setting(
        0.1, "Fraction of the label that is spread evenly over all classes.", low=0, high=0.99
    )
    teacher: str | None = _setting(
        None,
        "Distillation: the folder of a complete run whose answers the network learns; or several, separated "
        "by commas, whose answers are averaged.",
    )
    teacher_temperature: float = _setting(
        4.0,
        "Temperature that softens the probabilities of teacher and network in the loss.",
        low=1,
        high=100,
    )
    hard_label_weight: float = _setting(
        0.1,
        "Weight of the loss with respect to the labels, beside that with respect to the teacher.",
        low=0,
        high=1,
    )
    quantize: str = _setting(
        "none",
        "Quantization-aware training: int8 fine-tunes the best model of the run in --from_run as its int8 "
        "file will compute; or none.",
        choices=options.QUANTIZATIONS,
    )
    accumulate: int = _setting(
        1,
        "Number of passes in which the gradient of a batch is computed, to save memory.",
        low=1,
        high=64,
    )
    clip_norm: float | None = _setting(
        None, "Maximum global gradient norm. Default: no clipping.", low=1e-6, high=1e6
    )
    ema: float | None = _setting(
        None,
        "Momentum of an exponential moving average of the weights, for example 0.999. The average is "
        "evaluated too, and saved when it is better. Default: none.",
        low=0.5,
        high=0.99999,
    )
    class_balance: str = _setting(
        "none",
        "Compensation for rare classes: none, weights (in the loss, so that all classes count equally) or "
        "sampler (all classes are drawn equally often; images of rare ones repeat).",
        choices=options.CLASS_BALANCES,
    )

    seed: int = _setting(0, "Seed of initial weights, order, augmentation and split.", low=0, high=2**31 - 1)
    strategy: str = _setting(
        "auto",
        "Distribution: auto (all GPUs of this host), one_device, mirrored, or multi_worker (the hosts in "
        "TF_CONFIG).",
        choices=options.STRATEGIES,
    )
    sync_batch_norm: str = _setting(
        "auto",
        "Batch-norm statistics over all devices: auto (if a device has fewer than 32 images of a pass), on "
        "or off.",
        choices=options.SYNC_BATCH_NORM,
    )
    deterministic: bool = _setting(
        False,
        "Bit-identical weights in every run on one device of the same kind. Slower, especially on GPUs.",
    )
    checkpoint_every: str | None = _setting(
        None,
        "Interval of checkpoints within an epoch: 5m, 1h, 30s or 500steps; one is always written at the end "
        "of an epoch. Default: 5m, or only at the end of epochs with several workers.",
        units=("m", "h", "s", "steps"),
    )
    logical_cpus: int = _setting(
        1, "Split the CPU into this many devices, to try --strategy=mirrored without GPUs.", low=1, high=64
    )
    mixed_precision: str = _setting(
        "auto",
        "Precision of computation: auto (bfloat16 on GPUs that support it; on CPUs that do, the fastest way, "
        "which is measured), bfloat16, float16, onednn_bfloat16 (bfloat16 on a CPU, by a graph option of "
        "oneDNN) or off (float32).",
        choices=options.MIXED_PRECISION,
    )
    jit: str = _setting(
        "auto", "Compile the step with XLA: auto (on a single GPU), on or off.", choices=options.JIT
    )
    remat: bool = _setting(
        False,
        "Recompute activations inside blocks in the backward pass: about half the memory, up to a third more "
        "time.",
    )
    profile: str | None = _setting(
        None, "Steps to profile for TensorBoard: first and last, for example 10,20steps."
    )

    def __init__(self, **given):
        fields = {field.name: field.default for field in dataclasses.fields(self)}
        for name in given:
            if name not in fields:
                raise UserError(f"{name}: no such setting, {did_you_mean(name, fields)}")
        for name, value in {**fields, **_recipe_settings(given), **given}.items():
            types = kinds(TrainConfig, name)
            # `--teacher=` with nothing after it takes the teacher of an earlier run away.
            if value == "" and type(None) in types and name not in _NEVER_EMPTY:
                value = None
            object.__setattr__(self, name, plain(value, types))
        self._validate()

    @property
    def continues(self):
        """Whether training starts from the network of the run in `from_run`."""
        return self.from_run is not None and self.weights == model_of(self.from_run)

    def _validate(self):
        for field in dataclasses.fields(self):
            _validate_value(field, getattr(self, field.name))
        if not duration(self.epochs)[0]:
            raise UserError(f"`epochs={self.epochs}`: expected more than 0")
        if self.jit == "on" and self.deterministic:
            raise UserError("`jit=on`: not available with `deterministic`; remove one of them")
        if self.backgrounds and self.augment != "wild":
            raise UserError(
                f"`backgrounds={self.backgrounds}`: only for `augment=wild`, not `augment={self.augment}`"
            )
        if self.data_service and self.augment == "wild":
            # The masks are computed by Python, which workers of a service do not have.
            raise UserError("`data_service`: not available with `augment=wild`; remove one of them")
        if self.logical_cpus > 1 and self.strategy not in ("mirrored", "multi_worker"):
            raise UserError(f"`logical_cpus={self.logical_cpus}`: only for `strategy=mirrored`; add it")
        if self.progressive and self.remat:
            raise UserError("`progressive`: not available with `remat`; remove one of them")
        self.decay_fractions()
        self.smaller_sizes()
        self.layer_multipliers()
        if self.turns_of_sources() and self.class_balance != "none":
            raise UserError(
                f"`source_weights={self.source_weights}`: not available with "
                f"`class_balance={self.class_balance}`; remove one of them"
            )
        if self.recipe == "adapt" and self.weights is None:
            raise UserError("`recipe=adapt`: needs a trained network; add `from_run=RUN`, or `weights=FILE`")
        if self.recipe == "quantize" and self.quantize == "none":
            raise UserError("`recipe=quantize`: only with `quantize=int8`; add it, or choose another recipe")
        if self.recipe in ("finetune", "robust") and self.weights is None:
            raise UserError(
                f"`recipe={self.recipe}`: needs weights; add `weights=imagenet`, or a file of the same "
                "architecture: .keras, .weights.h5, .h5 or .safetensors"
            )
        if self.profile and not 0 < self.profiled_steps()[0] <= self.profiled_steps()[1]:
            raise UserError(f"`profile={self.profile}`: expected first and last step, for example 10,20steps")
        if self.quantize != "none":
            self._validate_for_integers()
        if self.strategy == "multi_worker":
            self._validate_for_several_workers()

    def _validate_for_integers(self):
        """Rejects settings under which a network could not be trained with integers."""
        name = f"`quantize={self.quantize}`"
        if self.weights is None:
            raise UserError(f"{name}: needs a trained network; add `from_run=RUN`, or `weights=FILE`")
        if self.mixed_precision != "off":
            raise UserError(f"{name}: not available with `mixed_precision={self.mixed_precision}`; use off")
        if self.strategy == "multi_worker":
            raise UserError(f"{name}: not available with `strategy=multi_worker`")
        for other in ("progressive", "remat"):
            if getattr(self, other):
                raise UserError(f"{name}: not available with `{other}`; remove one of them")

    def _validate_for_several_workers(self):
        """Rejects settings that the workers could not follow in step."""
        if self.checkpoint_every and not self.checkpoint_every.endswith("steps"):
            raise UserError(
                f"`checkpoint_every={self.checkpoint_every}`: the clocks of several workers differ; give a "
                "number of steps, for example 500steps"
            )
        if self.time_limit:
            raise UserError(
                f"`time_limit={self.time_limit}`: the clocks of several workers differ; use `epochs` instead"
            )
        if self.data_service:
            raise UserError("`data_service`: not available with `strategy=multi_worker`")
        if self.logical_cpus > 1:
            raise UserError("`logical_cpus`: not available with `strategy=multi_worker`")

    def layer_multipliers(self):
        """`freeze` and `lr_multipliers` as one list of (layer-name pattern, multiplier); 0 means frozen.

        Raises:
            UserError: not a regular expression, or not a multiplier.
        """
        written = [f"{pattern}=0" for pattern in filter(None, self.freeze.split(","))]
        found = []
        for pair in [*written, *filter(None, self.lr_multipliers.split(","))]:
            try:
                pattern, multiplier = re.fullmatch(r"(.+)=(\d*\.?\d+)", pair).groups()
                re.compile(pattern)
            except (AttributeError, re.error, OverflowError, RecursionError):
                raise UserError(
                    f"`freeze` or `lr_multipliers`: {pair!r} is not PATTERN=MULTIPLIER, for example "
                    "stage[12]=0.3"
                ) from None
            found.append((pattern, float(multiplier)))
        return found

    def smaller_sizes(self):
        """`progressive` as a list of ints.

        Raises:
            UserError: not increasing sizes.
        """
        sizes = [_literal(size) for size in (self.progressive or "").split(",") if self.progressive]
        low, high = TrainConfig.__dataclass_fields__["image_size"].metadata["range"]
        if not all(isinstance(size, int) and low <= size <= high for size in sizes) or sizes != sorted(sizes):
            raise UserError(
                f"`progressive={self.progressive}`: expected increasing sizes, for example 96,128"
            )
        return sizes

    def turns_of_sources(self):
        """`source_weights` as a tuple of numbers or `"even"`; None for every image once per epoch.

        Raises:
            UserError: neither a name nor positive whole numbers.
        """
        if self.source_weights in ("size", "even"):
            return None if self.source_weights == "size" else "even"
        turns = tuple(_literal(number) for number in self.source_weights.split(","))
        if not all(type(number) is int and 1 <= number <= LARGEST_TURN for number in turns):
            raise UserError(
                f"`source_weights={self.source_weights}`: expected size, even, or whole numbers from 1 to "
                f"{LARGEST_TURN} such as 1,2"
            )
        return turns

    def decay_fractions(self):
        """`decay_at` as a list of floats.

        Raises:
            UserError: not increasing fractions.
        """
        found = [_literal(fraction) for fraction in self.decay_at.split(",")]
        valid = all(isinstance(fraction, float) and 0 < fraction < 1 for fraction in found)
        if not valid or found != sorted(found):
            raise UserError(
                f"`decay_at={self.decay_at}`: expected increasing fractions, for example 0.5,0.75"
            )
        return found

    def profiled_steps(self):
        """First and last of the steps in `profile`, counted from 1; (0, 0) if there are none."""
        found = re.fullmatch(r"(\d+),(\d+)steps", self.profile or "")
        return tuple(map(int, found.groups())) if found else (0, 0)

    def model_overrides(self):
        """`overrides` as a dict: `"filters=32"` gives `{"filters": 32}`.

        Raises:
            UserError: not NAME=VALUE.
        """
        found = {}
        # Commas inside a tuple do not separate.
        for item in filter(None, re.split(r",(?![^()]*\))", self.overrides)):
            name, equals, value = item.partition("=")
            if not equals:
                raise UserError(f"`overrides={self.overrides}`: {item!r} is not NAME=VALUE")
            found[name.strip()] = _literal(value.strip())
        if "image_size" in found:
            raise UserError(f"`overrides={self.overrides}`: use `image_size={found['image_size']}` instead")
        return found


def resolve(given, published=None, earlier=None):
    """The configuration of a training run: defaults < the run to repeat < recipe < given settings.

    Args:
        given: `{setting: value}` of what the user gave.
        published: the architecture's `models.registry.Recipe`, for `recipe=paper`.
        earlier: settings of the run to repeat, or None.

    Raises:
        UserError: an unknown recipe or setting, or an invalid value.
    """
    earlier = earlier or {}
    if given.get("recipe") in FROM_THE_START:
        earlier = {name: value for name, value in earlier.items() if name not in OWN_SETTINGS}
    recipe = _recipe_settings(
        {"batch_size": earlier.get("batch_size", TrainConfig.batch_size), **given}, published
    )
    settings = {**earlier, **recipe}
    if given.get("from_run") and _continues(given):
        settings["weights"] = model_of(given["from_run"])
    settings |= given
    if given.get("recipe") in FROM_THE_START and settings.get("augment") != "wild":
        settings["backgrounds"] = given.get("backgrounds")
    if given.get("recipe") == "adapt" and given.get("class_balance", "none") != "none":
        # The recipe's even turns of the sources exclude a balance of classes, which was asked for.
        settings["source_weights"] = given.get("source_weights", TrainConfig.source_weights)
    integers = settings.get("quantize", "none") != "none"
    if "recipe" not in given and settings.get("recipe") == "quantize" and not integers:
        # An earlier run's, which ends with its integers.
        settings["recipe"] = TrainConfig.recipe
    return TrainConfig(**settings)


def _continues(given):
    return given.get("recipe") == "adapt" or given.get("quantize", "none") != "none"


def model_of(run):
    """The setting `weights` that stands for the network of a run, given as in `from_run`."""
    return str(pathlib.PurePath(run, "model.keras"))


def _recipe_settings(given, published=None):
    quantized = given.get("quantize", "none") != "none"
    recipe = given.get("recipe", "quantize" if quantized else TrainConfig.recipe)
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise UserError(f"`recipe={recipe}`: {did_you_mean(recipe, RECIPES)}")
    if recipe == "paper" and published:
        return {**RECIPES[recipe], **paper(published, given.get("batch_size", TrainConfig.batch_size))}
    return {**RECIPES[recipe], "recipe": recipe} if quantized else RECIPES[recipe]


def plain(value, types):
    """Paths as text, numbers of NumPy as Python's, and 0 as 0.0, so that a setting is stored in one way."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    kinds = {numbers.Integral: int, numbers.Real: float}
    for kind, made in kinds.items():
        if isinstance(value, kind) and not isinstance(value, bool | int | float):
            value = made(value)
    # Larger numbers are rejected as they are.
    return float(value) if float in types and type(value) is int and abs(value) < 2**53 else value


@functools.cache
def kinds(settings, name):
    """The types that the value of a setting may have.

    Args:
        settings: the class of the settings.
        name: of the setting.
    """
    hint = typing.get_type_hints(settings)[name]
    return typing.get_args(hint) or (hint,)


def validate_type(name, value, types, texts=str):
    """Checks the type of a setting's value.

    Args:
        name: of the setting.
        value: its value.
        types: as returned by `kinds`.
        texts: the types that count as text: 30 epochs may be a number.

    Raises:
        UserError: the value has another type.
    """
    allowed = {str: texts, float: (int, float)}
    fits = any(isinstance(value, allowed.get(kind, kind)) for kind in types)
    if not fits or (isinstance(value, bool) and bool not in types):
        words = {str: "a text", int: "a whole number", float: "a number", bool: "True or False"}
        expected = " or ".join(words.get(kind, "None") for kind in types)
        raise UserError(f"`{name}={value}`: expected {expected}, not {type(value).__name__}")


def _validate_value(field, value):
    rules = field.metadata
    if rules["choices"] and value not in rules["choices"]:
        raise UserError(f"`{field.name}={value}`: {did_you_mean(value, rules['choices'])}")
    texts = (str, int, float) if rules["units"] else str
    validate_type(field.name, value, kinds(TrainConfig, field.name), texts)
    if value is None:
        return
    if rules["range"]:
        low, high = rules["range"]
        if not low <= value <= high:
            raise UserError(f"`{field.name}={value}`: expected {low} to {high:g}")
    if rules["units"] and not re.fullmatch(rf"\d+(\.\d+)?({'|'.join(rules['units'])})", str(value)):
        units = " or ".join(filter(None, rules["units"]))
        example = "30 or 500steps" if "" in rules["units"] else "5m"
        raise UserError(f"`{field.name}={value}`: expected a number with {units}, for example {example}")
    if rules["units"] and duration(value)[0] > LONGEST:
        raise UserError(f"`{field.name}={value}`: expected at most {LONGEST:g}")


def duration(text):
    """`"5m"` gives `(300.0, "seconds")`, `"500steps"` `(500.0, "steps")`, `"30"` `(30.0, "epochs")`."""
    number, unit = re.fullmatch(r"([\d.]+)([a-z]*)", str(text)).groups()
    seconds = {"s": 1, "m": 60, "h": 3600}
    return float(number) * seconds.get(unit, 1), "seconds" if unit in seconds else unit or "epochs"


def in_steps(text, steps_per_epoch):
    """A duration in epochs or steps as a whole number of steps."""
    number, unit = duration(text)
    return int(number * steps_per_epoch if unit == "epochs" else number)


def _literal(text):
    """A number, a tuple, True or False; any other text stays text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
