"""Nothing half-written is ever seen under its final name."""

import errno
import os

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
