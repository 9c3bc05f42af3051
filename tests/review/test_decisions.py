"""Decisions: what is written, what survives, and what is reviewed at all."""

import contextlib
import csv
import errno
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
import urllib.request

import pytest
from PIL import Image

import recycle_tf
from recycle_tf.data import sources
from recycle_tf.errors import UserError
from recycle_tf.review import decisions, images
from tests.conftest import ROOT, run_python
from tests.review.conftest import write_findings

KINDS = ("can", "jar", "tube")


def open_review(photos, out=None, **more):
    out = out or photos.parent / "reviewed.csv"
    review = images.collect(sources.open_source(str(photos), on_bad_image=sources.REPORT), out, **more)
    return decisions.Decisions(review, out)


def index(decided, name):
    return [image.name for image in decided._review.images].index(name)


def manifest(photos):
    with open(photos.parent / "reviewed.csv", newline="", encoding="utf-8") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_the_manifest_opens_as_a_dataset(photos, inbox):
    before = sources.open_source(str(photos))
    contents = {path: path.read_bytes() for path in photos.parent.rglob("*.png")}
    with open_review(photos, inbox=inbox) as decided:
        decided.decide(index(decided, "photos/can/can0.png"), "move", "tube")
        decided.decide(index(decided, "photos/can/can1.png"), "drop")
        decided.decide(index(decided, "photos/can/can2.png"), "keep")
        decided.decide(index(decided, "inbox/a.png"), "move", "jar")
    source = sources.open_source(str(photos.parent / "reviewed.csv"))
    assert source.num_examples == before.num_examples  # one fewer, one more
    labels = {name: (label, split) for name, label, split, _ in source.manifest()}
    assert labels["photos/can/can0.png"][0] == "tube"
    assert "photos/can/can1.png" not in labels
    assert labels["photos/can/can2.png"][0] == "can"
    assert labels["inbox/a.png"] == ("jar", "train")
    assert "inbox/b.png" not in labels
    splits = {name: split for name, _, split, _ in before.manifest()}
    assert all(
        splits[name.removeprefix("photos/")] == s for name, (_, s) in labels.items() if "inbox" not in name
    )
    assert {path: path.read_bytes() for path in photos.parent.rglob("*.png")} == contents


def test_the_journal_says_who_decided_what_and_when(photos):
    with open_review(photos) as decided:
        number = index(decided, "photos/jar/jar3.png")
        decided.decide(number, "move", "can")
        decided.undo()
        lines = [json.loads(line) for line in decided.journal.read_text(encoding="utf-8").splitlines()]
    assert [line["decision"] for line in lines] == ["move", "undo"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", lines[0]["time"])
    assert (lines[0]["image"], lines[0]["before"], lines[0]["label"]) == ("photos/jar/jar3.png", "jar", "can")
    assert lines[0]["by"]


def test_undo_restores_the_decision_before(photos):
    with open_review(photos) as decided:
        decided.decide(0, "drop")
        decided.decide(0, "move", "jar")
        decided.decide(1, "keep")
        assert [decided.undo(), decided.undo()] == [1, 0]
        assert decided.of(0) == decisions.Decision("drop", None)
    with open_review(photos) as decided:
        assert decided.of(0) == decisions.Decision("drop", None)
        assert [decided.undo(), decided.undo()] == [0, None]
        assert len(manifest(photos)) == 36


def test_a_decision_that_cannot_be_saved_was_not_made(photos, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "full")

    with open_review(photos) as decided:
        decided.decide(0, "drop")
        before, journal = list(decided.rows()), decided.journal.read_text()
        monkeypatch.setattr(decided, "_write_manifest", full)
        for change in (lambda: decided.decide(1, "drop"), decided.undo):
            with pytest.raises(OSError, match="full"):
                change()
            assert list(decided.rows()) == before
            assert decided.journal.read_text() == journal


def test_an_undo_while_another_image_was_away(photos):
    with open_review(photos) as decided:
        first, second = (index(decided, f"photos/can/can{number}.png") for number in (0, 1))
        decided.decide(first, "drop")
        decided.decide(second, "move", "jar")
    away = (photos / "can" / "can1.png").rename(photos.parent / "away.png")
    with open_review(photos) as decided:
        assert decided.undo() == index(decided, "photos/can/can0.png")
    away.rename(photos / "can" / "can1.png")
    with open_review(photos) as decided:
        assert decided.of(index(decided, "photos/can/can0.png")) is None
        assert decided.of(index(decided, "photos/can/can1.png")) == decisions.Decision("move", "jar")
        assert decided.undo() == index(decided, "photos/can/can1.png")


def test_a_photograph_that_lies_on_its_side_is_not_on_the_list(photos, inbox):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 200), "red").save(photos / "can" / "side.jpg", exif=exif)
    with open_review(photos, inbox=inbox) as decided:
        listed = [decided._review.images[place].name for place in decided._review.order]
    assert {"photos/can/can0.png", "inbox/a.png"} < set(listed)  # a tiny image, and a new one
    assert "photos/can/side.jpg" not in listed


def test_a_new_image_needs_a_class(photos, inbox):
    with open_review(photos, inbox=inbox) as decided:
        with pytest.raises(decisions.InvalidDecisionError):
            decided.decide(index(decided, "inbox/a.png"), "keep")
        assert "inbox/a.png" not in manifest(photos)


def test_a_line_that_a_killed_process_did_not_finish(photos):
    with open_review(photos) as decided:
        decided.decide(0, "drop")
        whole = decided.journal.read_bytes()
        decided.decide(1, "drop")
        decided.journal.write_bytes(decided.journal.read_bytes()[:-9])
    (photos.parent / "reviewed.csv").unlink()
    with open_review(photos) as decided:
        assert len(decided) == 1
        assert decided.journal.read_bytes() == whole
        assert len(manifest(photos)) == 35
        decided.decide(2, "drop")
    with open_review(photos) as decided:
        assert len(decided) == 2


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"image": "x"}', "[" * 5000])
def test_a_damaged_journal(photos, line):
    (photos.parent / "reviewed.decisions.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=r"reviewed\.decisions\.jsonl, line 1"):
        open_review(photos)


def test_decisions_about_an_image_that_has_changed_or_gone_do_not_count(photos):
    with open_review(photos) as decided:
        decided.decide(index(decided, "photos/can/can0.png"), "drop")
        decided.decide(index(decided, "photos/can/can1.png"), "drop")
    (photos / "can" / "can0.png").write_bytes((photos / "jar" / "jar0.png").read_bytes())
    (photos / "can" / "can1.png").unlink()
    with open_review(photos) as decided:
        assert len(decided) == 0


def test_decisions_about_other_images_are_not_lost(photos, inbox):
    with open_review(photos, inbox=inbox) as decided:
        decided.decide(index(decided, "inbox/a.png"), "move", "jar")
    with pytest.raises(UserError, match=r"line 1.*inbox/a\.png.*`inbox`"):
        open_review(photos)
    assert manifest(photos)["inbox/a.png"]["label"] == "jar"


def test_one_process_at_a_time(photos):
    with open_review(photos), pytest.raises(UserError, match="another process"):
        open_review(photos)


def test_a_manifest_that_no_review_wrote_is_not_replaced(photos):
    out = photos.parent / "reviewed.csv"
    out.write_text("mine")
    with pytest.raises(UserError, match="`out="):
        open_review(photos)
    assert out.read_text() == "mine"


def test_paths_that_the_manifest_cannot_name(photos, inbox, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with pytest.raises(UserError, match=f"`out=.*{photos}"):
        open_review(photos, elsewhere / "reviewed.csv")
    with pytest.raises(UserError, match=f"`out=.*{inbox}"):
        open_review(photos, photos / "reviewed.csv", inbox=inbox)
    with pytest.raises(UserError, match="`out="):
        open_review(photos, photos.parent / "reviewed.txt")
    with pytest.raises(UserError, match="`inbox=.*none"):
        open_review(photos, inbox=photos.parent / "none")
    with pytest.raises(UserError, match="`inbox="):
        open_review(photos, inbox=photos / "can")


def test_what_findings_put_on_the_list(photos, inbox):
    findings = write_findings(
        photos.parent / "audit.json",
        ("two_labels", ["can/can1.png", "jar/jar1.png"], ["can", "jar"]),
        ("near_duplicate", ["can/can2.png", "can/can3.png"], ["can", "can"]),
        ("sideways", ["can/can4.png"], ["can"]),
        ("unreadable", ["can/can5.png"], ["can"]),
        ("missing", ["can/gone.png"], []),
        (
            "label_error",
            ["tube/tube0.png", "jar/jar2.png", "jar/jar3.png"],
            ["tube", "jar", "jar"],
            {"suggested": "jar", "probability": 0.9},
        ),
    )
    with open_review(photos, findings=findings, inbox=inbox) as decided:
        review = decided._review
        shown = [review.images[one].name.removeprefix("photos/") for one in review.order]
        assert shown == [
            "can/can1.png",
            "jar/jar1.png",
            "can/can5.png",
            "tube/tube0.png",
            "inbox/a.png",
            "inbox/b.png",
        ]
        (reason,) = review.reasons[review.order[3]]
        assert (reason.suggested, reason.probability, len(reason.others)) == ("jar", 0.9, 2)


def test_everything_is_reviewed_without_findings_and_inbox(photos):
    with open_review(photos) as decided:
        assert decided._review.order == tuple(range(36))


def test_a_new_image_that_the_dataset_has_is_marked(photos, inbox):
    (inbox / "copy.png").write_bytes((photos / "can" / "can7.png").read_bytes())
    with open_review(photos, inbox=inbox) as decided:
        (reason,) = decided._review.reasons[index(decided, "inbox/copy.png")]
        assert reason.others == (index(decided, "photos/can/can7.png"),)


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"findings": 3}', '{"findings": [{"kind": "tiny"}]}', '{"findings": []}', "[" * 5000],
)
def test_findings_that_are_none(photos, content):
    (photos.parent / "audit.json").write_text(content)
    with pytest.raises(UserError, match=r"`findings=.*audit\.json"):
        open_review(photos, findings=photos.parent / "audit.json")


def start(photos):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "recycle_tf",
            "review",
            f"--dataset={photos}",
            f"--out={photos.parent}/reviewed.csv",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    counts = process.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:\d+/\S+/", process.stdout.readline())[0]
    return process, counts, address


def post(address, place, body):
    request = urllib.request.Request(
        address + place, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_decisions_survive_a_kill(photos):
    process, _, address = start(photos)
    answered = []

    def decide():
        with contextlib.suppress(OSError, http.client.HTTPException):
            for number in itertools.count():
                post(address, "decide", {"image": number % 36, "action": "move", "label": "tube"})
                answered.append(number)

    client = threading.Thread(target=decide)
    client.start()
    while len(answered) < 20:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    client.join()
    # The last one may have been saved without an answer.
    assert manifest(photos).keys() == {f"photos/{kind}/{kind}{n}.png" for kind in KINDS for n in range(12)}
    process, counts, address = start(photos)
    decided = int(re.search(r"(\d+) decided", counts)[1])
    assert decided in (min(36, len(answered)), min(36, len(answered) + 1))
    assert post(address, "undo", {})["image"] in (answered[-1] % 36, (answered[-1] + 1) % 36)
    assert not list(photos.parent.glob(".partial-*"))
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert "--dataset=" in printed


def test_a_manifest_that_was_being_written_is_removed(photos):
    (photos.parent / ".partial-99999999-reviewed.csv").write_text("half")
    with open_review(photos):
        assert not list(photos.parent.glob(".partial-*"))


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ((), "--dataset"),
        (("--dataset={photos}",), "--out"),
        (("--dataset={photos}/none", "--out=x.csv"), "--dataset={photos}/none"),
        (("--dataset=trashnet", "--out=x.csv"), "--dataset=trashnet"),
        (("--dataset={photos}", "--out={photos}"), "--out={photos}"),
    ],
)
def test_a_wrong_command_line(photos, flags, named):
    flags = [flag.format(photos=photos) for flag in flags]
    result = run_python("-m", "recycle_tf", "review", *flags)
    assert result.returncode == 2
    assert named.format(photos=photos) in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_a_name_of_the_user(photos, monkeypatch):
    """As in a container whose user is only a number."""

    def unknown():
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr("getpass.getuser", unknown)
    with open_review(photos) as decided:
        decided.decide(0, "drop")
    (line,) = (photos.parent / "reviewed.decisions.jsonl").read_text().splitlines()
    assert json.loads(line)["by"] == str(os.getuid())


def test_a_disk_that_fills_up_within_a_line(photos, monkeypatch):
    with open_review(photos) as decided:
        decided.decide(0, "drop")
        whole = decided.journal.read_bytes()
        file = decided._file
        decided._file = types.SimpleNamespace(
            write=lambda content: file.write(content[:20]), seek=file.seek, truncate=file.truncate
        )
        with pytest.raises(OSError, match="space"):
            decided.decide(1, "drop")
        decided._file = file
    with open_review(photos) as decided:
        assert (len(decided), decided.journal.read_bytes()) == (1, whole)


def test_images_keep_their_split_when_others_are_added(photos):
    def splits_of(seed):
        out = photos.parent / "reviewed.csv"
        data = recycle_tf.open_dataset(photos, seed=seed)
        with data.review(out):
            return {image: row["split"] for image, row in manifest(photos).items()}

    def decide(seed, decision):
        with recycle_tf.open_dataset(photos, seed=seed).review(photos.parent / "reviewed.csv") as running:
            decision(running.decisions)

    before = splits_of(1)
    dropped = next(number for number, split in enumerate(before.values()) if split == "test")
    decide(1, lambda decisions: decisions.decide(dropped, "drop"))
    assert before == {
        f"photos/{name}": split for name, _, split, _ in sources.open_source(str(photos), seed=1).manifest()
    }
    for number in range(9):
        shutil.copy(photos / "can" / f"can{number}.png", photos / "can" / f"again{number}.png")
    assert len(splits_of(2)) == len(before) + 9 - 1
    decide(2, lambda decisions: decisions.undo())
    after = splits_of(2)
    assert len(after) == len(before) + 9
    assert {image: after[image] for image in before} == before


def test_a_damaged_journal_does_not_stay_locked(photos):
    journal = photos.parent / "reviewed.decisions.jsonl"
    journal.write_text("nonsense\n")
    with pytest.raises(UserError, match="line 1") as raised:
        open_review(photos)
    journal.write_text("")
    with open_review(photos) as decided:
        assert len(decided) == 0
    assert raised
