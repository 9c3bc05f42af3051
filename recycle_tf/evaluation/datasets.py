"""The data that a run is evaluated on: its own, with the split it was trained with, or another dataset."""

from recycle_tf.data import sources
from recycle_tf.errors import UserError


def open_source(run, dataset=None, manual_dir=None, data_dir=None):
    """Opens a run's own dataset, or another one with the same classes.

    Args:
        run: a `runs.Run`.
        dataset: as in `train.py`; None for the run's own.
        manual_dir: as in `train.py`; None for the run's own.
        data_dir: as in `train.py`; None for the run's own.

    Returns:
        A `data.sources.Source` whose labels are the run's.

    Raises:
        UserError: the data is missing or has other classes.
    """
    own = dataset is None
    config = run.config
    source = sources.open_source(
        config["dataset"] if own else dataset,
        on_bad_image=config["on_bad_image"],
        manual_dir=manual_dir or config["manual_dir"],
        data_dir=data_dir or config["data_dir"],
        seed=config["seed"],
        manifest=run.manifest if own and run.manifest.is_file() else None,
    )
    if list(source.labels) != run.labels:
        raise UserError(
            f"`dataset={dataset}`: its classes are {', '.join(source.labels)}, the run's are "
            f"{', '.join(run.labels)}"
        )
    return source
