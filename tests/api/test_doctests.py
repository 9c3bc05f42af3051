"""The examples in the docstrings of the Python API."""

import doctest
import inspect
import shutil

import pytest

import recycle_tf as rt
from recycle_tf.api import data as api_data
from recycle_tf.api import run as api_run
from tests.api.conftest import TINY

PUBLIC = [rt.open_dataset, rt.audit, rt.shard, rt.train, rt.open_run, rt.load, rt.compare, rt.average]
METHODS = [
    member
    for kind in (api_data.Dataset, api_run.Run)
    for _, member in inspect.getmembers(kind, inspect.isfunction)
    if not member.__name__.startswith("_")
]


@pytest.mark.parametrize("function", [*PUBLIC, *METHODS], ids=lambda function: function.__name__)
def test_examples(function, here, data, run):
    names = {"rt": rt, "data": data, "run": run, "tiny": TINY, "image": here / "new" / "1.jpg"}
    if function is rt.average:
        names["other"] = rt.open_run(shutil.copytree(run.path, here / "other"))
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    tests = doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs=names)
    examples = [example for test in tests for example in test.examples]
    # Those that open a page or take minutes have no example.
    assert bool(examples) != (function.__name__ in ("review", "evaluate_shifts")), "an example is missing"
    runner = doctest.DocTestRunner(optionflags=options)
    output = []
    for test in tests:
        runner.run(test, out=output.append)
    assert not runner.failures, "".join(output)
