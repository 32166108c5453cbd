"""Previews of a field map: what would come out, without who it is about."""

import json

import pytest

from service.connecting.previewing import shape_of
from service.domain.contact import Channel
from service.domain.errors import NotFoundError
from service.log.entry import EntryType
from tests.conftest import NOW
from tests.connecting.conftest import ADMIN

CALL = {
    "id": "A-1",
    "dir": "in",
    "begin": "2026-11-20T14:02:00+02:00",
    "caller": {
        "name": "Maija Esimerkki",
        "number": "+358401234567",
        "mail": "maija@example.org",
    },
    "tags": ["vip", "x"],
}
MAP = {
    "source_id": "/id",
    "channel": "= call",
    "direction": "/dir | in = inbound",
    "started_at": "/begin",
    "customer.phone": "/caller/number",
    "customer.name": "/caller/name",
}


async def preview(site, texts=None, **more):
    return await site.connections.previews.preview(
        "phones",
        MAP if texts is None else texts,
        **{"delivery_id": None, **more},
        actor=ADMIN,
        now=NOW,
    )


@pytest.fixture
async def kept(site):
    await site.add()
    return await site.deliver(json.dumps(CALL).encode())


async def test_the_contact_that_would_come_out_is_shown_by_its_shape(site, kept):
    shown = await preview(site)
    assert shown.delivery_id == kept.row.id
    fields = {one.name: one.value for one in shown.fields}
    assert fields == {
        "source_id": '"x-9"',
        "channel": "call",
        "direction": "inbound",
        "started_at": "2026-11-20T14:02:00+02:00",
        "customer.phone": '"+999999999999"',
        "customer.name": '"xxxxx xxxxxxxxx"',
    }
    assert {(leaf.pointer, leaf.shape) for leaf in shown.leaves} == {
        ("/id", '"x-9"'),
        ("/dir", '"xx"'),
        ("/begin", '"9999-99-99x99:99:99+99:99"'),
        ("/caller/name", '"xxxxx xxxxxxxxx"'),
        ("/caller/number", '"+999999999999"'),
        ("/caller/mail", '"xxxxx@xxxxxxx.xxx"'),
        ("/tags/0", '"xxx"'),
    }
    assert (shown.facts.channel, len(shown.facts.parties)) == (Channel.CALL, 1)


@pytest.mark.usefixtures("kept")
async def test_a_value_that_is_none_of_its_field_is_not_repeated(site):
    shown = await preview(site, {**MAP, "direction": "/caller/name", "channel": "/caller/mail"})
    assert shown.facts is None
    wrong = {one.name: one for one in shown.fields if one.error}
    assert wrong.keys() == {"direction", "channel"}
    assert "Maija" not in repr([*shown.fields, *shown.leaves])
    assert "maija" not in repr(shown)


@pytest.mark.usefixtures("kept")
async def test_a_map_that_is_none_is_told_beside_what_came(site):
    shown = await preview(site, {"source_id": "/id"})
    assert "channel" in shown.fault
    assert shown.leaves


async def test_each_look_is_in_the_log_before_anything_is_opened(site, kept):
    await preview(site)
    (looked,) = [
        entry
        for entry in await site.logged(kept.row.id)
        if entry.type is EntryType.SOURCE_PREVIEWED
    ]
    assert (looked.actor, looked.data["source"]) == (ADMIN.id, "phones")
    assert "Maija" not in repr(looked)


async def test_without_a_delivery_there_is_nothing_to_look_at(site):
    await site.add()
    assert await preview(site) is None


async def test_what_another_source_sent_is_not_shown(site, kept):
    other = await site.deliver(source="pbx", ident="w-2")
    with pytest.raises(NotFoundError):
        await preview(site, delivery_id=other.row.id)
    assert await preview(site, delivery_id=kept.row.id)


async def test_what_is_no_json_says_so(site):
    await site.add()
    await site.deliver(b"hello Maija")
    shown = await preview(site)
    assert "not JSON" in shown.fault
    assert "Maija" not in shown.fault


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (None, "null"),
        (True, "true"),
        (12.5, "99.9"),
        ("", '""'),
        ({}, "{}"),
        ([], "[]"),
        ("Åke Öst", '"xxx xxx"'),
        ("١٢", '"99"'),
        ("a\u202eb\n", '"x·x·"'),
        ("e\u0301", '"xx"'),
        ("y" * 50, '"' + "x" * 40 + '…"'),
    ],
)
def test_the_shape_of_a_value_says_nothing_of_it(value, shape):
    assert shape_of(value) == shape
