"""What a training is told: one dataclass, from which the flags are made."""

import ast
import dataclasses
import inspect
import re
import types
import typing

from absl import flags

from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.recipes import RECIPES, paper


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Every setting of a training. The comment above a field is the help of its flag."""

    # architecture, see `python -m recycle_tf models`
    arch: str = "densenet121"
    # settings of the architecture to change, such as filters=32,drop_rate=0.3
    overrides: str = ""
    # named settings, see recycle_tf/training/recipes.py: scratch, quick, finetune (needs --weights), paper
    # (optimizer, rate and schedule that the architecture was published with)
    recipe: str = "scratch"
    # start from these: imagenet (published ones), or a file of the same architecture: .keras, .weights.h5,
    # .h5 (keras.applications) or .safetensors (torchvision, timm)
    weights: str | None = None

    # trashnet, trashnet/clean, recyclables_synth, a folder with one sub-folder of pictures a class, or a
    # .csv with the columns image,label,split
    dataset: str = "trashnet"
    # how a folder without a split is split: stratified, grouped (near-duplicates stay on one side)
    split: str = "stratified"
    # folder with a data set's files that you fetched; else $RECYCLE_TF_MANUAL_DIR
    manual_dir: str | None = None
    # where prepared data sets are kept; else TFDS's own folder
    data_dir: str | None = None
    # height and width the network sees, in pixels; else the architecture's
    image_size: int | None = None
    # smaller sizes with which the training begins, such as 96,128: each for as long as image_size at its end
    progressive: str | None = None
    # how a picture becomes square: stretch, letterbox, crop
    resize: str = "stretch"
    # none, trivial (crops, flips, quarter turns and one operation more), basic (the same with light changes
    # of colour), upright (crops, mirrored or not, light), or what keras-cv has: randaugment, augmix, gridmask
    augment: str = "trivial"
    # two pictures in one: none, mixup, cutmix, both
    mix: str = "both"
    # what a picture that cannot be read is: an error, or something to skip (and to list in config.json)
    on_bad_image: str = "error"
    # where decoded pictures are kept: memory, disk (a temporary file), off, auto (where they fit)
    cache: str = "auto"
    # address of a tf.data service whose workers make the batches, grpc://HOST:PORT
    data_service: str | None = None

    # repeat the training of this run folder: its settings, but for --run_dir and for what other flags say
    from_run: str | None = None
    # where everything goes; else the unfinished run of this command, or a new runs/ARCH-DATASET-TIME
    run_dir: str | None = None
    # how often the training pictures are seen, such as 30, or how many batches, such as 5000steps
    epochs: str = "100"
    # time after which it ends, such as 90m or 2h, over all parts of a run that was stopped and went on; else
    # it runs all
    time_limit: str | None = None
    # draw the loss over a growing rate into lr_finder.png, suggest a --learning_rate, and end without a run
    lr_finder: bool = False
    # epochs without a better model after which training ends; else it runs all
    patience: int | None = None
    # pictures a step, over all devices
    batch_size: int = 32
    # adamw, sgd (momentum 0.9, Nesterov), momentum (0.9), rmsprop (momentum 0.9), lion, lamb
    optimizer: str = "adamw"
    # layers that do not learn: patterns of how their names begin, such as stem,stage1
    freeze: str = ""
    # batch norm does not learn either, and normalises with the statistics that it starts with
    freeze_norms: bool = False
    # layers that learn at another rate: patterns and multipliers, such as stem=0.1,stage[12]=0.3
    lr_multipliers: str = ""
    # what the rate of each stage is multiplied with to get that of the stage before it; the last stage's is
    # so much of the head's
    layer_decay: float = 1.0
    # epochs at the start in which the head alone learns; the rest begins with a warm-up and an optimizer of
    # its own
    head_epochs: int = 0
    # highest rate, after the warm-up
    learning_rate: float = 2e-3
    # how long the rate grows from 0, in epochs, such as 5, or 500steps; at most a fifth of the training
    warmup: str = "5"
    # how the rate goes on: cosine (down to 0), step (times --decay at each of --decay_at), exponential (down
    # to --decay, evenly), constant, one_cycle (up for three tenths instead of the warm-up, then a cosine)
    schedule: str = "cosine"
    # see --schedule
    decay: float = 0.1
    # shares of the training, see --schedule
    decay_at: str = "0.5,0.75"
    # decoupled; biases and norms have none
    weight_decay: float = 0.05
    # cross_entropy, or focal: pictures that are already right count less
    loss: str = "cross_entropy"
    # of the focal loss: how much less
    focal_gamma: float = 2.0
    # share of the label that is spread over all classes
    label_smoothing: float = 0.1
    # passes that the gradient of a batch is computed in, one after another, where memory is short
    accumulate: int = 1
    # the longest that the gradient of a batch may be, over all weights; else any
    clip_norm: float | None = None
    # momentum of an average of the weights, such as 0.999, which is evaluated too, and saved when better
    ema: float | None = None
    # what rare classes get: none, weights (in the loss, so that all classes count the same), or sampler (all
    # classes come equally often, the pictures of rare ones again and again)
    class_balance: str = "none"

    # of weights, order, augmentation and split
    seed: int = 0
    # auto (every GPU there is), one_device, mirrored, multi_worker (the hosts that TF_CONFIG names)
    strategy: str = "auto"
    # whether several devices normalise a batch together: auto (where one has fewer than 32 of it), on, off
    sync_batch_norm: str = "auto"
    # the same weights to the last bit each time, on one device of the same kind; slower, above all on GPUs
    deterministic: bool = False
    # how often what going on needs is written within an epoch, such as 5m, 1h, 30s or 500steps; at the end
    # of each epoch it always is; else 5m, and with several workers only then
    checkpoint_every: str | None = None
    # cut the CPU into this many devices, to try `mirrored` without GPUs
    logical_cpus: int = 1
    # auto (bfloat16 on GPUs that have it), bfloat16, float16, off
    mixed_precision: str = "auto"
    # compile a step with XLA: auto (on a single GPU), on, off
    jit: str = "auto"
    # recompute the inside of the blocks rather than keep it: half the memory, up to a third more time
    remat: bool = False
    # which of its steps to profile for TensorBoard, such as 10,20steps
    profile: str | None = None

    def __post_init__(self):
        """Refuses values that cannot work.

        Raises:
            UserError: names the flag, its value and what would be right.
        """
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise UserError(f"--{name}={value}: {did_you_mean(value, choices)}")
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f"--{name}={value}: expected {low} to {high:g}")
        for name, units in DURATIONS.items():
            text = getattr(self, name)
            if text is not None and not re.fullmatch(rf"\d+(\.\d+)?({'|'.join(units)})", text):
                example = "30 or 500steps" if "" in units else "5m"
                written = " or ".join(filter(None, units))
                raise UserError(f"--{name}={text}: expected a number and {written}, such as {example}")
        if not duration(self.epochs)[0]:
            raise UserError(f"--epochs={self.epochs}: nothing would be trained")
        if self.jit == "on" and self.deterministic:
            raise UserError("--jit=on: XLA is off with --deterministic; leave one of them out")
        if self.progressive and self.remat:
            raise UserError("--progressive: --remat recomputes maps of one size; leave one of them out")
        self.decay_shares()
        self.smaller_sizes()
        self.layer_multipliers()
        if self.recipe == "finetune" and self.weights is None:
            raise UserError(
                "--recipe=finetune: nothing to start from; add --weights=imagenet, or a file of the same "
                "architecture, .keras, .weights.h5, .h5 or .safetensors"
            )
        if self.profile and not 0 < self.profiled_steps()[0] <= self.profiled_steps()[1]:
            raise UserError(f"--profile={self.profile}: expected first and last step, such as 10,20steps")
        if self.strategy == "multi_worker":
            self._refuse_for_several_workers()

    def _refuse_for_several_workers(self):
        """Refuses what they could not do alike."""
        if self.checkpoint_every and not self.checkpoint_every.endswith("steps"):
            raise UserError(
                f"--checkpoint_every={self.checkpoint_every}: the clocks of several workers differ; "
                f"give a number of steps, such as 500steps"
            )
        if self.time_limit:
            raise UserError(
                f"--time_limit={self.time_limit}: the clocks of several workers differ; give --epochs"
            )
        if self.data_service:
            raise UserError("--data_service: with --strategy=multi_worker each host makes its own pictures")
        if self.logical_cpus > 1:
            raise UserError("--logical_cpus: with --strategy=multi_worker each host has one CPU")

    def layer_multipliers(self):
        """`freeze` and `lr_multipliers` as one list of (layer-name pattern, multiplier); 0 means frozen.

        Raises:
            UserError: something that is no pattern or no multiplier.
        """
        written = [f"{pattern}=0" for pattern in filter(None, self.freeze.split(","))]
        found = []
        for pair in [*written, *filter(None, self.lr_multipliers.split(","))]:
            try:
                pattern, multiplier = re.fullmatch(r"(.+)=(\d*\.?\d+)", pair).groups()
                re.compile(pattern)
            except (AttributeError, re.error):
                raise UserError(
                    f"--freeze or --lr_multipliers: {pair!r} is not PATTERN=MULTIPLIER, such as stage[12]=0.3"
                ) from None
            found.append((pattern, float(multiplier)))
        return found

    def smaller_sizes(self):
        """`progressive` as numbers.

        Raises:
            UserError: they are no rising sizes.
        """
        sizes = [_literal(size) for size in (self.progressive or "").split(",") if self.progressive]
        low, high = BOUNDS["image_size"]
        if not all(isinstance(size, int) and low <= size <= high for size in sizes) or sizes != sorted(sizes):
            raise UserError(f"--progressive={self.progressive}: expected rising sizes, such as 96,128")
        return sizes

    def decay_shares(self):
        """`decay_at` as numbers.

        Raises:
            UserError: they are no rising shares.
        """
        shares = [_literal(share) for share in self.decay_at.split(",")]
        if not all(isinstance(share, float) and 0 < share < 1 for share in shares) or shares != sorted(
            shares
        ):
            raise UserError(
                f"--decay_at={self.decay_at}: expected rising shares of the training, such as 0.5,0.75"
            )
        return shares

    def profiled_steps(self):
        """First and last of the steps that `profile` names, from 1; (0, 0) for none, or for no such range."""
        found = re.fullmatch(r"(\d+),(\d+)steps", self.profile or "")
        return tuple(map(int, found.groups())) if found else (0, 0)

    def model_overrides(self):
        """`overrides` as a dict: `"filters=32"` gives `{"filters": 32}`.

        Raises:
            UserError: something that is not `name=value`.
        """
        found = {}
        # At commas, but for those inside a tuple.
        for item in filter(None, re.split(r",(?![^()]*\))", self.overrides)):
            name, equals, value = item.partition("=")
            if not equals:
                raise UserError(f"--overrides={self.overrides}: {item!r} should be name=value")
            found[name.strip()] = _literal(value.strip())
        if "image_size" in found:
            raise UserError(f"--overrides={self.overrides}: give --image_size={found['image_size']} instead")
        return found


CHOICES = {
    "split": ("stratified", "grouped"),
    "resize": ("stretch", "letterbox", "crop"),
    "mix": ("none", "mixup", "cutmix", "both"),
    "on_bad_image": ("error", "skip"),
    "cache": ("auto", "memory", "disk", "off"),
    "loss": ("cross_entropy", "focal"),
    "class_balance": ("none", "weights", "sampler"),
    "optimizer": ("adamw", "sgd", "momentum", "rmsprop", "lion", "lamb"),
    "schedule": ("cosine", "step", "exponential", "constant", "one_cycle"),
    "strategy": ("auto", "one_device", "mirrored", "multi_worker"),
    "sync_batch_norm": ("auto", "on", "off"),
    "jit": ("auto", "on", "off"),
    "mixed_precision": ("auto", "bfloat16", "float16", "off"),
}

BOUNDS = {
    "image_size": (32, 2048),
    "patience": (1, 1e6),
    "batch_size": (1, 65536),
    "layer_decay": (0.01, 1),
    "head_epochs": (0, 1e6),
    "learning_rate": (1e-9, 100),
    "decay": (1e-6, 1),
    "weight_decay": (0, 10),
    "focal_gamma": (1, 10),
    "label_smoothing": (0, 0.99),
    "accumulate": (1, 64),
    "clip_norm": (1e-6, 1e6),
    "ema": (0.5, 0.99999),
    "logical_cpus": (1, 64),
    "seed": (0, 2**31 - 1),
}

DURATIONS = {
    # settings that are a number with a unit, and which units
    "checkpoint_every": ("m", "h", "s", "steps"),
    "time_limit": ("m", "h", "s"),
    "epochs": ("", "epochs", "steps"),
    "warmup": ("", "epochs", "steps"),
}


def define_flags(flag_values):
    """Makes a flag of every field of `TrainConfig`."""
    texts = _comments(TrainConfig)
    define = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        bool: flags.DEFINE_bool,
    }
    hints = typing.get_type_hints(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        hint = hints[field.name]
        kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
        define[kind](field.name, field.default, texts[field.name], flag_values=flag_values)


def from_flags(flag_values, published=None):
    """The configuration that a command line asks for: defaults < the run to repeat < recipe < flags given.

    Args:
        flag_values: flags that `define_flags` made.
        published: the `Recipe` of the architecture, which `--recipe=paper` adapts.

    Raises:
        UserError: an unknown recipe, no run to repeat, or a value that cannot work.
    """
    given = {
        field.name: flag_values[field.name].value
        for field in dataclasses.fields(TrainConfig)
        if flag_values[field.name].present
    }
    recipe = given.get("recipe", TrainConfig.recipe)
    if recipe not in RECIPES:
        raise UserError(f"--recipe={recipe}: {did_you_mean(recipe, RECIPES)}")
    settings = {**RECIPES[recipe], **given}
    if recipe == "paper" and published:
        batch_size = settings.get("batch_size", TrainConfig.batch_size)
        settings = {**paper(published, batch_size), **settings}
    before = _settings_of(given["from_run"]) if "from_run" in given else {}
    return TrainConfig(**{**before, **settings})


def _settings_of(path):
    """What a run was told, without the place where it lies."""
    from recycle_tf import runs  # which imports this module

    settings = runs.open_run(path, "--from_run").config
    unknown = sorted(settings.keys() - {field.name for field in dataclasses.fields(TrainConfig)})
    if unknown:
        raise UserError(
            f"--from_run={path}: was begun with --{unknown[0]}={settings[unknown[0]]}, which this version "
            f"does not know"
        )
    return {**settings, "run_dir": None}


def duration(text):
    """`"5m"` gives `(300.0, "seconds")`, `"500steps"` `(500.0, "steps")`, `"30"` `(30.0, "epochs")`."""
    number, unit = re.fullmatch(r"([\d.]+)([a-z]*)", text).groups()
    seconds = {"s": 1, "m": 60, "h": 3600}
    return float(number) * seconds.get(unit, 1), "seconds" if unit in seconds else unit or "epochs"


def in_steps(text, steps_per_epoch):
    """The whole steps of a duration in epochs or steps."""
    number, unit = duration(text)
    return int(number * steps_per_epoch if unit == "epochs" else number)


def _comments(cls):
    """`{field: comment above it}`."""
    blocks = re.findall(r"((?:^    # .*\n)+)^    (\w+): ", inspect.getsource(cls), re.MULTILINE)
    return {name: " ".join(comment.replace("#", " ").split()) for comment, name in blocks}


def _literal(text):
    """A number, a tuple, True or False; anything else is a word."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
