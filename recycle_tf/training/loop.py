"""Compile and fit: the part of a training run that Keras does."""

import dataclasses
import functools
import sys
from collections.abc import Callable

import keras

from recycle_tf.config import in_steps
from recycle_tf.errors import UserError
from recycle_tf.models import registry
from recycle_tf.training import losses, multi_worker, preflight, quantization
from recycle_tf.training.batch_norm import fuse_batch_norm, synchronize_batch_norm
from recycle_tf.training.callbacks import TrainingCallbacks
from recycle_tf.training.checkpoint import last_checkpoint, restore, restore_from_chief
from recycle_tf.training.distillation import Teacher
from recycle_tf.training.optimizers import make_optimizer
from recycle_tf.training.phases import phase_at, plan, set_lr_multipliers
from recycle_tf.training.progress import Progress
from recycle_tf.training.schedules import make_schedule
from recycle_tf.training.strategy import model_class, scope
from recycle_tf.training.tensorboard import ConfusionMatrix, TrainingSummaries


@dataclasses.dataclass(frozen=True)
class Training:
    """A model that is ready to be trained.

    Attributes:
        inference_model: the model that is saved, without auxiliary classifiers.
        model: the model that is trained; it shares its layers with `inference_model`.
        phases: a list of `phases.Phase`.
        compile_for: function that compiles `model` for a phase.
        progress: the `Progress` to resume from.
        teacher: the `distillation.Teacher`, or None.
    """

    inference_model: keras.Model
    model: keras.Model
    phases: list
    compile_for: Callable
    progress: Progress
    teacher: Teacher | None = None

    @property
    def epochs(self):
        """Number of epochs of all phases."""
        return self.phases[-1].end_epoch


def prepare(
    inference_model,
    config,
    strategy,
    class_counts,
    steps_per_epoch,
    checkpoints,
    teacher=None,
    ranges=None,
):
    """Makes a model ready to be trained, from its last checkpoint or from the start.

    Args:
        inference_model: one of `create_model`, created in the strategy's scope.
        config: a `TrainConfig`.
        strategy: the run's distribution strategy.
        class_counts: training images per class, `[classes]`.
        steps_per_epoch: batches per epoch.
        checkpoints: folder of the checkpoints; None for a new run.
        teacher: a `distillation.Teacher`, or None.
        ranges: what `quantization.find_ranges` returned.

    Returns:
        A `Training`.

    Raises:
        UserError: the checkpoint is damaged or of another version, no layer is trained, or the network takes
            no RGB images.
    """
    if inference_model.input_shape[-1] != 3:
        channels = inference_model.input_shape[-1]
        raise UserError(
            f"`overrides`: {inference_model.name} takes {channels} channel, but images have 3: RGB"
        )
    with scope(strategy):
        kind = model_class(strategy, config.remat, config.accumulate, teacher)
        if ranges:
            model, weights = quantization.training_model(inference_model, ranges, kind)
        else:
            model, weights = registry.training_model(
                inference_model,
                len(class_counts),
                kind,
                any_size=config.progressive is not None,
                **config.model_overrides(),
            )
        device_batch_size = config.batch_size // (strategy.num_replicas_in_sync * config.accumulate)
        synchronize_batch_norm(model, strategy, config.sync_batch_norm, device_batch_size)
        fuse_batch_norm(model)
        phases = plan(config, model, steps_per_epoch, inference_model)
        compile_for = functools.partial(compile_model, model, weights, config, steps_per_epoch, class_counts)
        progress = compile_and_restore(model, checkpoints, steps_per_epoch, phases, compile_for)
    return Training(inference_model, model, phases, compile_for, progress, teacher)


def compile_model(model, weights, config, steps_per_epoch, class_counts, phase):
    """Compiles a model for a phase: loss, metrics, optimizer, and which layers are trained.

    Args:
        model: one of `registry.training_model`.
        weights: weight of the loss of each of its classifiers.
        config: a `TrainConfig`.
        steps_per_epoch: batches per epoch.
        class_counts: training images per class, `[classes]`.
        phase: a `phases.Phase`.
    """
    learning_rate = make_schedule(
        config.schedule,
        config.learning_rate,
        phase.steps,
        # At most a fifth, so that a short run does not end at its peak learning rate.
        warmup_steps=min(in_steps(config.warmup, steps_per_epoch), phase.steps // 5),
        decay=config.decay,
        decay_at=config.decay_fractions(),
    )
    lr_multipliers = set_lr_multipliers(model, phase.lr_multipliers)
    with scope(model.distribute_strategy):
        model.compile(
            optimizer=make_optimizer(
                config.optimizer,
                learning_rate,
                config.weight_decay,
                lr_multipliers=lr_multipliers,
                clip_norm=config.clip_norm,
                ema=config.ema,
            ),
            loss=losses.make_loss(
                weights,
                config.label_smoothing,
                losses.class_weights(config.class_balance, class_counts),
                config.focal_gamma if config.loss == "focal" else None,
                config.teacher_temperature,
                config.hard_label_weight,
            ),
            metrics=[
                keras.metrics.MeanMetricWrapper(losses.accuracy, name="accuracy"),
                ConfusionMatrix(len(class_counts)),
            ],
            jit_compile={"auto": "auto", "on": True, "off": False}[config.jit],
        )
        model.optimizer.build(model.trainable_variables)


def compile_and_restore(model, checkpoints, steps_per_epoch, phases, compile_for):
    """Compiles a model for the phase of its last checkpoint, and restores it.

    Args:
        model: the model that is trained.
        checkpoints: folder of the checkpoints; None for a new run.
        steps_per_epoch: batches per epoch.
        phases: a list of `phases.Phase`.
        compile_for: function that compiles the model for one of them.

    Returns:
        The `Progress` to resume from.

    Raises:
        UserError: the checkpoint is damaged, or was written by another version.
    """
    strategy = model.distribute_strategy
    epoch, _, _ = last_checkpoint(checkpoints)
    compile_for(phase_at(phases, multi_worker.from_chief(strategy, epoch)))
    end = sum(phase.steps for phase in phases)
    starts = [phase.first_epoch for phase in phases[1:]]
    progress = restore(model, checkpoints, steps_per_epoch, end, starts)
    return restore_from_chief(strategy, model, progress)


def fit(training, run, batches, config, draw_confusion):
    """Trains to the last epoch and leaves the best model in the run.

    Args:
        training: a `Training`.
        run: the `runs.Run`; None at a worker that is not the chief.
        batches: a `batches.Batches`.
        config: a `TrainConfig`.
        draw_confusion: function that draws a confusion matrix, see `TrainingSummaries`.

    Raises:
        UserError: training diverged; the best model and the last checkpoint are retained.
        KeyboardInterrupt: Ctrl-C; a checkpoint was written.
    """
    model, progress = training.model, training.progress
    if progress.epoch >= training.epochs:
        return
    if run:
        run.truncate_history(progress.epoch)
    sample = _sample(training, batches)
    if training.teacher:
        sample = training.teacher.label(*sample)
    progress.start_clock()
    summaries = TrainingSummaries(run, batches.source.labels, training, sample, draw_confusion)
    validation, by_source = batches.validation, batches.validation_by_source
    callbacks = TrainingCallbacks(training, run, validation, by_source, config, summaries)
    with callbacks.listening():
        for phase in training.phases:
            if callbacks.finished or progress.epoch >= phase.end_epoch:
                continue
            if progress.epoch == phase.first_epoch > 0 and not progress.step:
                training.compile_for(phase)
            model.fit(
                batches.training_from(progress.steps),
                validation_data=validation,
                epochs=phase.end_epoch,
                initial_epoch=progress.epoch,
                steps_per_epoch=progress.steps_per_epoch,
                shuffle=False,  # The pipeline shuffles; Keras would warn that it cannot.
                verbose=_verbosity(run),
                callbacks=callbacks.in_order,
            )


def _sample(training, batches):
    """The next training batch of this process' first device; on a single host, prints the measured speed."""
    strategy = training.model.distribute_strategy
    upcoming = batches.training_from(training.progress.steps)
    sample = [strategy.experimental_local_results(part)[0] for part in next(iter(upcoming))]
    if multi_worker.index_and_count(strategy)[1] == 1:
        print(f"speed     {preflight.speeds(training.model, upcoming, sample)}")
    return sample


def _verbosity(run):
    """A progress bar in a terminal, one line per epoch elsewhere; nothing at workers other than the chief."""
    if run is None:
        return 0
    return 1 if sys.stdout.isatty() else 2
