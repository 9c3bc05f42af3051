"""What a notebook draws: every figure once, whether it is the value of its cell or not."""

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from recycle_tf.evaluation import notebook, plots


@pytest.fixture
def cell():
    """Runs a cell; returns the data of what it displays and of its value, by MIME type."""
    shell = InteractiveShell.instance()
    shell.display_pub = CapturingDisplayPublisher()
    shell.user_ns["figure"] = lambda: notebook.show(plots.draw(lambda axes: axes.plot([0, 1])))

    def run(source):
        shell.display_pub.outputs.clear()
        result = shell.run_cell(source)
        result.raise_error()
        shown = [output["data"] for output in shell.display_pub.outputs]
        value = [] if result.result is None else [shell.display_formatter.format(result.result)[0]]
        return shown, value

    yield run
    InteractiveShell.clear_instance()


def test_the_value_of_a_cell_is_drawn_once(cell):
    shown, (value,) = cell("figure()")
    assert not shown
    assert value["image/png"].startswith(b"\x89PNG")


def test_other_figures_are_drawn_at_the_end_of_the_cell(cell):
    shown, value = cell("figure(); kept = figure(); 3")
    assert [set(data) for data in shown] == [{"image/png", "text/plain"}] * 2
    assert value == [{"text/plain": "3"}]
    shown, (value,) = cell("kept")
    assert not shown
    assert "image/png" in value


def test_outside_a_notebook_nothing_is_drawn(capfd):
    figure = notebook.show(plots.draw(lambda axes: axes.plot([0, 1])))
    assert figure.axes
    assert capfd.readouterr() == ("", "")


def test_cells_are_escaped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "audit" / "<b>.html"
    text = notebook.table(("<i>", "n"), [("a & b", 1234)], notebook.link(page))
    assert "&lt;i&gt;" in text
    assert "a &amp; b" in text
    assert ">1,234<" in text
    assert 'href="audit/%3Cb%3E.html"' in text
    assert "file:///" in notebook.link(tmp_path.parent / "elsewhere.html")
