"""What became of a message later stands beside what it was, in whichever order it was told."""

import itertools

import pytest

from service.domain.errors import InvalidInputError
from service.log.entry import EntryType, decode_entry
from service.sources.generic import parse_contact
from storage.rows import ContactRow
from tests.archive.test_interpret import HANDLER
from tests.archive.test_spine import call, deliver
from tests.conftest import NOW

SENT = {"from": "Maija", "at": "2026-11-20T14:02:00Z", "text": "Tilaan", "id": "m-1"}
EDITED = {**SENT, "text": "En tilaa", "change": "edited", "changed_at": "2026-11-20T14:05:00Z"}
DELETED = {**SENT, "text": None, "change": "deleted", "changed_at": "2026-11-20T14:07:00Z"}
REPLY = {"from": "agent-7", "at": "2026-11-20T14:03:00Z", "text": "Selvä", "id": "m-2"}


def chat(*messages):
    told = [{name: v for name, v in one.items() if v is not None} for one in messages]
    return call(channel="chat", messages=told)


async def shown(archive):
    (row,) = await archive.stores.store.find(ContactRow, {})
    view = await archive.contacts.get(row.id, actor=HANDLER)
    return view.messages


@pytest.mark.parametrize("order", list(itertools.permutations([SENT, EDITED, DELETED])))
async def test_versions_follow_each_other_in_whichever_order_they_came(archive, order):
    for number, message in enumerate([REPLY, *order]):
        await deliver(archive, chat(message), ident=f"w-{number}", now=NOW)
    first, edited, deleted, reply = await shown(archive)
    assert [m.change for m in (first, edited, deleted, reply)] == [
        None,
        "edited",
        "deleted",
        None,
    ]
    assert [m.of for m in (first, edited, deleted, reply)] == [None, first.id, first.id, None]
    assert [m.is_replaced for m in (first, edited, deleted, reply)] == [
        True,
        True,
        False,
        False,
    ]
    assert [m.size_bytes for m in (first, edited, deleted)] == [6, 8, 0]


async def test_the_same_change_again_is_nothing_new_and_changing_back_is(archive):
    back = {**EDITED, "text": "Tilaan", "changed_at": "2026-11-20T14:06:00Z"}
    for number, message in enumerate([SENT, EDITED, EDITED, back, back, SENT]):
        await deliver(archive, chat(message), ident=f"w-{number}", now=NOW)
    assert [m.change for m in await shown(archive)] == [None, "edited", "edited"]


async def test_a_message_that_is_told_anew_is_a_version_only_with_another_text(archive):
    anew = {**SENT, "changed_at": "2026-11-20T14:08:00Z"}
    other = {**anew, "text": "Tilaan sittenkin"}
    for number, message in enumerate([SENT, anew, other, other]):
        await deliver(archive, chat(message), ident=f"w-{number}", now=NOW)
    first, later = await shown(archive)
    assert (first.change, later.change, later.of) == (None, "edited", first.id)


async def test_a_change_is_in_the_log(archive):
    await deliver(archive, chat(SENT, EDITED, DELETED), ident="w-1", now=NOW)
    stored = await archive.stores.log.log_entries(0, 1000)
    entries = [decode_entry(one.entry) for one in stored]
    changes = [e.data.get("change") for e in entries if e.type is EntryType.MESSAGE_ARCHIVED]
    assert changes == [None, "edited", "deleted"]


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({**EDITED, "id": None}, "messages.id"),
        ({**EDITED, "changed_at": None}, "messages.changed_at"),
        ({**SENT, "text": None}, "messages.text"),
        ({**DELETED, "text": "Tilaan"}, "messages.text"),
        ({**EDITED, "change": "moved"}, "known value"),
    ],
)
def test_a_change_that_cannot_be_one_is_refused(message, what):
    with pytest.raises(InvalidInputError, match=what):
        parse_contact(chat(message), region="FI", now=NOW)
