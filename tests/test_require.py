"""The rule for tests that need further programs."""

import pytest

from tests.conftest import require


def test_a_missing_program_skips_a_test_but_fails_it_in_ci(monkeypatch):
    require("python3", "numpy")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no_such_program"):
        require("python3", "no_such_program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no_such_program"):
        require("no_such_program")
