"""Drawing splits, and manifests."""

from collections import Counter

import numpy as np
import pytest

from recycle_tf import options
from recycle_tf.data import splits
from recycle_tf.errors import UserError


def grouped_set(seed, classes=(200, 90, 40)):
    """Labels, and groups of one to six images; one of them has two classes."""
    rng = np.random.default_rng(seed)
    labels, groups = [], []
    for number, size in enumerate(classes):
        while labels.count(f"class{number}") < size:
            name = f"group{len(set(groups))}"
            members = int(rng.choice([1, 1, 1, 1, 2, 3, 6]))
            labels += [f"class{number}"] * members
            groups += [name] * members
    labels[groups.index(groups[-1])] = "class0"
    return labels, groups


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("wanted", [("validation", "test"), ("test",)])
def test_grouped_is_stratified_and_keeps_groups_whole(seed, wanted):
    labels, groups = grouped_set(seed)
    split = splits.grouped(labels, groups, seed, wanted)
    sides = {}
    for group, side in zip(groups, split, strict=True):
        sides.setdefault(group, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    assert set(split) == {"train", *wanted}
    total, found = Counter(labels), Counter(zip(labels, split, strict=True))
    for label in total:
        for name in wanted:
            # A group with two classes, or one that is too large for what is left, makes a difference of 1
            # or 2.
            assert abs(found[label, name] - splits.SHARES[name] * total[label]) <= 2


def test_grouped_does_not_depend_on_the_order_and_does_on_the_seed():
    labels, groups = grouped_set(0)
    split = splits.grouped(labels, groups, 7)
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = splits.grouped([labels[i] for i in order], [groups[i] for i in order], 7)
    assert shuffled == [split[i] for i in order]
    assert splits.grouped(labels, groups, 8) != split


def test_a_new_class_leaves_the_grouped_split_of_the_others():
    labels, groups = grouped_set(0)
    split = splits.grouped(labels, groups, 7)
    more = splits.grouped([*labels, *["new"] * 9], [*groups, *(f"new{i}" for i in range(9))], 7)
    assert more[: len(split)] == split


def test_large_groups_still_leave_every_split_something():
    labels, groups = ["a"] * 30, ["x"] * 12 + ["y"] * 10 + ["z"] * 8
    split = splits.grouped(labels + ["b"] * 3, groups + ["1", "2", "3"], 0)
    for label in "ab":
        found = {side for side, name in zip(split, labels + ["b"] * 3, strict=True) if name == label}
        assert found == set(options.SPLITS)


def test_a_class_of_too_few_groups():
    labels, groups = ["a"] * 9 + ["b"] * 9, [*"123456789", *"xxxxxyyyy"]
    with pytest.raises(UserError, match="'b' has 2 images that are not near-duplicates.* 3 "):
        splits.grouped(labels, groups, 0)
    assert list(splits.too_small(labels, groups)) == ["b"]
    assert not splits.too_small(labels, groups, ("test",))
    split = splits.grouped(labels, groups, 0, strict=False)
    assert set(split[:9]) == set(options.SPLITS)
    assert set(split[9:]) == {"train"}


def test_a_class_of_too_few_images():
    labels = ["a"] * 9 + ["b"]
    with pytest.raises(UserError, match="'b' has 1 image: .* 3 "):
        splits.stratified(labels, 0)
    split = splits.stratified(labels, 0, strict=False)
    assert set(split[:9]) == set(options.SPLITS)
    assert split[9:] == ["train"]


def test_manifest_round_trip(tmp_path):
    rows = [
        ('can/a, "b".jpg', "can", "train", "0123456789abcdef"),
        ("병/ü.png", "병", "validation", ""),
        ("jar/1.png", "jar", "test", "f" * 16),
    ]
    path = tmp_path / "split.csv"
    splits.write_manifest(path, rows)
    assert list(splits.read_manifest(path).values()) == rows
    # The output of `sha256sum` is accepted too.
    path.write_text(path.read_text().replace("f" * 16, "F" * 64))
    assert list(splits.read_manifest(path).values()) == rows
