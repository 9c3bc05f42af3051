"""A GPU compiles the training step with XLA by default; here, the same is only translated."""

import keras
import pytest
import tensorflow as tf

from recycle_tf import create_model, options
from recycle_tf.config import TrainConfig
from recycle_tf.models import registry
from recycle_tf.training import distillation, loop


def translate(arch, teacher=None, **settings):
    """The training step as XLA's program; raises if an operation has no XLA kernel."""
    config = TrainConfig(arch=arch, epochs="2", warmup="0", **settings)
    model = create_model(arch, 3, 32)
    model = loop.prepare(model, config, tf.distribute.get_strategy(), [1, 1, 1], 1, None, teacher).model
    step = tf.function(lambda images, labels: model.train_step((images, labels)), jit_compile=True)
    batch = tf.zeros((4, 32, 32, 3)), tf.one_hot([0, 1, 2, 0], 3)
    return step.experimental_get_compiler_ir(*batch)(stage="hlo")


@pytest.mark.slow
@pytest.mark.parametrize("arch", registry.list_models("test_*"))
def test_every_family(arch):
    assert "HloModule" in translate(arch)


@pytest.mark.slow
def test_recomputation():
    assert "HloModule" in translate("test_plain", remat=True, accumulate=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate": 2, "clip_norm": 1.0},
        {"loss": "focal", "class_balance": "weights", "ema": 0.9},
        {"freeze": "stem", "lr_multipliers": "logits=2", "layer_decay": 0.7},
        *({"optimizer": name} for name in options.OPTIMIZERS),
    ],
    ids=lambda settings: ",".join(map(str, settings.values())),
)
def test_settings(settings):
    assert "HloModule" in translate("test_lenet", **settings)


def test_a_teacher_of_another_size():
    keras.utils.set_random_seed(0)
    teacher = distillation.Teacher([create_model("test_lenet", 3, 48)], 4.0)
    assert "HloModule" in translate("test_lenet", teacher)
