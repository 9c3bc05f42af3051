"""What training without the findings brings, on features where it must help."""

import numpy as np

from benchmarks import label_errors as benchmark
from recycle_tf.evaluation import label_errors


def test_training_without_the_findings_recovers_what_changed_labels_cost():
    rng = np.random.default_rng(0)
    true, test_labels = np.arange(600) % 3, np.arange(3000) % 3
    # As many dimensions as examples of a class, so that a wrong label is learned by heart.
    centers = 0.15 * rng.normal(size=(3, 200))
    features = centers[true] + rng.normal(size=(600, 200))
    test = centers[test_labels] + rng.normal(size=(3000, 200)), test_labels
    labels, changed = benchmark.change(true, 0)
    assert changed.sum() == 30
    assert (labels[changed] != true[changed]).all()
    found = benchmark.retrained(features, labels, true, np.flatnonzero(changed), test)
    given, without, reviewed, never = found.values()
    assert given < without - 0.01
    assert reviewed == never


def test_the_findings_are_those_of_the_audit():
    rng = np.random.default_rng(0)
    true = np.arange(300) % 3
    features = 3 * np.eye(3)[true] + rng.normal(size=(300, 3))
    rows = list(benchmark.searches(features, true))
    assert [seed for seed, *_ in rows] == list(benchmark.SEEDS)
    for seed, labels, changed, selections in rows:
        expected = label_errors.find(labels, label_errors.out_of_fold(features, labels, seed)).indices
        np.testing.assert_array_equal(selections[benchmark.FINDINGS], expected)
        assert changed[selections[benchmark.FINDINGS]].mean() > 0.5
