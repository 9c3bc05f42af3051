"""Paired statistics against values of textbooks."""

import numpy as np
import pytest

from recycle_tf.evaluation import comparing


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [(5, 5, 1.0), (0, 10, 2 / 1024), (10, 0, 2 / 1024), (3, 9, 0.146), (0, 0, 1.0), (400, 500, 0.00096)],
)
def test_mcnemar(first, second, p_value):
    assert comparing.mcnemar(first, second) == pytest.approx(p_value, rel=0.01)


def test_a_better_network_is_found():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)

    def network(accuracy):
        found = np.where(rng.uniform(size=400) < accuracy, labels, (labels + 1) % 3)
        return np.eye(3)[found]

    first, second = network(0.7), network(0.85)
    found = comparing.compare(first, second, labels)
    assert found.p_value < 0.001
    difference = found.accuracy[0] - found.accuracy[1]
    assert found.interval[0] < difference < found.interval[1] < 0
    assert found.only_second > found.only_first
    same = comparing.compare(first, first, labels)
    assert same.p_value == 1
    assert same.interval == (0, 0)
    assert comparing.compare(first, second, labels) == found


def test_the_interval_is_that_of_drawing_images():
    rng = np.random.default_rng(2)
    labels = np.zeros(150, int)
    pair = [np.eye(2)[(rng.uniform(size=150) > accuracy).astype(int)] for accuracy in (0.7, 0.9)]
    difference = (pair[0].argmax(axis=1) == 0).astype(int) - (pair[1].argmax(axis=1) == 0)
    drawn = difference[rng.integers(0, 150, (20_000, 150))].mean(axis=1)
    expected = np.quantile(drawn, (0.025, 0.975))
    np.testing.assert_allclose(comparing.compare(*pair, labels).interval, expected, atol=0.01)


def test_the_interval_covers_the_true_difference():
    """Of 100 pairs of equally good networks about 95 intervals hold 0."""
    rng = np.random.default_rng(1)
    labels = np.zeros(200, int)
    covered = 0
    for seed in range(100):
        pair = [np.eye(2)[(rng.uniform(size=200) > 0.8).astype(int)] for _ in range(2)]
        low, high = comparing.compare(*pair, labels, seed).interval
        covered += low <= 0 <= high
    assert 89 <= covered <= 100
