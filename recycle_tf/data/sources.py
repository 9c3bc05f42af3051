"""Opens datasets: a folder with one subfolder per class, a CSV manifest, shards, or a TFDS builder.

What is read when:

1. `open_source` lists the files (`listing`) and reads each of them once (`checks`), in parallel: content
   hash, header and thumbnail. The thumbnails stay in `Source.thumbnails`, so that the search for
   near-duplicates across splits (`audit.leaks`) opens no file. With `on_bad_image="skip"`, and for an
   audit, the same reading decodes every image completely. What comes from another machine is kept in a
   temporary file (`fetched`).
2. The pipeline reads and decodes the files into its cache (`cache`). That is a pass of its own: the size of
   the decoded images is not known before, and keeping all encoded bytes until then would take as much
   memory as the dataset has on disk. Where that fits, the operating system's file cache holds them anyway.

With a `manifest`, the split is known and step 1 makes no thumbnails. Of shards, step 1 reads the index alone.
The examples of a TFDS builder stay in memory.
"""

import dataclasses

from recycle_tf import options, paths
from recycle_tf.data import joining, label_maps, listing, opening, shards, splits
from recycle_tf.data.examples import Source, Split, first_unreadable, subset  # noqa: F401  (taken from here)
from recycle_tf.errors import UserError, did_you_mean
from recycle_tf.remote import RemotePath

REPORT = opening.REPORT


def open_source(
    dataset,
    *,
    on_bad_image="error",
    manual_dir=None,
    data_dir=None,
    seed=0,
    split="stratified",
    manifest=None,
    label_map=None,
    earlier_splits=None,
    compare=None,
    keep=True,
):
    """Opens a dataset for training, with three splits.

    What a folder lacks is drawn from its training images: 15 % of every class. The first source decides on
    the classes; others must be in `label_map`.

    Args:
        dataset: a folder, also of `shards`, a `.csv`, a TFDS builder's name, or several with + between them.
        on_bad_image: one of `options.ON_BAD_IMAGE`. `"error"` raises one for the first file with an unusable
            header. `"skip"` decodes all and lists those in `Source.ignored`; `REPORT`, for an audit, none.
        manual_dir: files for a builder that the user downloaded; default: `$RECYCLE_TF_MANUAL_DIR`.
        data_dir: folder of prepared datasets; default: that of TFDS.
        seed: seed of the split, if it is drawn.
        split: one of `options.SPLIT_METHODS`, how the split is drawn.
        manifest: a CSV with the split and with mapped labels, written by an earlier run.
        label_map: file of `label_maps.read`.
        earlier_splits: `{place of one of several sources: (CSV of an earlier run, its name in it or None)}`.
        compare: whether `audit.leaks` will be called; None for yes, unless the split is a stored one.
        keep: whether images on another machine are kept in a temporary file; see `fetched`.

    Returns:
        A `Source`.

    Raises:
        UserError: no such dataset, a file or class that cannot be used, or a `split` without an effect.
    """
    _check_settings(on_bad_image, split, seed)
    datasets = joining.names(dataset)
    parts = joining.short_names(datasets) if len(datasets) > 1 else [None]
    stored = joining.stored_splits(datasets, parts, manifest, earlier_splits)
    partial = stored != [(manifest, None)]  # one of several, here or in an earlier run
    how = {"seed": seed, "split": split, "compare": compare, "keep": keep}
    again = {"seed": seed, "split": split, "several": len(datasets) > 1, "mapped": bool(label_map)}
    found = [_listed(one, *csv, partial, manifest, again) for one, csv in zip(datasets, stored, strict=True)]
    drawn = "stratified" if any(csv for csv, _ in stored) else split
    _require_effect(dataset, found, drawn, None if manifest else label_map)
    mapping = label_maps.read(label_map) if label_map and not manifest else label_maps.LabelMap()
    opened = [
        _open(one, what, *csv, None if manifest else mapping, on_bad_image, how, (manual_dir, data_dir))
        for one, what, csv in zip(datasets, found, stored, strict=True)
    ]
    if not any(csv for csv, _ in stored):
        mapping.require_met()
    if on_bad_image == "skip":
        several = len(opened) > 1
        opened = [opening.without_unusable(source, not several, several) for source in opened]
    return joining.as_one(opened, parts, mapping, complete=manifest or on_bad_image == REPORT)


def _listed(dataset, csv, part, partial, manifest, how):
    """What `_find` returns, with the split that an earlier run has stored in `csv`.

    Images that were added to a folder since are split as well, but not if that was one of several sources
    and still is: such a run has left images out on purpose. Where labels were mapped, a single CSV is
    read as the run has stored it.
    """
    if manifest or (part and how["several"]):
        return _find(dataset, csv, part, partial=partial or how["mapped"])
    found = _find(dataset, partial=partial)
    if csv and isinstance(found, listing.Listing) and not found.manifest:
        return listing.with_split(found, splits.stored(csv, part), how["split"], how["seed"])
    return found


def _require_effect(dataset, found, split, label_map):
    """Raises a `UserError` if there is no split to draw, or no class to map."""
    if split != "stratified" and not any(map(opening.splits_to_draw, found)):
        raise UserError(f"`split={split}`: {dataset} has its own split; use a folder of class folders")
    if label_map and len(found) == 1 and isinstance(found[0], shards.Index):
        raise UserError(f"`label_map={label_map}`: shards have their classes; give it when they are written")


def _open(dataset, found, csv, part, mapping, on_bad_image, how, places):
    """The `Source` of a dataset that `_find` found; `csv` and `part` as `joining.stored_splits` has them."""
    if isinstance(found, listing.Listing):
        # What an earlier run has stored is mapped already.
        mapping = None if csv and found.manifest == csv else mapping
        return opening.from_listing(found, on_bad_image, mapping=mapping, **how)
    rows = splits.stored(csv, part)
    if found:
        # Shards have their split; of one of several sources, an earlier run may have left images out.
        return opening.from_shards(found, on_bad_image, mapping, rows if part else None)
    return opening.from_builder(dataset, on_bad_image, *places, mapping, rows)


def class_names(dataset):
    """Names of the classes of one folder or manifest, without opening an image; None for anything else.

    Raises:
        UserError: no such file, or a folder that is not a dataset.
    """
    if len(joining.names(dataset)) > 1:
        return None
    found = _find(dataset)
    if isinstance(found, shards.Index):
        return found.labels
    return found and tuple(sorted({label for label, _ in found.rows.values()}))


def is_drawn(dataset):
    """Whether this package draws the split of a single dataset, or a part of it."""
    return bool(opening.splits_to_draw(_find(dataset, partial=True)))


def open_unsplit(dataset, *, manual_dir=None, data_dir=None, on_bad_image="error", label_map=None):
    """Opens a dataset for evaluation, with the splits that it has: none is drawn.

    A single class is enough.

    Args:
        dataset: a single source as in `open_source`. A folder of class folders gives the split `"all"`; a
            folder with class folders inside `train/`, `validation/` (or `val/`, `valid/`) or `test/` gives
            those of the three that exist. A CSV gives the splits in its column `split`, or `"all"` without
            that column. A builder gives its own.
        manual_dir: as in `open_source`.
        data_dir: as in `open_source`.
        on_bad_image: one of `options.ON_BAD_IMAGE`, as in `open_source`.
        label_map: as in `open_source`.

    Returns:
        A `Source`.

    Raises:
        UserError: no such dataset, several joined with +, or a file or class that cannot be used.
    """
    _check_choice("on_bad_image", on_bad_image, options.ON_BAD_IMAGE)
    if len(joining.names(dataset)) > 1:
        raise UserError(f"`dataset={dataset}`: evaluate its sources one by one, as a list with commas")
    found = _find(dataset, unsplit=True)
    _require_effect(dataset, [found], "stratified", label_map)
    mapping = label_maps.read(label_map) if label_map else label_maps.LabelMap()
    if isinstance(found, listing.Listing):
        source = opening.unsplit(dataclasses.replace(found, rows=mapping.rows(found.rows)), on_bad_image)
    elif found:
        source = opening.from_shards(found, on_bad_image)
        present = {name: split for name, split in source.splits.items() if len(split)}
        source = dataclasses.replace(source, splits=present)
    else:
        source = opening.from_builder(str(dataset), on_bad_image, manual_dir, data_dir, mapping)
    mapping.require_met()
    return opening.without_unusable(source) if on_bad_image == "skip" else source


def _check_settings(on_bad_image, split, seed):
    _check_choice("on_bad_image", on_bad_image, (*options.ON_BAD_IMAGE, REPORT))
    _check_choice("split", split, options.SPLIT_METHODS)
    if seed < 0:
        raise UserError(f"`seed={seed}`: expected at least 0")


def _check_choice(name, value, choices):
    if value not in choices:
        raise UserError(f"`{name}={value}`: {did_you_mean(value, choices)}")


def _find(dataset, manifest=None, part=None, unsplit=False, partial=False):
    """The `listing.Listing` of a folder or CSV, or the `shards.Index` of shards; None for a builder's name.

    `part` is the name of the dataset in the manifest if that is of several sources; `partial` whether it is
    one of several.
    """
    path = paths.of_dataset(dataset)
    if path.is_dir():
        if index := shards.open_index(path):
            return index
        if manifest:
            return listing.from_manifest(manifest, path, partial=partial, source=part)
        return listing.from_folder(path, unsplit, partial)
    if path.suffix == ".csv":
        if not path.is_file():
            raise UserError(f"`dataset={dataset}`: no such file")
        if manifest and partial:
            return listing.from_manifest(manifest, path.parent, partial=True, source=part)
        return listing.from_manifest(path, path.parent, unsplit, partial)
    if path.exists():
        raise UserError(f"`dataset={dataset}`: neither a folder nor a .csv")
    if isinstance(path, RemotePath):
        raise UserError(f"`dataset={dataset}`: no such folder; check bucket and name")
    return None
