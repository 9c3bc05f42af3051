"""Averages of runs: the weights are the mean, the choice is made on validation, the result is a run."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from recycle_tf import create_model, runs
from recycle_tf.api import averaging
from recycle_tf.config import TrainConfig
from recycle_tf.errors import UserError
from recycle_tf.training import resume


@pytest.fixture
def two(finished_run, tmp_path):
    """A run, and the same with a head that is always wrong."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    for path in (good, bad):
        shutil.copytree(finished_run, path)
    model = runs.open_run(bad).load_model()
    head = model.get_layer("logits")
    head.set_weights([-weight for weight in head.get_weights()])
    model.save(bad / "model.keras")
    return runs.open_run(good), runs.open_run(bad)


def paths(found):
    return [run.path for run in found]


def test_the_weights_are_the_mean_in_the_given_proportions(two, tmp_path):
    run, tried = averaging.average(paths(two), tmp_path / "new", proportions=(3, 1))
    assert [candidate.proportions for candidate in tried] == [(0.75, 0.25)]
    weights = (each.load_model().get_weights() for each in (run.folder, *two))
    for own, one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(own, 0.75 * one + 0.25 * other, atol=1e-6)
    assert run.folder.complete
    assert run.folder.calibration["temperature"] > 0
    assert json.loads((run.folder.report / "metrics.json").read_text())["split"] == "test"
    averaged = json.loads(run.folder.config_file.read_text())["averaged"]
    assert averaged == {str(two[0].path): 0.75, str(two[1].path): 0.25}


def test_of_two_runs_the_better_end_wins(two, tmp_path):
    run, tried = averaging.average(paths(two[::-1]), tmp_path / "new")
    assert len(tried) == averaging.STEPS + 1
    assert tried[0].score == max(candidate.score for candidate in tried) > tried[-1].score
    assert tried[0].proportions[1] > 0.5
    assert list(run.classes) == two[0].labels


def test_of_three_runs_the_bad_ones_are_left_out(two, tmp_path):
    third = shutil.copytree(two[1].path, tmp_path / "third")
    run, tried = averaging.average([*paths(two[::-1]), third], tmp_path / "new")
    assert tried[0].proportions == (0, 1, 0)


@pytest.mark.parametrize(
    ("change", "names"),
    [({"resize": "crop"}, ("resize", "crop", "stretch")), ({"arch": "test_lenet"}, ("arch", "test_lenet"))],
)
def test_runs_that_differ_are_refused(two, tmp_path, change, names):
    path = two[1].config_file
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "config": {**record["config"], **change}}))
    with pytest.raises(UserError) as caught:
        averaging.average(paths(two), tmp_path / "new")
    assert all(name in str(caught.value) for name in names)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("proportions", [(1,), (1, 0), (1, -1), (float("nan"), 1), (1e308, 1e308)])
def test_invalid_proportions(two, tmp_path, proportions):
    with pytest.raises(UserError, match="proportions"):
        averaging.average(paths(two), tmp_path / "new", proportions)


def test_one_run_or_an_existing_folder(two, tmp_path):
    with pytest.raises(UserError, match="two or more"):
        averaging.average(paths(two[:1]), tmp_path / "new")
    with pytest.raises(UserError, match="named twice"):
        averaging.average(paths([two[0], two[0]]), tmp_path / "new")
    with pytest.raises(UserError, match=r"run_dir=.*exists"):
        averaging.average(paths(two), two[0].path)


def test_an_interrupted_average_is_made_again(two, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(averaging.training, "conclude", full)
        with pytest.raises(UserError, match="No space left on device"):
            averaging.average(paths(two), tmp_path / "new", proportions=(1, 1))
    settings = runs.open_run(tmp_path / "new").config
    with pytest.raises(UserError, match="average of runs that was interrupted"):
        resume.unfinished(TrainConfig(**settings))
    run, _ = averaging.average(paths(two), tmp_path / "new", proportions=(1, 1))
    assert run.folder.complete
    (tmp_path / "empty").mkdir()
    assert resume.discard_average(tmp_path / "empty")
    assert not resume.discard_average(tmp_path / "new")


def test_candidates_are_judged_by_both_accuracies():
    one = averaging.Candidate((1.0, 0.0), 0.9, 0.5)
    assert one.score == pytest.approx(0.7)
    assert dataclasses.replace(one, shifted=0.9).score > one.score


def test_runs_with_another_split_or_unfinished_ones_are_refused(two, tmp_path):
    path = two[1].config_file
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "fingerprint": "0" * 16}))
    with pytest.raises(UserError, match="split"):
        averaging.average(paths(two), tmp_path / "new")
    path.write_text(json.dumps(record))
    two[1].checkpoints.mkdir()
    with pytest.raises(UserError, match="not ended"):
        averaging.average(paths(two), tmp_path / "new")


def test_of_equally_good_averages_the_largest_is_taken():
    def judge(proportions):
        return averaging.Candidate(tuple(proportions), 0.9, 0.9)

    first, *others = averaging._greedy(judge, 3)
    assert first.proportions == (1 / 3, 1 / 3, 1 / 3)
    assert len(others) == 4


def test_networks_for_images_of_another_size(two, tmp_path):
    create_model(two[1].config["arch"], len(two[1].labels), image_size=48).save(two[1].model_file)
    with pytest.raises(UserError, match=rf"{two[1].path}: .* 48 pixels.* of 32; .*image_size"):
        averaging.average(paths(two), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_size_of_images_may_be_given_or_be_the_default(two, tmp_path):
    path = two[1].config_file
    record = json.loads(path.read_text())
    assert record["config"]["image_size"] == 32
    path.write_text(json.dumps({**record, "config": {**record["config"], "image_size": None}}))
    run, _ = averaging.average(paths(two), tmp_path / "new", proportions=(1, 1))
    assert run.folder.complete


def test_networks_that_normalize_pixels_in_different_ways(two, tmp_path):
    model = two[1].load_model()
    layer = model.get_layer("preprocess")
    layer.offset = [one + 0.5 for one in np.ravel(layer.offset)]
    model.save(two[1].model_file)
    with pytest.raises(UserError, match=f"{two[1].path}: normalizes pixels"):
        averaging.average(paths(two), tmp_path / "new")
    assert not (tmp_path / "new").exists()
