"""Settings of an export and its command line: what is valid, and which flag an error names."""

import pytest

from export import __main__, locales
from export.settings import ExportSettings
from recycle_tf.errors import UserError
from tests.export.conftest import check_error, run_command


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ([], ["--run"]),
        (["--run=/no/run"], ["--run=/no/run"]),
        (["--run=/no/run", "more"], ["more"]),
        (["--run=r", "--formats="], ["--formats"]),
        (["--run=r", "--formats=tflite_int4"], ["--formats=tflite_int4", "tflite_int8"]),
        (["--run=r", "--max_drop=nan"], ["--max_drop=nan"]),
        (["--run=r", "--choose", "--unverified"], ["--choose", "--unverified"]),
        (["--run=r", "--unverified", "--dataset=d"], ["--dataset", "--unverified"]),
        (["--run=r", "--max_mb=5"], ["--max_mb=5", "--choose"]),
        (["--run=r", "--choose", "--max_ms=0"], ["--max_ms=0"]),
        (["--run=r", "--translations=korean.txt"], ["--translations=korean.txt"]),
        (["--run=r", "--translations=ko:a,ko:b"], ["--translations=ko:b"]),
        (["--run=r", "--translations=../x:a"], ["--translations=../x:a"]),
        *(
            (["--run=r", f"--batch={batch}"], [f"--batch={batch}", "dynamic"])
            for batch in ("0", "-1", "many", "1.5", "1025", "99999999999")
        ),
    ],
)
def test_invalid_flags(flags, named):
    check_error(run_command(__main__.main, *flags), *named)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_drop": "1"}, "`max_drop=1`.*number"),
        ({"translations": {"ko": "a"}}, "`translations=.*text"),
        ({"choose": 1}, "`choose=1`.*True or False"),
        ({"author": "M\udcfcller"}, "`author=.*UTF-8"),
    ],
)
def test_settings_of_another_type(settings, named):
    with pytest.raises(UserError, match=named):
        ExportSettings(run="r", **settings)


def test_settings_of_python(tmp_path):
    settings = ExportSettings(run=tmp_path, batch=8, max_drop=2)
    assert (settings.run, settings.batch_size, settings.max_drop) == (str(tmp_path), 8, 2.0)


def test_defaults():
    settings = ExportSettings(run="r")
    assert (settings.format_names, settings.batch_size, settings.translation_files) == (None, 1, {})


def test_values():
    given = {"formats": "onnx, web,onnx", "batch": "dynamic", "translations": "ko:a.txt,pt-BR:b.txt"}
    settings = ExportSettings(run="r", **given)
    assert settings.format_names == ["onnx", "web"]
    assert settings.batch_size == "dynamic"
    assert settings.translation_files == {"ko": "a.txt", "pt-BR": "b.txt"}


def test_the_earlier_name_of_korean_names_works_and_says_so(capsys):
    settings = __main__.parse(["--run=r", "--labels_ko=names.txt"])
    assert settings.translation_files == {"ko": "names.txt"}
    (line,) = capsys.readouterr().err.splitlines()
    assert "--labels_ko" in line
    assert "--translations=ko:FILE" in line


def test_known_classes_have_korean_names():
    assert locales.translate(["paper", "trash"]) == {"ko": ["종이", "일반 쓰레기"]}
    assert locales.translate(["paper", "can"]) == {}
    assert locales.locale_of(["paper", "trash"]) == "en"
    assert locales.locale_of(["paper", "can"]) is None


def test_names_from_files(tmp_path):
    (tmp_path / "ko").write_text("캔\n병\n", encoding="utf-8-sig")
    (tmp_path / "de").write_text("Dose\nGlas\n", encoding="utf-8")
    files = {"ko": tmp_path / "ko", "de": tmp_path / "de"}
    assert locales.translate(["can", "jar"], files) == {"ko": ["캔", "병"], "de": ["Dose", "Glas"]}


@pytest.mark.parametrize("content", [None, b"\xff", b"a\nb\n", b"a\n\nc\n"])
def test_names_that_do_not_fit(tmp_path, content):
    file = tmp_path / "names.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=f"translations=ko:{file}"):
        locales.translate(["can", "jar", "tube"], {"ko": file})
