"""What the gates accept and reject."""

import numpy as np
import pytest

from export import gates
from export.formats import FORMATS

NAMES = ["can", "jar", "tube", "box"]
EXAMPLES = 400


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def network():
    """Logits and labels of a classifier that is right nine times out of ten."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(NAMES), EXAMPLES)
    logits = rng.normal(0, 1.5, (EXAMPLES, len(NAMES))) + 4.5 * np.eye(len(NAMES))[labels]
    return logits, labels


def judge(name, found, expected, labels, max_drop=1.0):
    return gates.judge(found, expected, labels, NAMES, max_drop, FORMATS[name].precision)


def noise(logits, share):
    return logits + share * logits.std() * np.random.default_rng(1).normal(size=logits.shape)


def only_flip(network, count, margin_before, margin_after):
    """Probabilities before and after, of which `count` flip and nothing else changes."""
    _, labels = network
    before = np.full((EXAMPLES, len(NAMES)), 0.01)
    before[np.arange(EXAMPLES), labels] = 0.97
    after = before.copy()
    for index in range(count):
        first, second = labels[index], (labels[index] + 1) % len(NAMES)
        before[index, [first, second]] = 0.49 + margin_before / 2, 0.49 - margin_before / 2
        after[index, [first, second]] = 0.49 - margin_after / 2, 0.49 + margin_after / 2
    return before, after


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_float16_is_judged_alike_at_every_temperature(network, temperature):
    logits, labels = network
    expected = softmax(logits / temperature)
    rounded = judge("tflite_float16", softmax(noise(logits, 0.002) / temperature), expected, labels)
    assert rounded.failure is None
    damaged = judge("tflite_float16", softmax(noise(logits, 0.05) / temperature), expected, labels)
    assert damaged.failure


def test_a_float16_file_may_differ_where_the_slope_is_steep(network):
    logits, labels = network
    verdict = judge("tflite_float16", softmax(noise(logits, 0.004) * 2), softmax(2 * logits), labels)
    assert 0.01 < verdict.max_gap < 0.05
    assert verdict.failure is None


def test_rounding_of_each_precision_passes_its_own_gate_only(network):
    logits, labels = network
    expected = softmax(logits)
    for name, share in {"tflite_float32": 2e-6, "tflite_float16": 2e-3, "tflite_int8": 5e-2}.items():
        assert judge(name, softmax(noise(logits, share)), expected, labels).failure is None
    assert judge("tflite_float32", softmax(noise(logits, 2e-3)), expected, labels).failure
    assert judge("tflite_float16", softmax(noise(logits, 5e-2)), expected, labels).failure


@pytest.mark.parametrize("name", FORMATS)
def test_shuffled_labels_are_rejected(network, name):
    logits, labels = network
    expected = softmax(logits)
    assert judge(name, expected[:, [1, 0, 2, 3]], expected, labels).failure


@pytest.mark.parametrize("name", FORMATS)
def test_equal_answers_pass(network, name):
    logits, labels = network
    verdict = judge(name, softmax(logits), softmax(logits), labels)
    assert verdict.failure is None
    assert (verdict.flips, verdict.drop, verdict.logit_error, verdict.max_shift) == (0, 0, 0, 0)
    assert verdict.chance == 1


def test_a_flip_counts_when_both_are_sure(network):
    _, labels = network
    for before, after, counted in ((0.3, 0.3, 6), (0.3, 0.05, 0), (0.05, 0.3, 0)):
        expected, found = only_flip(network, 6, before, after)
        verdict = judge("tflite_int8", found, expected, labels, max_drop=100)
        assert (verdict.flips, verdict.confident_flips) == (6, counted)
        assert verdict.largest_margin == pytest.approx(min(before, after))
        assert bool(verdict.failure) == bool(counted)
    assert "6 of 400" in judge("tflite_int8", *only_flip(network, 6, 0.3, 0.3)[::-1], labels, 100).failure


def test_one_confident_flip_is_no_share_of_few_images(network):
    _, labels = network
    expected, found = only_flip(network, 1, 0.3, 0.3)
    assert judge("tflite_int8", found[:20], expected[:20], labels[:20]).failure is None
    assert judge("tflite_float16", found[:20], expected[:20], labels[:20]).failure


def test_a_drop_counts_beyond_chance(network):
    _, labels = network
    expected, found = only_flip(network, 4, 0.04, 0.04)
    # Four of four is chance once in sixteen times; with one more it is not.
    verdict = judge("tflite_int8", found, expected, labels, max_drop=0.5)
    assert verdict.drop == pytest.approx(1.0)
    assert verdict.chance == pytest.approx(1 / 16)
    assert verdict.failure is None
    expected, found = only_flip(network, 5, 0.04, 0.04)
    failure = judge("tflite_int8", found, expected, labels, max_drop=0.5).failure
    assert "`max_drop=0.5`" in failure
    assert judge("tflite_int8", found, expected, labels, max_drop=2).failure is None


def test_gained_and_lost_images_both_make_a_drop_uncertain():
    assert gates.chance_of_loss(0, 0) == 1
    assert gates.chance_of_loss(5, 0) == pytest.approx(1 / 32)
    assert gates.chance_of_loss(9, 4) == pytest.approx(0.1334, abs=1e-4)


def test_recall_change(network):
    _, labels = network
    expected, found = only_flip(network, 4, 0.04, 0.04)
    verdict = judge("tflite_int8", found, expected, labels)
    assert sum(change < 0 for change in verdict.recall_change.values()) >= 1
    some = labels != 3
    verdict = judge("tflite_int8", found[some], expected[some], labels[some])
    assert verdict.recall_change["box"] is None


def test_values_that_are_not_finite(network):
    logits, labels = network
    verdict = judge("tflite_int8", softmax(logits) * np.nan, softmax(logits), labels)
    assert "NaN" in verdict.failure
    assert np.isfinite(verdict.max_gap)


def test_a_constant_answer_has_no_spread():
    same = np.tile([0.7, 0.3], (5, 1))
    assert gates.logit_error(same, same) == 0
    slightly = np.tile([0.69, 0.31], (5, 1))
    assert 0 < gates.logit_error(slightly, same) < 0.03
    assert gates.logit_error(same[:, ::-1], same) > 0.8


def test_most_confident_flips_come_first(network):
    expected = np.float64([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    found = expected[:, ::-1].copy()
    found[1] = expected[1]
    indices, margins = gates.find_flips(found, expected)
    assert indices.tolist() == [0, 3, 2]
    np.testing.assert_allclose(margins, [0.8, 0.4, 0.2])


def test_a_file_that_calls_other_images_unlike_is_rejected(network):
    logits, labels = network
    expected = softmax(logits)
    found = expected.copy()
    found[:20] *= 0.3
    verdict = judge("tflite_int8", found, expected, labels)
    assert verdict.flips == verdict.confident_flips == 20
    assert "at most 4 may" in verdict.failure
    assert verdict.max_shift == pytest.approx(0.7)
    # One that Keras calls unlike too is right.
    assert judge("tflite_int8", found, found, labels).failure is None
