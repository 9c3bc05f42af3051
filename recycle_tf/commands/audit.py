"""Looks at every picture of a data set and says what is wrong: `python -m recycle_tf audit --dataset=PHOTOS`.

Files that cannot be learnt from, the same picture twice or under two labels, near-duplicates in training and
test. `--manifest` writes the split, with content hashes, to be kept and given back:

    python -m recycle_tf audit --dataset=photos --split=grouped --manifest=photos.csv
    python train.py --dataset=photos.csv
"""

import contextlib
import pathlib
import shlex

from absl import flags

from recycle_tf import cli, options
from recycle_tf.config import TrainConfig


@cli.command
def main(argv):
    """Prints a summary and writes `audit.json` and `audit.html`."""
    values = flags.FlagValues()
    flags.DEFINE_string(
        "dataset", None, "a folder with one sub-folder a class, a .csv, or a name", flag_values=values
    )
    flags.DEFINE_string("manual_dir", None, "as in train.py", flag_values=values)
    flags.DEFINE_string("data_dir", None, "as in train.py", flag_values=values)
    flags.DEFINE_enum("split", TrainConfig.split, options.SPLIT_METHODS, "as in train.py", flag_values=values)
    flags.DEFINE_integer("seed", 0, "as in train.py: of the split", flag_values=values)
    flags.DEFINE_string("out", None, "folder for what is written; else audit/DATASET", flag_values=values)
    flags.DEFINE_string(
        "labels", None, "Run whose network also searches for label errors.", flag_values=values
    )
    flags.DEFINE_string(
        "weights",
        None,
        "With --labels: published weights of the run's architecture, which have not seen these labels: a "
        "file or imagenet. Default: the run's own.",
        flag_values=values,
    )
    flags.DEFINE_string("manifest", None, "also write the split: a .csv", flag_values=values)
    cli.no_positionals(cli.parse(argv, values, __doc__))
    if not values.dataset:
        raise cli.UserError("--dataset: missing; give a folder, a .csv or a name such as trashnet")

    cli.import_tensorflow()
    from recycle_tf.data import audit, sources, splits
    from recycle_tf.evaluation import audit_report, label_errors
    from recycle_tf.files import replacing

    source = sources.open_source(
        values.dataset,
        manual_dir=values.manual_dir,
        data_dir=values.data_dir,
        seed=values.seed,
        split=values.split,
        auditing=True,
    )
    manifest = values.manifest and pathlib.Path(values.manifest).expanduser()
    prefix = _prefix(manifest, source) if manifest else None
    directory = pathlib.Path(values.out or pathlib.Path("audit") / source.name).expanduser()
    with _writing("--out", directory):
        # Before the work, so that no minutes are lost for a folder that cannot be written.
        directory.mkdir(parents=True, exist_ok=True)
    found = audit.audit(source)
    if values.labels:
        found = label_errors.add_to(found, source, values.labels, values.weights)
    with _writing("--out", directory):
        audit_report.write(found, source, directory)
    print(audit_report.summary(found))
    print(f"\nreport    {directory / 'audit.html'}")
    if manifest:
        unusable = {f.files[0] for f in found.findings if f.kind in audit.FATAL and f.kind != "changed"}
        rows = [(prefix + image, *rest) for image, *rest in source.manifest() if image not in unusable]
        with _writing("--manifest", manifest), replacing(manifest) as temporary:
            splits.write_manifest(temporary, rows)
        print(f"manifest  {manifest}: {len(rows):,} pictures")
    print(f"next      {_next(values, found)}")


def _prefix(manifest, source):
    """What turns an id into a path relative to the manifest's folder."""
    if source.root is None:
        raise cli.UserError(f"--manifest={manifest}: {source.name} is no folder and has its own split")
    folder = manifest.parent
    if not (manifest.suffix == ".csv" and folder.is_dir()):
        raise cli.UserError(f"--manifest={manifest}: expected a .csv in a folder that exists")
    root, above = source.root.resolve(), folder.resolve()
    if not root.is_relative_to(above):
        raise cli.UserError(
            f"--manifest={manifest}: its paths will be relative to its folder, which should be {source.root} "
            "or one above it"
        )
    inner = root.relative_to(above).as_posix()
    return "" if inner == "." else f"{inner}/"


@contextlib.contextmanager
def _writing(flag, place):
    try:
        yield
    except OSError as error:
        raise cli.UserError(f"{flag}={place}: cannot be written ({error.strerror})") from error


def _next(values, found):
    from recycle_tf.data import audit, near_duplicates

    fatal = sum(len(found.of(kind)) for kind in audit.FATAL)
    if values.manifest:
        return f"python train.py {shlex.quote(f'--dataset={values.manifest}')}"
    if fatal:
        return f"mend or remove {fatal} file{'s' * (fatal > 1)}: a training would not begin with them"
    folder = pathlib.Path(values.dataset).expanduser()
    given = {name: values[name].value for name in ("dataset", "manual_dir", "data_dir") if values[name].value}
    if (
        any(found.twins[near_duplicates.NEAR_DUPLICATE].values())
        and folder.is_dir()
        and not (folder / "train").is_dir()
    ):
        given["split"] = "grouped"
    elif values.split != TrainConfig.split:
        given["split"] = values.split
    if values.seed:
        given["seed"] = values.seed
    return " ".join(["python train.py", *(shlex.quote(f"--{k}={v}") for k, v in given.items())])
