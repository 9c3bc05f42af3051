"""`export.json`: what was exported and how well it agrees with the Keras model; and its table."""

import dataclasses
import hashlib
import json
import os
import pathlib
import platform

from recycle_tf.errors import UserError

from .formats import FORMATS

FILE = "export.json"

REJECTED = "rejected"
"""Folder of the files that failed their gates."""


def read(folder):
    """The rows that earlier exports wrote, without those whose files were deleted.

    Args:
        folder: the export folder.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            _check(row)
        return [row for row in rows if (folder / row["path"]).exists()]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path}: damaged, cannot be read; delete {folder} and rerun the command") from error


def _check(row):
    """Raises a `ValueError` for a row that cannot be ours.

    Files of outdated rows are deleted, and a run may come from somebody else: no path may lead elsewhere.
    """
    if row["format"] not in FORMATS or not isinstance(row["bytes"], int):
        raise ValueError(row)
    *folders, name = pathlib.PurePosixPath(row["path"]).parts
    if folders not in ([], [REJECTED]) or name in ("..", "/"):
        raise ValueError(row)
    verdict = row["verification"]
    # Earlier versions measured less.
    if verdict is not None and not {"accuracy", "drop", "max_gap", "failure"} <= set(verdict):
        raise ValueError(row)


def network_of(run, spec):
    """Identifies what is exported: a hash of the network's file, and the temperature of its logits.

    Args:
        run: a `runs.Run`.
        spec: of `artifact.make_spec`.
    """
    digest = hashlib.sha256(run.model_file.read_bytes())
    digest.update(repr(spec["temperature"]).encode())
    return digest.hexdigest()[:16]


def by_network(rows, network, unlike):
    """The rows of a network, and those of another one that the run had before.

    A row of an earlier version does not name its network; it counts among the first.

    Args:
        rows: as `read` returns them.
        network: of `network_of`.
        unlike: how the files recognize other images, an entry of the spec, or None.
    """
    same = [row for row in rows if (row.get("network", network), row.get("unlike")) == (network, unlike)]
    return same, [row for row in rows if row not in same]


def make_row(exported, folder, latency, peak_memory):
    """The row of an exported file.

    Args:
        exported: an `exporting.Exported`.
        folder: the export folder.
        latency: `{"threads_1": milliseconds, "threads_2": milliseconds}`, or None.
        peak_memory: bytes, or None.

    Returns:
        A dict for JSON.
    """
    artifact = exported.artifact
    return {
        "path": artifact.path.relative_to(folder).as_posix(),
        "bytes": artifact.bytes,
        **artifact.spec,
        "operations": artifact.operations,
        "verification": exported.verdict and dataclasses.asdict(exported.verdict),
        "selection": exported.selection and dataclasses.asdict(exported.selection),
        "latency_ms": latency,
        "peak_memory": peak_memory,
        "machine": f"{platform.machine()} with {os.cpu_count()} processors",
    }


def table(rows, keras_accuracy, examples):
    """The rows as lines of text.

    Args:
        rows: rows with a verification.
        keras_accuracy: accuracy of the Keras model on the test split, 0..1.
        examples: images in the test split.
    """
    lines = [
        f"{'format':16} {'MB':>6} {'ops':>4} {'accuracy':>8} {'drop':>6} {'worst recall':>17} {'flips':>5} "
        f"{'margin':>6} {'logits':>8} {'max gap':>8} {'1 thread':>8} {'2':>6} {'peak MB':>7}",
        *map(_line, rows),
        f"{'Keras':16} {'':11} {keras_accuracy:8.4f}   on {examples} images of the test split",
    ]
    for row in rows:
        if "float_layers" in row:
            lines.append(f"{row['format']}: layers kept in float: {', '.join(row['float_layers'])}")
        if "worst_layers" in row:
            worst = ", ".join(row["worst_layers"])
            lines.append(f"{row['format']}: keeping its worst layers in float does not help: {worst}")
    lines.append(
        "drop and worst recall in points; margin: largest among the flips; logits: error relative to their "
        "spread; threads: ms on this machine; peak: resident memory of a fresh process without that of the "
        "runtime"
    )
    return "\n".join(lines)


def _line(row):
    verdict, times, peak = row["verification"], row["latency_ms"], row["peak_memory"]
    change, label = min(
        (change, label) for label, change in verdict["recall_change"].items() if change is not None
    )
    operations = sum(row["operations"].values()) if row["operations"] else ""
    milliseconds = f"{times['threads_1']:8.2f} {times['threads_2']:6.2f}" if times else ""
    return (
        f"{row['format']:16} {row['bytes'] / 1e6:6.2f} {operations:4} {verdict['accuracy']:8.4f} "
        f"{verdict['drop']:6.2f} {label[:10]:>10} {change:6.2f} {verdict['flips']:5} "
        f"{verdict['largest_margin']:6.3f} {verdict['logit_error']:8.1e} {verdict['max_gap']:8.1e} "
        f"{milliseconds} {f'{peak / 1e6:7.1f}' if peak else ''}"
    ).rstrip()
