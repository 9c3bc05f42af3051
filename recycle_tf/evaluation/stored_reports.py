"""What the reports in a run's folder say: `metrics.json` of each."""

import json

from recycle_tf.data import joining
from recycle_tf.errors import UserError


def read(directory):
    """The summary in a report's folder, as `report.write` wrote it, with a number as `accuracy`.

    Raises:
        UserError: there is no report, or it is damaged.
    """
    path = directory / "metrics.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return {**summary, "accuracy": float(summary["accuracy"])}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; evaluate the run first") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path}: damaged; delete {directory} and evaluate the run again") from error


def own_accuracy(run):
    """Accuracy on the run's own test split, 0..1, from its report; None if there is no report.

    Raises:
        UserError: the report is damaged.
    """
    return read(run.report)["accuracy"] if (run.report / "metrics.json").is_file() else None


def elsewhere(run):
    """The summaries of a run's reports on photographs of another origin, `{dataset and split: summary}`.

    Reports of exported files are left out.

    Raises:
        UserError: a report is damaged.
    """
    found = {}
    for path in sorted(run.path.glob("report-*/metrics.json")):
        summary = read(path.parent)
        if summary.get("own") is False and not summary.get("model"):
            names = joining.numbered(str(summary.get("dataset")))
            keys = (f"{name} {summary.get('split')}" for name in names)
            found[next(key for key in keys if key not in found)] = summary
    return found
