r"""Names of our layers in the networks of torchvision and timm, one tuple per family.

Each tuple holds pairs `(pattern, replacement)` as for `re.sub`; the first pattern that matches the whole
name of our layer applies. Replacements that need arithmetic are functions of the match: their blocks are
numbered from 0, ours from 1. The tests compare logits computed by the libraries themselves
(`tests/models/make_torch_golden.py`).
"""


def _residual(part):
    """A module of a residual block: our stage 2, block 1 is their `layer2.0`."""
    return lambda m: f"layer{m[1]}.{int(m[2]) - 1}.{part.format(*m.groups())}"


def _inception(part):
    """A part of an inception module: our stage 1, block 2 is their `inception3b`, as in the paper's table."""
    return lambda m: f"inception{int(m[1]) + 2}{'abcde'[int(m[2]) - 1]}.{part}"


def _mbconv(part):
    """A module of an MBConv block: our stage 2, block 1 is their `blocks.1.0`."""
    return lambda m: f"blocks.{int(m[1]) - 1}.{int(m[2]) - 1}.{part}"


def _transition(part):
    """A module of a transition layer: the first of our stage 2 is their `transition1`."""
    return lambda m: f"features.transition{int(m[1]) - 1}.{part}"


ALEXNET = (
    (r"stem_conv",    r"features.0"),
    (r"stage1_conv1", r"features.3"),
    (r"stage2_conv1", r"features.6"),
    (r"stage2_conv2", r"features.8"),
    (r"stage2_conv3", r"features.10"),
    (r"head_dense1",  r"classifier.1"),
    (r"head_dense2",  r"classifier.4"),
    (r"logits",       r"classifier.6"),
)  # fmt: skip

# torchvision; each BasicConv2d is a convolution and its norm.
GOOGLENET = (
    (r"stem_conv",                               r"conv1.conv"),
    (r"stem_conv_norm",                          r"conv1.bn"),
    (r"stem_reduce",                             r"conv2.conv"),
    (r"stem_reduce_norm",                        r"conv2.bn"),
    (r"stem_conv2",                              r"conv3.conv"),
    (r"stem_conv2_norm",                         r"conv3.bn"),
    (r"stage(\d)_block(\d)_one",                 _inception("branch1.conv")),
    (r"stage(\d)_block(\d)_one_norm",            _inception("branch1.bn")),
    (r"stage(\d)_block(\d)_three_reduce",        _inception("branch2.0.conv")),
    (r"stage(\d)_block(\d)_three_reduce_norm",   _inception("branch2.0.bn")),
    (r"stage(\d)_block(\d)_three",               _inception("branch2.1.conv")),
    (r"stage(\d)_block(\d)_three_norm",          _inception("branch2.1.bn")),
    (r"stage(\d)_block(\d)_five_reduce",         _inception("branch3.0.conv")),
    (r"stage(\d)_block(\d)_five_reduce_norm",    _inception("branch3.0.bn")),
    (r"stage(\d)_block(\d)_five",                _inception("branch3.1.conv")),
    (r"stage(\d)_block(\d)_five_norm",           _inception("branch3.1.bn")),
    (r"stage(\d)_block(\d)_pool_project",        _inception("branch4.1.conv")),
    (r"stage(\d)_block(\d)_pool_project_norm",   _inception("branch4.1.bn")),
    (r"logits",                                  r"fc"),
)  # fmt: skip

# torchvision and timm; only timm has squeeze-and-excitation.
RESNET = (
    (r"stem_conv",                           r"conv1"),
    (r"stem_conv_norm",                      r"bn1"),
    (r"stage(\d)_block(\d+)_conv(\d)",       _residual("conv{2}")),
    (r"stage(\d)_block(\d+)_conv(\d)_norm",  _residual("bn{2}")),
    (r"stage(\d)_block(\d+)_se_reduce",      _residual("se.fc1")),
    (r"stage(\d)_block(\d+)_se_expand",      _residual("se.fc2")),
    (r"stage(\d)_block(\d+)_shortcut",       _residual("downsample.0")),
    (r"stage(\d)_block(\d+)_shortcut_norm",  _residual("downsample.1")),
    (r"logits",                              r"fc"),
)  # fmt: skip

# torchvision and timm. Their norms precede a convolution: norm2 follows conv1.
DENSENET = (
    (r"stem_conv",                          r"features.conv0"),
    (r"stem_conv_norm",                     r"features.norm0"),
    (r"stage(\d)_block(\d+)_in_norm",       r"features.denseblock\1.denselayer\2.norm1"),
    (r"stage(\d)_block(\d+)_conv1_norm",    r"features.denseblock\1.denselayer\2.norm2"),
    (r"stage(\d)_block(\d+)_conv(\d)",      r"features.denseblock\1.denselayer\2.conv\3"),
    (r"stage(\d)_transition_norm",          _transition("norm")),
    (r"stage(\d)_transition_conv",          _transition("conv")),
    (r"stage4_out_norm",                    r"features.norm5"),
    (r"logits",                             r"classifier"),
)  # fmt: skip

# timm. The blocks of the first stage do not expand and are of another class.
EFFICIENTNET_LITE = (
    (r"stem_conv",                               r"conv_stem"),
    (r"stem_conv_norm",                          r"bn1"),
    (r"stage(1)_block(\d+)_depthwise",           _mbconv("conv_dw")),
    (r"stage(1)_block(\d+)_depthwise_norm",      _mbconv("bn1")),
    (r"stage(1)_block(\d+)_project",             _mbconv("conv_pw")),
    (r"stage(1)_block(\d+)_project_norm",        _mbconv("bn2")),
    (r"stage(\d)_block(\d+)_expand",             _mbconv("conv_pw")),
    (r"stage(\d)_block(\d+)_expand_norm",        _mbconv("bn1")),
    (r"stage(\d)_block(\d+)_depthwise",          _mbconv("conv_dw")),
    (r"stage(\d)_block(\d+)_depthwise_norm",     _mbconv("bn2")),
    (r"stage(\d)_block(\d+)_project",            _mbconv("conv_pwl")),
    (r"stage(\d)_block(\d+)_project_norm",       _mbconv("bn3")),
    (r"head_conv",                               r"conv_head"),
    (r"head_conv_norm",                          r"bn2"),
    (r"logits",                                  r"classifier"),
)  # fmt: skip
