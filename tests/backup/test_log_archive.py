"""The log's files come out of a backup where they belong, and nothing anywhere else."""

import io
import tarfile

import pytest

from service.backup.log_archive import read_log, write_log


def packed(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, 0, "/etc/passwd"
            if kind == tarfile.REGTYPE:
                member.size = 1
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    out.seek(0)
    return out


def test_what_was_written_comes_back(tmp_path):
    names = ["log/vkey", "log/tile/0/x001/067", "log/tile/entries/000.p/12", "log.1/tile/0/000"]
    for name in names:
        file = tmp_path / "from" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    out = io.BytesIO()
    write_log(tmp_path / "from", b"checkpoint", out, check=lambda: None)
    out.seek(0)
    read_log(out, tmp_path / "to")
    found = {p.relative_to(tmp_path / "to").as_posix(): p for p in (tmp_path / "to").rglob("*")}
    assert {name: found[name].read_text() for name in names} == {name: name for name in names}
    assert found["log/checkpoint"].read_bytes() == b"checkpoint"
    assert not (found["log/vkey"].stat().st_mode & 0o111)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("log/../../outside", tarfile.REGTYPE),
        ("log/./x", tarfile.REGTYPE),
        ("log", tarfile.REGTYPE),
        ("log/", tarfile.REGTYPE),
        ("/log/x", tarfile.REGTYPE),
        ("logs/x", tarfile.REGTYPE),
        ("taltio.db", tarfile.REGTYPE),
        ("log/.hidden", tarfile.REGTYPE),
        ("log/a b", tarfile.REGTYPE),
        ("log/link", tarfile.SYMTYPE),
        ("log/link", tarfile.LNKTYPE),
        ("log/pipe", tarfile.FIFOTYPE),
        ("log/directory", tarfile.DIRTYPE),
    ],
)
def test_what_is_no_file_of_a_log_is_refused(tmp_path, name, kind):
    with pytest.raises(tarfile.TarError):
        read_log(packed((name, kind)), tmp_path / "to")
    assert list(tmp_path.rglob("*")) == []


def test_no_file_is_written_twice(tmp_path):
    with pytest.raises(FileExistsError):
        read_log(packed(*[("log/x", tarfile.REGTYPE)] * 2), tmp_path)


def test_it_needs_nothing_that_a_supported_python_lacks(tmp_path, monkeypatch):
    # Extraction filters came with Python 3.11.4.
    monkeypatch.delattr(tarfile.TarFile, "extract")
    monkeypatch.delattr(tarfile.TarFile, "extractall")
    read_log(packed(("log/x", tarfile.REGTYPE)), tmp_path)
    assert (tmp_path / "log" / "x").read_bytes() == b"x"
