"""Writes a dataset as some large files: `python -m recycle_tf shard --dataset=PHOTOS --dir=OUT`.

OUT holds TFRecord files and an index, and is a dataset itself. Training on it gives the same batches as on
PHOTOS, and starts without reading every image first:

    python -m recycle_tf shard --dataset=photos --split=grouped --dir=shards
    python train.py --dataset=shards

The split is drawn here, and class names are mapped here.
"""

import shlex

from absl import flags

import recycle_tf
from recycle_tf import cli
from recycle_tf.config import TrainConfig

SETTINGS = ("label_map", "manual_dir", "data_dir", "split", "seed", "on_bad_image")
"""Flags of train.py that this command has too."""


@cli.command
def main(argv):
    """Writes the files and says how many."""
    values = _parse(argv)
    how = {name: values[name].value for name in (*SETTINGS, "shards")}
    written = recycle_tf.shard(values.dataset, values.dir, **how)
    counts = ", ".join(f"{number:,} {name}" for name, number in written.counts.items())
    print(f"shards    {written.directory}: {written.files} files, {written.bytes / 1e9:.2f} GB, {counts}")
    if written.ignored:
        print(f"          {len(written.ignored)} file(s) ignored, for example {written.ignored[0]}")
    print(f"next      {cli.program('train')} {shlex.quote(f'--dataset={values.dir}')}")


def _parse(argv):
    values = flags.FlagValues()
    flags.DEFINE_string(
        "dataset", None, "A folder, a .csv, a name, or several with + between them.", flag_values=values
    )
    flags.DEFINE_string("dir", None, "Folder to write; shards in it are replaced.", flag_values=values)
    cli.define_flags(TrainConfig, values, SETTINGS)
    flags.DEFINE_integer(
        "shards",
        None,
        "Number of files for the training split. Default: files of about 256 MB.",
        1,
        flag_values=values,
    )
    cli.no_positionals(cli.parse(argv, values, __doc__))
    for name in ("dataset", "dir"):
        if not values[name].value:
            raise cli.UserError(f"--{name}: missing")
    return values
