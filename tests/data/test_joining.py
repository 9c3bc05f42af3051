"""Several sources in one training, and other names for classes."""

import dataclasses
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recycle_tf import options
from recycle_tf.data import audit, joining, label_maps, pipeline, shards, sources, splits, tfds_builders
from recycle_tf.errors import UserError
from tests.conftest import write_photos


@pytest.fixture
def kitchen(tmp_path):
    """Pictures of two of the classes of `photos`."""
    return write_photos(tmp_path / "kitchen", ("can", "jar"), count=6, seed=1)


def sizes(source):
    return {
        name: {part: len(rows) for part, rows in split.by_part().items()}
        for name, split in source.splits.items()
    }


def test_sources_are_joined_split_by_split(photos, kitchen):
    source = sources.open_source(f"{photos}+{kitchen}")
    assert source.name == "photos+kitchen"
    assert source.labels == ("can", "jar", "tube")
    assert sizes(source) == {
        "train": {"photos": 24, "kitchen": 8},
        "validation": {"photos": 6, "kitchen": 2},
        "test": {"photos": 6, "kitchen": 2},
    }
    alone = {root.name: sources.open_source(str(root)) for root in (photos, kitchen)}
    for name, split in source.splits.items():
        for index, example in enumerate(split.ids):
            part, _, rest = example.partition("/")
            own = alone[part].splits[name]
            place = own.ids.index(rest)
            assert source.labels[split.labels[index]] == alone[part].labels[own.labels[place]]
            assert split.encoded(tf.constant(index, tf.int64)) == own.encoded(tf.constant(place, tf.int64))


@pytest.fixture
def builder(monkeypatch, photos):
    """A builder called `drawn` with the classes tube, jar and can, in this order, and its own split."""
    names = ["tube", "jar", "can"]
    paths = sorted(photos.rglob("*.png"))

    def records(_):
        rows = [
            {"id": path.name.encode(), "image": path.read_bytes(), "label": names.index(path.parent.name)}
            for path in paths
        ]
        return {split: rows[place::3] for place, split in enumerate(options.SPLITS)}

    features = {"label": types.SimpleNamespace(names=names)}
    made = types.SimpleNamespace(info=types.SimpleNamespace(features=features))
    monkeypatch.setattr(tfds_builders, "prepare", lambda *_: made)
    monkeypatch.setattr(tfds_builders, "records", records)


def test_a_builder_can_be_one_of_the_sources(builder, tmp_path):
    own = write_photos(tmp_path / "own", ("cup", "mug"), count=4, seed=2)
    (tmp_path / "map.yaml").write_text("mug: jar\ncup: cup\ntube: -\n")
    source = sources.open_source(f"drawn+{own}", label_map=tmp_path / "map.yaml")
    assert source.labels == ("jar", "can", "cup")
    assert sizes(source)["test"] == {"drawn": 8, "own": 2}
    splits.write_manifest(tmp_path / "split.csv", source.manifest())
    again = sources.open_source(f"drawn+{own}", manifest=tmp_path / "split.csv", seed=5)
    assert again.labels == source.labels
    assert again.fingerprint == source.fingerprint
    assert [again.splits[name].ids for name in again.splits] == [source.splits[n].ids for n in source.splits]


def test_a_label_map_of_a_builder_is_stored_with_its_split(builder, tmp_path):
    (tmp_path / "map.yaml").write_text("tube: jar\n")
    source = sources.open_source("drawn", label_map=tmp_path / "map.yaml")
    assert source.labels == ("jar", "can")
    assert np.bincount(source.splits["train"].labels).tolist() == [8, 4]
    splits.write_manifest(tmp_path / "split.csv", source.manifest())
    (tmp_path / "map.yaml").unlink()
    again = sources.open_source("drawn", manifest=tmp_path / "split.csv", label_map=tmp_path / "map.yaml")
    assert again.fingerprint == source.fingerprint


def test_a_stored_split_holds_whatever_is_added_later(photos, kitchen, tmp_path):
    source = sources.open_source(f"{photos}+{kitchen}", seed=3)
    splits.write_manifest(tmp_path / "split.csv", source.manifest())
    shutil.copy(kitchen / "jar" / "jar0.png", kitchen / "can" / "another.png")
    again = sources.open_source(f"{photos}+{kitchen}", seed=9, manifest=tmp_path / "split.csv")
    assert again.fingerprint == source.fingerprint
    assert again.splits["test"].ids == source.splits["test"].ids
    assert sources.open_source(f"{photos}+{kitchen}", seed=3).fingerprint != source.fingerprint


def test_a_training_image_that_another_source_tests_is_left_out(photos, tmp_path):
    """A copy, saved again so that its bytes differ, and one with the same bytes."""
    seen = sources.open_source(str(photos)).splits
    root, rows = tmp_path / "kitchen", []
    root.mkdir()
    for name, split in (("a.jpg", "test"), ("b.png", "validation"), ("c.png", "train")):
        original = photos / seen[split].ids[0]
        if name.endswith("png"):
            shutil.copy(original, root / name)
        else:
            Image.open(original).resize((96, 80), Image.Resampling.BICUBIC).save(root / name, quality=95)
        rows.append(f"{name},{original.parent.name},train")
    (root / "own.csv").write_text("\n".join(["image,label,split", *rows]))
    source = sources.open_source(f"{photos}+{root / 'own.csv'}")
    assert [line.partition(":")[0] for line in source.ignored] == ["own/a.jpg", "own/b.png"]
    assert sizes(source)["train"] == {"photos": 24, "own": 1}
    assert not [line for line in audit.leaks(source) if "near-duplicate" in line]


def test_an_audit_leaves_nothing_out(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "copy")
    source = sources.open_source(f"{photos}+{tmp_path / 'copy'}", seed=1, on_bad_image=sources.REPORT)
    assert source.num_examples == 72
    assert len(audit.audit(source).of("exact_duplicate")) == 36


@pytest.mark.parametrize(
    ("mapping", "names"),
    [
        (None, ("kitchen", "'box'", "can, jar, tube", "`label_map`")),
        ("box: tub\n", ()),
        ("box: -\n", ()),
        ("box: box\n", ()),
        ("bax: can\nbox: can\n", ("'bax'", "box", "`label_map=")),
        ("- box\n", ("`label_map=", "Carton: cardboard")),
        ("box: can\nbox: jar\n", ("`label_map=", "box occurs twice")),
        ("box: [can]\n", ("`label_map=",)),
        ("box: {can\n", ("`label_map=", "YAML")),
    ],
)
def test_unknown_classes_need_a_label_map(photos, kitchen, tmp_path, mapping, names):
    (kitchen / "jar").rename(kitchen / "box")
    file = tmp_path / "map.yaml"
    file.write_text(mapping or "")
    arguments = {"label_map": str(file)} if mapping else {}
    if not names:
        source = sources.open_source(f"{photos}+{kitchen}", **arguments)
        assert {"box: tub\n": "tub", "box: box\n": "box"}.get(mapping, "tube") == source.labels[-1]
        assert sizes(source)["train"]["kitchen"] == (4 if "-" in mapping else 8)
        return
    with pytest.raises(UserError) as error:
        sources.open_source(f"{photos}+{kitchen}", **arguments)
    assert "\n" not in str(error.value)
    for name in names:
        assert name in str(error.value)


def test_a_label_map_reads_every_name_as_text(tmp_path):
    (tmp_path / "map.yaml").write_text("no: -  # left out\n1: '2'\nCarton: cardboard\n")
    found = label_maps.read(tmp_path / "map.yaml")
    assert found.targets == {"no": "-", "1": "2", "Carton": "cardboard"}
    rows = {"a": ("no", "train"), "b": ("1", "test"), "c": ("glass", "train")}
    assert found.rows(rows) == {"b": ("2", "test"), "c": ("glass", "train")}


def test_a_label_map_renames_the_classes_of_one_source(photos, tmp_path):
    (tmp_path / "map.yaml").write_text("jar: glass\ntube: -\n")
    source = sources.open_source(str(photos), label_map=tmp_path / "map.yaml")
    assert source.labels == ("can", "glass")
    assert source.num_examples == 24


@pytest.mark.parametrize(
    "text", ["{photos}+", "+{photos}", "{photos}+{photos}", "{photos}+{photos}/.", "{photos}+nothing"]
)
def test_impossible_combinations(photos, text):
    with pytest.raises(UserError, match="dataset="):
        sources.open_source(text.format(photos=photos))


def test_a_path_with_a_plus_is_one_source(photos):
    plus = photos.rename(photos.with_name("pho+tos"))
    assert joining.names(plus) == [str(plus)]
    assert sources.open_source(str(plus)).name == "pho+tos"


def test_names_of_sources_are_unique(tmp_path):
    roots = [write_photos(tmp_path / place / "photos", count=1) for place in "abc"]
    (tmp_path / "photos.csv").write_text("")
    names = joining.short_names([*map(str, roots), str(tmp_path / "photos.csv"), "trashnet/clean"])
    assert names == ["photos", "photos-2", "photos-3", "photos-4", "trashnet-clean"]


def test_a_source_may_have_one_class_and_only_some_splits(photos, kitchen, tmp_path):
    shutil.rmtree(kitchen / "can")
    rows = [f"jar/jar{number}.png,jar,train" for number in range(6)]
    (kitchen / "more.csv").write_text("\n".join(["image,label,split", *rows]))
    source = sources.open_source(f"{photos}+{kitchen / 'more.csv'}")
    assert sizes(source)["train"] == {"photos": 24, "more": 6}
    assert sizes(source)["test"] == {"photos": 6}
    assert sizes(sources.open_source(f"{photos}+{kitchen}"))["test"] == {"photos": 6, "kitchen": 1}


def batches_of(source, epochs=6, first_step=0, **arguments):
    """Indices of the training images that are drawn, `[epoch, place]`, by their labels."""
    train = source.splits["train"]
    numbered = dataclasses.replace(train, labels=np.arange(len(train)))
    built = pipeline.build_training(
        numbered, len(train), 16, 4, augment="none", epochs=epochs, first_step=first_step, **arguments
    )
    return np.stack([labels.argmax(1) for _, labels in built.as_numpy_iterator()])


@pytest.mark.parametrize(("turns", "shares"), [(None, (0.5, 0.5)), ((3, 1), (0.75, 0.25))])
def test_sources_are_drawn_by_weight_and_resumable(photos, kitchen, turns, shares):
    source = sources.open_source(f"{photos}+{kitchen}")
    parts = source.splits["train"].parts
    drawn = batches_of(source, groups=parts, turns=turns)
    assert drawn.shape == (6 * 32 // 4, 4)
    np.testing.assert_allclose(np.bincount(parts[drawn.ravel()]) / drawn.size, shares)
    # Every image of a source equally often, one more or less.
    for part in (0, 1):
        counts = np.bincount(drawn.ravel(), minlength=32)[parts == part]
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(batches_of(source, groups=parts, turns=turns, first_step=13), drawn[13:])


def test_a_source_without_training_images_has_no_turn(photos):
    source = sources.open_source(str(photos))
    groups = np.where(source.splits["train"].labels == 1, 2, 0)
    drawn = batches_of(source, groups=groups, turns=(1, 5, 3))
    np.testing.assert_allclose(np.bincount(groups[drawn.ravel()]) / drawn.size, (0.25, 0, 0.75))


def test_short_names_are_unique(tmp_path):
    folders = [tmp_path / "x" / "photos-2", tmp_path / "y" / "photos", tmp_path / "z" / "photos"]
    for folder in folders:
        folder.mkdir(parents=True)
    assert joining.short_names(map(str, folders)) == ["photos-2", "photos", "photos-3"]


def test_a_label_map_of_a_single_csv_is_stored_with_its_split(photos, tmp_path):
    rows = sources.open_source(str(photos)).manifest()
    splits.write_manifest(tmp_path / "list.csv", [(f"{photos.name}/{name}", *rest) for name, *rest in rows])
    (tmp_path / "map.yaml").write_text("jar: glass\ntube: glass\n")
    given = {"dataset": str(tmp_path / "list.csv"), "label_map": str(tmp_path / "map.yaml")}
    source = sources.open_source(**given)
    assert source.labels == ("can", "glass")
    splits.write_manifest(tmp_path / "split.csv", source.manifest())
    (tmp_path / "map.yaml").unlink()
    again = sources.open_source(**given, manifest=tmp_path / "split.csv")
    assert again.labels == source.labels
    assert again.fingerprint == source.fingerprint


@pytest.mark.parametrize("shards_first", [False, True])
def test_a_label_map_is_applied_to_shards_among_the_sources(photos, kitchen, tmp_path, shards_first):
    shards.write(sources.open_source(str(kitchen)), tmp_path / "shards")
    (tmp_path / "map.yaml").write_text("jar: glass\ntube: -\n")
    both = [str(photos), str(tmp_path / "shards")]
    given = {"dataset": "+".join(both[:: -1 if shards_first else 1]), "label_map": str(tmp_path / "map.yaml")}
    source = sources.open_source(**given)
    assert sorted(source.labels) == ["can", "glass"]
    splits.write_manifest(tmp_path / "split.csv", source.manifest())
    again = sources.open_source(**given, manifest=tmp_path / "split.csv")
    assert (again.labels, again.fingerprint) == (source.labels, source.fingerprint)
    # Also if all of them are shards.
    shards.write(sources.open_source(str(photos)), tmp_path / "other")
    given["dataset"] = f"{tmp_path / 'other'}+{tmp_path / 'shards'}"
    assert sources.open_source(**given).labels == ("can", "glass")
