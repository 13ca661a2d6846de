"""The program ``hpd`` from Python: every verb, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from threading import Thread
from typing import IO, Any

from hpd.errors import Error, FileError

# Done, and the answer is no.
_NO = 1

# Verbs that answer in lines, a value in each.
_LISTING = ("search", "similar", "dedupe")


def run(verb: str, *arguments: str | os.PathLike[str], quiet: bool = False, **flags: Any) -> Any:
    """Runs ``hpd VERB`` and gives what it answers in JSON: a list from ``search``, ``similar``, ``dedupe`` and ``inspect`` with
    ``models=True``, else one value, or ``None`` from what answers nothing.

    ``hpd.run("distill", teacher="…", sentences=["a.txt", "b.txt"], output="student", epochs=2)`` is ``hpd distill --teacher …
    --sentences a.txt b.txt --output student --epochs 2``: words that are no flags come first, ``True`` is a flag alone, ``False``
    and ``None`` are left out, and ``keep_layers`` is ``--keep-layers``. ``hpd help VERB`` tells what there is.

    What the program says on the way goes to ``sys.stderr`` unless ``quiet``. ``hpd.Error`` where it fails. Ctrl-C ends it as in a
    terminal: at its next safe point.
    """
    command = [str(program()), *verb.split(), *_typed(flags), "--json"]
    # Behind `--` words may begin with a dash.
    command += ["--", *(os.fspath(argument) for argument in arguments)] if arguments else []
    said: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        listener = Thread(target=_listen, args=(process.stderr, said, quiet), daemon=True)
        listener.start()
        answer = _wait_for(process, process.stdout)
        listener.join()
    if process.returncode not in (0, _NO):
        raise Error(_failure(verb, process.returncode, said))
    if verb in _LISTING or flags.get("models") is True:
        return [json.loads(line) for line in answer.splitlines()]
    return json.loads(answer) if answer.strip() else None


def program() -> Path:
    """The program: the one that was installed with this package, or else the one that a shell would find."""
    name = "hpd.exe" if os.name == "nt" else "hpd"
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise FileError(
            "there is no program `hpd`: this package was installed without it\n"
            "hint: cargo build --release --workspace --bin hpd, and add its folder to PATH"
        )
    return Path(found)


def _typed(flags: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in flags.items():
        if value is None or value is False:
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            values = value if isinstance(value, (list, tuple)) else [value]
            words += [os.fspath(v) if isinstance(v, os.PathLike) else str(v) for v in values]
    return words


def _listen(stream: IO[str], said: list[str], quiet: bool) -> None:
    for line in stream:
        said.append(line)
        # Without a console there is none.
        if not quiet and sys.stderr is not None:
            sys.stderr.write(line)
            sys.stderr.flush()


def _wait_for(process: subprocess.Popen[str], stream: IO[str]) -> str:
    """All it prints; after Ctrl-C, which it has got too, it is given the time to end."""
    try:
        answer = stream.read()
        process.wait()
        return answer
    except KeyboardInterrupt:
        # It may have more to print than a pipe holds.
        stream.read()
        process.wait()
        raise
    finally:
        process.kill()


def _failure(verb: str, code: int, said: list[str]) -> str:
    text = "".join(said)
    start = text.rfind("error: ")
    if start < 0:
        return f"`hpd {verb}` ended with status {code}\n{text.strip()}"
    return text[start + len("error: ") :].strip()
