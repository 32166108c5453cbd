"""Messages over HTTP: what nobody needs to see is hidden, unless it is asked for."""

from service.domain.actor import Role
from service.domain.permission import PERMITTED, Permission
from tests.api.test_content import bearer, client, world

__all__ = ["client", "world"]

TEXT = "Korttini on 4111 1111 1111 1111, tilaus 12345."
SHOWN = "Korttini on •••• 1111, tilaus 12345."


async def asked(world, client, text=TEXT, *, query="", method="GET", who="handler", **headers):
    contact_id = await world.chat(text, source_id=f"chat-{text}-{query}-{method}-{headers}")
    (message,) = await world.messages_of(contact_id)
    grant = await world.grant(contact_id)
    path = f"/api/v1/messages/{message.id}/content{query}"
    headers = bearer(who, **{"Access-Grant": grant.id, **headers})
    return await client.request(method, path, headers=headers)


async def test_a_card_number_is_hidden_and_said_to_be(world, client):
    response = await asked(world, client)
    assert await response.text() == SHOWN
    assert response.headers["Masked-Places"] == "1"
    assert response.headers["Content-Length"] == str(len(SHOWN.encode()))


async def test_a_message_with_something_hidden_is_sent_whole(world, client):
    response = await asked(world, client, Range="bytes=0-3")
    assert (response.status, await response.text()) == (200, SHOWN)
    assert response.headers["Accept-Ranges"] == "none"


async def test_another_text_is_another_entity(world, client):
    masked = await asked(world, client)
    assert masked.headers["ETag"].endswith('-masked"')
    whole = await asked(world, client, query="?unmasked=yes")
    assert not whole.headers["ETag"].endswith('-masked"')


async def test_head_tells_the_length_of_what_is_shown(world, client):
    response = await asked(world, client, method="HEAD")
    assert response.headers["Content-Length"] == str(len(SHOWN.encode()))
    assert await response.read() == b""


async def test_who_asks_for_all_of_it_gets_it_and_is_on_record(world, client):
    response = await asked(world, client, query="?unmasked=yes")
    assert await response.text() == TEXT
    assert "Masked-Places" not in response.headers
    assert len(await world.entries("message.unmasked")) == 1


async def test_ranges_of_all_of_it_are_served(world, client):
    response = await asked(world, client, query="?unmasked=yes", Range="bytes=12-15")
    assert (response.status, await response.text()) == (206, "4111")


async def test_a_message_with_nothing_to_hide_is_as_it_was_archived(world, client):
    response = await asked(world, client, "Hei", Range="bytes=1-")
    assert (response.status, await response.text()) == (206, "ei")
    assert "Masked-Places" not in response.headers


async def test_what_was_sent_masked_counts_as_sent(world, client):
    await asked(world, client)
    (content,) = world.openings._open.values()
    assert content.track.sent_bytes == len(TEXT.encode())


async def test_who_may_open_nothing_is_refused(world, client):
    assert (await asked(world, client, query="?unmasked=yes", who="agent")).status == 403


async def test_unmasked_is_yes_or_not_said(world, client):
    for query in ("?unmasked=1", "?unmasked=", "?unmasked=no"):
        assert (await asked(world, client, query=query)).status == 400
    assert await world.entries("message.unmasked") == []


async def test_a_recording_has_nothing_unmasked(world, client):
    contact_id = await world.call(b"hello")
    row, grant = await world.recording_of(contact_id), await world.grant(contact_id)
    response = await client.get(
        f"/api/v1/recordings/{row.id}/content?unmasked=yes",
        headers=bearer(**{"Access-Grant": grant.id}),
    )
    assert response.status == 400


async def test_a_damaged_message_is_refused_and_raises_the_alarm(world, client):
    contact_id = await world.chat(TEXT)
    (message,) = await world.messages_of(contact_id)
    grant = await world.grant(contact_id)
    world.blobs.blobs[message.object_id][-1] ^= 1
    response = await client.get(
        f"/api/v1/messages/{message.id}/content", headers=bearer(**{"Access-Grant": grant.id})
    )
    assert response.status >= 400
    assert await world.entries("integrity.alarm")


async def test_who_may_not_see_what_is_hidden_gets_no_original_either(
    world, client, monkeypatch
):
    role = Role.COMPLAINT_HANDLER
    monkeypatch.setitem(PERMITTED, role, PERMITTED[role] - {Permission.UNMASK})
    contact_id = await world.chat(TEXT)
    (message,) = await world.messages_of(contact_id)
    grant = await world.grant(contact_id)
    statuses = []
    for path in ("content", "content?unmasked=yes", "original"):
        response = await client.get(
            f"/api/v1/messages/{message.id}/{path}",
            headers=bearer(**{"Access-Grant": grant.id}),
        )
        statuses.append(response.status)
    assert statuses == [200, 403, 403]
    assert len(await world.entries("opening.refused")) == 2
