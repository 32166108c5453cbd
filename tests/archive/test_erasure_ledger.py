"""The erasure ledger: lines that stay, and every change of them that is noticed."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.archive.erasure_ledger import (
    ErasedContact,
    ErasureLedger,
    LedgerLine,
    decode_lines,
)
from service.domain.errors import TamperedError
from storage.errors import FullError
from storage.ledger import FileLedger

CONTACT = ErasedContact(
    id="ct_1",
    source="pbx",
    source_token="00ff",
    channel="call",
    direction="inbound",
    started_at=1,
    created_at=2,
    customers=("cu_1",),
)


def line(number=1):
    return LedgerLine(
        v=1,
        erasure=f"er_{number}",
        ground="data_subject_request",
        requested_by="us_1",
        requested_at=3,
        approved_by="us_2",
        at=4,
        contact=CONTACT,
        destroyed=("ct_1", "ob_1", "dl_1"),
    )


@pytest.fixture
async def whole(tmp_path):
    """A ledger of three lines, and the file that it is in."""
    ledger = ErasureLedger(FileLedger(tmp_path / "ledger" / "erasures"))
    for number in (1, 2, 3):
        await ledger.add(line(number))
    return ledger, tmp_path / "ledger" / "erasures"


async def test_lines_come_back_in_order(whole):
    ledger, _ = whole
    assert [one.erasure for one in await ledger.read()] == ["er_1", "er_2", "er_3"]


async def test_there_is_nothing_in_a_ledger_that_is_not_there(tmp_path):
    assert await ErasureLedger(FileLedger(tmp_path / "none")).read() == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda lines: lines[1:], id="the first is missing"),
        pytest.param(lambda lines: [lines[0], lines[2]], id="one is missing in the middle"),
        pytest.param(lambda lines: [lines[0], lines[2], lines[1]], id="two change places"),
        pytest.param(lambda lines: [lines[0], lines[0], *lines[1:]], id="one is repeated"),
        pytest.param(
            lambda lines: [lines[0].replace(b"ct_1", b"ct_2"), *lines[1:]], id="another contact"
        ),
        pytest.param(lambda lines: [lines[0], b"{}", lines[2]], id="an empty line"),
        pytest.param(lambda lines: [lines[0] + b" ", *lines[1:]], id="a space"),
        pytest.param(
            lambda lines: [lines[0].replace(b'"v":1', b'"v":2')], id="another version"
        ),
        pytest.param(lambda lines: [lines[0][:-1]], id="half a line"),
        pytest.param(lambda lines: [b"\xff\xfe", *lines], id="no text"),
    ],
)
async def test_a_ledger_that_was_changed_is_refused(whole, change):
    ledger, file = whole
    lines = file.read_bytes().split(b"\n")[:-1]
    file.write_bytes(b"".join(one + b"\n" for one in change(lines)))
    with pytest.raises(TamperedError):
        await ledger.read()


@given(st.lists(st.binary(max_size=200), max_size=3))
@settings(max_examples=200)
def test_anything_else_is_refused_and_nothing_else_is_raised(lines):
    if not lines:
        return
    with pytest.raises(TamperedError):
        decode_lines(lines)


@pytest.mark.parametrize("length", [1, 17, -1])
async def test_a_line_that_a_crash_cut_short_counts_for_nothing_and_makes_room(whole, length):
    ledger, file = whole
    lines = file.read_bytes()
    (*_, last) = lines.split(b"\n")[:-1]
    file.write_bytes(lines + last[:length])
    assert len(await ledger.read()) == 3
    await ledger.add(line(4))
    assert [one.erasure for one in await ledger.read()] == ["er_1", "er_2", "er_3", "er_4"]


async def test_long_lines_and_many_follow_each_other(tmp_path):
    ledger = ErasureLedger(FileLedger(tmp_path / "erasures"))
    for number in range(4):
        many = tuple(f"ob_{n}" for n in range(40_000 if number % 2 else 1))
        one = line(number)
        await ledger.add(
            LedgerLine(
                **{name: getattr(one, name) for name in one.__struct_fields__}
                | {"destroyed": many}
            )
        )
    assert len(await ledger.read()) == 4


async def test_a_full_disk_adds_nothing(whole, monkeypatch):
    ledger, file = whole
    before = file.read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FullError):
        await ledger.add(line(4))
    assert file.read_bytes() == before
