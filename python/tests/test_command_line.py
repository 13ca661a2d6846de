"""The program from Python."""

import os
from pathlib import Path

import pytest
from conftest import FIXTURES, fixture

import hpd
from hpd import command_line

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", FIXTURES.parent / "target"))
PROGRAM = TARGET / "release" / "hpd"


@pytest.fixture(autouse=True)
def _program(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        command_line.program()
    except hpd.FileError:
        if not PROGRAM.is_file():
            pytest.skip("no program `hpd` was built or installed")
        monkeypatch.setattr(command_line, "program", lambda: PROGRAM)


def test_a_verb_answers(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one\ntwo\nthree\n")
    output = tmp_path / "vectors.npy"
    answer = hpd.run("embed", model=fixture("bert_mean"), input=[tmp_path / "texts.txt"], output=output, quiet=True)
    assert answer["rows"] == 3 and answer["dimensions"] == 36 and output.is_file()
    assert hpd.run("inspect", fixture("bert_mean"))["dimensions"] == 36


def test_hits_are_a_list_and_no_is_an_answer(tmp_path: Path) -> None:
    store = hpd.Store.create(tmp_path / "s", fixture("bert_mean"))
    found = hpd.run("search", "bread", store=store.path)
    assert found == []
    store.add(["bread and butter", "a storm at sea"])
    found = hpd.run("search", "bread", store=store.path, limit=2, hybrid=True, min_score=None)
    assert [hit["rank"] for hit in found] == [1, 2]
    assert len(hpd.run("search", "bread", store=store.path, limit=1)) == 1
    assert hpd.run("index verify", store=store.path) == {"documents": 2, "problems": []}


def test_failures_are_errors_with_what_was_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(hpd.Error, match=r"there is no .*\nhint: "):
        hpd.run("inspect", tmp_path / "missing" / "model", quiet=True)
    assert capsys.readouterr().err == ""
    with pytest.raises(hpd.Error, match="unexpected argument '--dimm'"):
        hpd.run("distill", teacher="t", sentences=["s"], output="o", dimm=3)
    assert "--dimm" in capsys.readouterr().err


def test_words_are_typed_as_a_person_would() -> None:
    flags = {
        "keep_layers": "0,1",
        "resume": True,
        "overwrite": False,
        "seed": None,
        "sentences": ["a", Path("b")],
        "rate": 1e-4,
    }
    typed = command_line._typed(flags)
    assert typed == ["--keep-layers", "0,1", "--resume", "--sentences", "a", "b", "--rate", "0.0001"]
