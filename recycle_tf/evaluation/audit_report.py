"""The report of an audit: `audit.json` for programs, one HTML page, and lines for the terminal."""

import base64
import dataclasses
import html
import io
import json

import tensorflow as tf
from PIL import Image

from recycle_tf import options
from recycle_tf.data import audit, decode, near_duplicates
from recycle_tf.evaluation.style import BLUE, STYLE
from recycle_tf.files import replacing

MAX_GROUPS, MAX_IN_GROUP, MAX_ROWS = 100, 8, 1000
"""How much the page shows of each kind, so that a browser can open it; `audit.json` has everything."""

WORST = 3
"""How many findings of each kind the terminal shows."""

THUMBNAIL = (220, 165)
"""Maximum width and height of an image on the page, in pixels."""

_SHADES = dict(zip(options.SPLITS, (BLUE, "#7fb2c4", "#f0a04b"), strict=True))

_STYLE = """
table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left }
td.n, th.n { text-align: right; white-space: nowrap } td { overflow-wrap: anywhere }
.bar { display: flex; height: 1.1rem; width: min(28rem, 40vw) } .bar div { height: 100% }
.key { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 1rem }
.group { display: flex; flex-wrap: wrap; gap: .6rem; margin: 0 0 1.2rem; padding: .6rem; background: #f4f6f7 }
.group > p { flex-basis: 100%; margin: 0; color: #555 } figure { margin: 0; width: 220px }
figcaption { font-size: .85rem; overflow-wrap: anywhere } .train { color: #1f6f8b }
.validation, .test { color: #b35c00 }"""


def write(found, source, directory, place):
    """Writes `audit.json` and `audit.html`.

    Args:
        found: an `audit.Audit`.
        source: the `sources.Source` that was audited, for the images on the page.
        directory: an existing folder.
        place: path or name of the dataset, which tells reports of datasets with the same name apart.
    """
    with replacing(directory / "audit.html") as temporary:
        temporary.write_text(_page(found, source), encoding="utf-8")
    with replacing(directory / "audit.json") as temporary:
        temporary.write_text(json.dumps(record(found, place), indent=2) + "\n", encoding="utf-8")


def record(found, place):
    """The contents of `audit.json`: counts, and one entry per finding."""
    return {
        "dataset": found.name,
        "path": place,
        "examples": found.examples,
        "classes": found.counts,
        "imbalance": round(imbalance(found), 3),
        "correlation": [
            {"above": level, "pairs": found.pairs[level], "near_duplicate_in_train": found.leaked[level]}
            for level in found.pairs
        ],
        "findings": [dataclasses.asdict(finding) for finding in found.findings],
    }


def imbalance(found):
    """Size of the largest class relative to the smallest."""
    return max(found.per_label.values()) / max(1, min(found.per_label.values()))


def summary(found):
    """Some aligned lines with the counts and the worst findings of each kind."""
    sizes = ", ".join(f"{sum(found.counts[split].values()):,} {split}" for split in options.SPLITS)
    per_label = sorted(found.per_label.items(), key=lambda item: -item[1])
    (most, largest), (least, smallest) = per_label[0], per_label[-1]
    lines = [
        f"{found.name}: {found.examples:,} images ({sizes})",
        f"  {len(per_label)} classes, from {least} ({smallest:,}) to {most} ({largest:,}), "
        f"{imbalance(found):.1f} to 1",
    ]
    for kind, heading in audit.KINDS.items():
        findings = found.of(kind)
        if findings:
            lines.append(f"  {heading:46} {len(findings):6,}{_remark(kind, findings)}")
            lines += [f"    {line(finding)}" for finding in findings[:WORST]]
            lines += ["    …"] * (len(findings) > WORST)
    if not found.findings:
        lines.append("  no problems found")
    lines += ["", *leak_table(found)]
    return "\n".join(lines)


def leak_table(found):
    """Lines with the numbers of pairs, and of images with a near-duplicate in train, by correlation."""
    lines = ["correlation   pairs   with a near-duplicate in train: test   validation"]
    for level, pairs in found.pairs.items():
        of = [
            f"{found.leaked[level][s]:,} of {sum(found.counts[s].values()):,}" for s in ("test", "validation")
        ]
        lines.append(f"     > {level:.2f} {pairs:7,}   {of[0]:>36}   {of[1]:>10}")
    return lines


def _remark(kind, findings):
    if kind != "near_duplicate":
        return ""
    across = sum(finding.across for finding in findings)
    mixed = sum(len(set(finding.labels)) > 1 for finding in findings)
    return f", {across} of them in train and another split, {mixed} under two labels"


def line(finding):
    """A finding in one line: its files, with class and split, and what was found."""
    if not finding.labels:
        return f"{finding.files[0]}: {finding.detail}"
    if finding.kind == "label_error":
        # The other files are only there to compare with.
        return f"{finding.files[0]} ({finding.splits[0]}): {finding.detail.partition(';')[0]}"
    places = [
        f"{file} ({label}, {split})"
        for file, label, split in zip(finding.files, finding.labels, finding.splits, strict=True)
    ]
    shown = " = ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
    return f"{shown}: {finding.detail}"


def _page(found, source):
    places = {
        example: (split, index) for split in source.splits.values() for index, example in enumerate(split.ids)
    }
    parts = [_classes(found), f"<pre>{html.escape(chr(10).join(leak_table(found)))}</pre>"]
    of_files = [finding for finding in found.findings if finding.kind not in audit.GROUPS]
    if of_files:
        parts.append(_files(of_files))
    for kind, heading in audit.GROUPS.items():
        findings = found.of(kind)
        if findings:
            title = f"{heading}: {len(findings):,}{_remark(kind, findings)}"
            parts.append(f"<h2>{html.escape(title)}</h2>")
            parts += [_group(finding, places) for finding in findings[:MAX_GROUPS]]
            parts.append(_more(len(findings) - MAX_GROUPS))
    if not found.findings:
        parts.append("<p>No problems found.</p>")
    body = "\n".join(parts)
    return f"""<!doctype html>
<meta charset="utf-8">
<title>audit of {html.escape(found.name)}</title>
<style>{STYLE}{_STYLE}</style>
<h1>audit of {html.escape(found.name)}</h1>
<p>{found.examples:,} images, {len(found.per_label)} classes, {imbalance(found):.1f} to 1.
All findings, for programs: <code>audit.json</code>.</p>
{body}
"""


def _classes(found):
    largest = max(found.per_label.values())
    rows = []
    for label, number in found.per_label.items():
        bar = "".join(
            f'<div style="width:{100 * found.counts[split][label] / max(1, largest):.2f}%;'
            f'background:{_SHADES[split]}" title="{found.counts[split][label]} {split}"></div>'
            for split in options.SPLITS
        )
        counts = "".join(f'<td class="n">{found.counts[split][label]:,}</td>' for split in options.SPLITS)
        rows.append(
            f'<tr><td>{html.escape(label)}</td>{counts}<td class="n">{number:,}</td>'
            f'<td><div class="bar">{bar}</div></td></tr>'
        )
    heads = "".join(
        f'<th class="n"><span class="key" style="background:{_SHADES[split]}"></span>{split}</th>'
        for split in options.SPLITS
    )
    return f'<table><tr><th>class</th>{heads}<th class="n">all</th><th></th></tr>{"".join(rows)}</table>'


def _files(findings):
    rows = "".join(
        f"<tr><td>{html.escape(audit.KINDS[f.kind])}</td><td>{html.escape(f.files[0])}</td>"
        f"<td>{html.escape(''.join(f.labels))}</td><td>{''.join(f.splits)}</td>"
        f"<td>{html.escape(f.detail)}</td></tr>"
        for f in findings[:MAX_ROWS]
    )
    return (
        f"<h2>files: {len(findings):,}</h2>\n<table><tr><th>problem</th><th>file</th><th>class</th>"
        f"<th>split</th><th>detail</th></tr>{rows}</table>{_more(len(findings) - MAX_ROWS)}"
    )


def _group(finding, places):
    figures = []
    for file, label, split in zip(finding.files, finding.labels, finding.splits, strict=True):
        figures.append(
            f'<figure><img src="{_thumbnail(*places[file])}" alt=""><figcaption>{html.escape(file)}<br>'
            f'<b>{html.escape(label)}</b>, <span class="{split}">{split}</span></figcaption></figure>'
        )
        if len(figures) == MAX_IN_GROUP:
            break
    more = _more(len(finding.files) - MAX_IN_GROUP)
    return f'<div class="group"><p>{html.escape(finding.detail)}</p>{"".join(figures)}{more}</div>'


def _more(number):
    return f"<p>and {number:,} more in audit.json</p>" if number > 0 else ""


def _thumbnail(split, index):
    """A data URL with a small JPEG of an image that is known to be intact."""
    encoded = split.encoded(tf.constant(index, tf.int64)).numpy()
    with Image.open(io.BytesIO(encoded), formats=decode.FORMATS) as image:
        image.draft("RGB", (2 * THUMBNAIL[0], 2 * THUMBNAIL[1]))
        small = near_duplicates.upright(decode.to_rgb(image), near_duplicates.orientation(image))
    small.thumbnail(THUMBNAIL)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
