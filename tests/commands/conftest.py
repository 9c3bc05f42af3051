"""Runs `recycle-tf COMMAND …` in this process."""

import dataclasses

import pytest

from recycle_tf import __main__ as program


@dataclasses.dataclass(frozen=True)
class Result:
    """Exit status and what was printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def recycle_tf(capfd):
    """`recycle_tf("predict", "--model=x", "photo.jpg")` -> `Result`."""

    def run(*arguments):
        capfd.readouterr()
        try:
            status = program.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        return Result(status or 0, *capfd.readouterr())

    return run


@pytest.fixture
def rejected(recycle_tf):
    """Asserts that a command ends with status 2 and one line that holds all `names`."""

    def check(arguments, *names):
        result = recycle_tf(*arguments)
        assert result.status == 2, result.err
        (line,) = result.err.strip().splitlines()
        assert line.startswith("error: ")
        for name in names:
            assert name in line

    return check
