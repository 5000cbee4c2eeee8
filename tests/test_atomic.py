"""Nothing half-written is ever seen under its final name."""

import errno
import os
import subprocess
import sys
from threading import Thread

import pytest

from weightatlas import atomic
from weightatlas.errors import FileError


def test_a_file_appears_whole_and_in_new_folders(tmp_path):
    target = tmp_path / "new" / "a.txt"
    atomic.write_text(target, "whole")
    assert target.read_text(encoding="utf-8") == "whole"
    assert os.listdir(target.parent) == ["a.txt"]


def test_an_interrupted_write_leaves_the_old_file_and_no_leftover(tmp_path):
    target = tmp_path / "a.bin"
    atomic.write_bytes(target, b"old")

    def interrupted() -> None:
        with atomic.replacing(target) as temporary:
            temporary.write_bytes(b"ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the file system is read-only")]
)
def test_the_reason_is_named(tmp_path, monkeypatch, code, reason):
    def refuse(*_args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(FileError, match=reason) as caught:
        atomic.write_text(tmp_path / "a.txt", "x")
    assert "run the same command again" in caught.value.todo
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "a").write_text("file", encoding="utf-8")
    with pytest.raises(FileError, match="Cannot write"):
        atomic.write_text(tmp_path / "a" / "b.txt", "x")


WRITER = """
import os, signal, sys
from pathlib import Path
from weightatlas.atomic import replacing_alone
with replacing_alone(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    other = tmp_path / ".b.txt.0123abcd.tmp"
    other.write_text("of another file")
    killed = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "a.txt")], check=False)
    assert killed.returncode == -9
    assert len(list(tmp_path.glob(".a.txt.*.tmp"))) == 1
    with atomic.replacing_alone(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert sorted(tmp_path.iterdir()) == [other, tmp_path / "a.txt"]


def test_a_living_writer_is_waited_for(tmp_path):
    def write():
        with atomic.replacing_alone(tmp_path / "a.txt") as temporary:
            temporary.write_text("second")

    second = Thread(target=write)
    with atomic.replacing_alone(tmp_path / "a.txt") as temporary:
        temporary.write_text("first")
        second.start()
        second.join(0.2)
        assert second.is_alive()
        assert temporary.exists()
    second.join()
    assert (tmp_path / "a.txt").read_text() == "second"


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    left = tmp_path / ".a.txt.0123abcd.tmp"
    left.write_text("perhaps of a living writer")
    with atomic.replacing_alone(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert left.exists()
