"""What Chatwoot lists is read: what no webhook brought arrives, once, and what was missing is known."""

import json
from datetime import UTC, date, datetime, timedelta
from functools import partial

import pytest

from service.api.system import HEALTH
from service.archive.receive import keep_delivery
from service.config import parse_config
from service.config.roles import ProcessRole
from service.domain.actor import Role
from service.domain.contact import MessageChange
from service.domain.errors import InvalidInputError
from service.fetching import fetching_of
from service.listings import listings_of
from service.log.entry import EntryType
from service.serving import build_service
from service.sources.requests import received_request
from service.worker.listing.look import EVERY
from storage.rows import ContactRow, DeliveryRow, MissingRow, ReconciledRow
from tests.answering import answering
from tests.archive.test_expect import entries
from tests.chatwoot import TOKEN, FakeChatwoot, message
from tests.conftest import actor
from tests.listing import NOW, YESTERDAY, four_conversations, looking

HANDLER, ADMIN = actor(Role.COMPLAINT_HANDLER), actor(Role.ADMIN)
SETTINGS = """
[[sources]]
name = "chat"
kind = "chatwoot"
secret_file = "secret"
listing = "https://chat.example.com"
listing_account = 3
listing_token_file = "token"
fetch_origins = ["https://chat.example.com"]
"""


@pytest.fixture
def config(tmp_path):
    for name, text in (("secret", "invented-and-long"), ("token", f"{TOKEN}\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o400)
    return parse_config(SETTINGS, base=tmp_path)


@pytest.fixture
def chatwoot():
    return FakeChatwoot(four_conversations())


async def understand(archive, kept):
    await archive.understanding.understand([(one.row, one.delivery) for one in kept], now=NOW)
    kept.clear()


async def tell(archive, told, conversation, *, event="message_created", text=None, at=None):
    """Deliver a message as its webhook does: types by name, times as text."""
    sent_at = datetime.fromtimestamp(told["created_at"], UTC)
    body = {
        **told,
        "event": event,
        "content": text or told["content"],
        "message_type": {0: "incoming", 1: "outgoing"}[told["message_type"]],
        "created_at": sent_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "conversation": {
            "id": conversation,
            "channel": "Channel::WebWidget",
            "meta": {"sender": told["sender"]} if told["message_type"] == 0 else {},
        },
    }
    if at is not None:
        body["updated_at"] = at.isoformat()
    request = received_request("POST", "/intake/chat", (), json.dumps(body).encode())
    kept = await keep_delivery(
        archive.intake,
        source="chat",
        kind="request",
        ident=f"{told['id']} {event} {text}",
        body=request.encode(),
        now=NOW,
    )
    await understand(archive, [kept])


async def deliveries(archive):
    return await archive.stores.store.find(DeliveryRow, {"kind": "listed"})


async def views_of(archive, conversation):
    token = archive.interpreter.token_of("chat", str(conversation))
    (row,) = await archive.stores.store.find(ContactRow, {"source_token": token})
    return (await archive.contacts.get(row.id, actor=HANDLER)).messages


async def messages_of(archive, conversation):
    """Return the numbers of a conversation's messages, in its order, each with what became of it."""
    return [(one.ident, one.change) for one in await views_of(archive, conversation)]


async def sizes_of(archive, conversation):
    """Return how long each text of a conversation is, in its order."""
    return [one.size_bytes for one in await views_of(archive, conversation)]


async def month(archive):
    months = await archive.completeness.find(actor=ADMIN, now=NOW)
    (found,) = [m for m in months if m.source == "chat" and m.first == date(2026, 11, 1)]
    return found


async def told_by_webhooks(archive, chatwoot):
    """Tell what webhooks did: 112 without its second message, and of 114 the text before it was edited."""
    first, _, third = chatwoot.conversations[112]
    await tell(archive, first, 112)
    await tell(archive, third, 112)
    await tell(archive, chatwoot.conversations[114][0], 114, text="alkuperäinen")


async def test_what_no_webhook_brought_arrives_and_what_was_missing_is_known(archive, chatwoot):
    await told_by_webhooks(archive, chatwoot)
    offered = []
    async with answering(chatwoot.answer) as server:
        look = looking(archive, server, offered=offered)
        assert await look.look() == EVERY
        missing = await month(archive)
        assert (missing.days, missing.said, missing.missing) == (1, 3, 2)
        await understand(archive, offered)

    assert await messages_of(archive, 112) == [("1", None), ("2", None), ("3", None)]
    assert await messages_of(archive, 113) == [("20", None), ("21", None)]
    assert await messages_of(archive, 114) == [("30", None), ("30", MessageChange.EDITED)]
    assert await sizes_of(archive, 114) == [len("alkuperäinen".encode()), len("korjattu")]
    assert await messages_of(archive, 115) == [("40", None)]
    assert look.outcomes == {"missing": 2, "kept": 4}
    found = await month(archive)
    assert (found.said, found.here, found.late, found.missing) == (3, 4, 2, 0)
    (compared,) = await entries(archive, EntryType.STATEMENT_COMPARED)
    assert (compared.data["said"], compared.data["unknown"]) == (3, 0)
    assert compared.data["first_day"] == compared.data["last_day"] == "2026-11-21"
    assert {one.headers["api_access_token"] for one in server.asked} == {TOKEN}


async def test_what_a_webhook_tells_later_is_the_same_message(archive, chatwoot):
    offered = []
    async with answering(chatwoot.answer) as server:
        await looking(archive, server, offered=offered).look()
        await understand(archive, offered)
    await told_by_webhooks(archive, chatwoot)
    assert await messages_of(archive, 112) == [("1", None), ("2", None), ("3", None)]
    # What it was before comes first, whenever it is told.
    assert await messages_of(archive, 114) == [("30", None), ("30", MessageChange.EDITED)]
    assert await sizes_of(archive, 114) == [len("alkuperäinen".encode()), len("korjattu")]
    assert (await month(archive)).missing == 0


async def test_where_nothing_is_new_nothing_is_asked_or_kept_anew(archive, chatwoot):
    async with answering(chatwoot.answer) as server:
        look = looking(archive, server)
        await look.look()
        before, asked = await deliveries(archive), len(server.asked)
        chatwoot.conversations[112][0]["status"] = "read"
        await look.look()
        # A page that goes back behind the day that was compared.
        assert len(server.asked) - asked == 1
        # Another process, or this one after a start, remembers nothing but the days.
        again = looking(archive, server)
        await again.look()
        assert await deliveries(archive) == before
        assert again.outcomes["kept"] == again.outcomes["missing"] == 0

        chatwoot.conversations[115].append(message(41, NOW, "lisää"))
        await look.look()
        assert len(await deliveries(archive)) == len(before) + 1
        chatwoot.conversations[115][0]["content_attributes"] = {"deleted": True}
        await looking(archive, server).look()
        assert len(await deliveries(archive)) == len(before) + 2


async def test_a_conversation_that_has_just_begun_is_left_to_its_webhooks(archive, chatwoot):
    chatwoot.conversations = {115: [message(40, NOW - timedelta(minutes=5), "juuri nyt")]}
    async with answering(chatwoot.answer) as server:
        look = looking(archive, server)
        await look.look()
        assert (look.outcomes, await deliveries(archive)) == ({}, [])
        look.clock = lambda: NOW + EVERY
        await look.look()
    assert look.outcomes == {"missing": 1, "kept": 1}


async def test_a_conversation_in_which_nobody_wrote_to_a_customer_is_not_missing(archive):
    note = message(50, YESTERDAY, "muistio", kind=1, private=True)
    line = message(51, YESTERDAY, "Anna took it", kind=2, sender=None)
    async with answering(FakeChatwoot({116: [note, line]}).answer) as server:
        await looking(archive, server).look()
    assert await archive.stores.store.find(MissingRow, {}) == []
    assert await archive.stores.store.find(ReconciledRow, {}) == []


async def test_days_are_compared_once_they_are_over_and_read_from_there(archive, chatwoot):
    async with answering(chatwoot.answer) as server:
        look = looking(archive, server)
        await look.look()
        look.clock = lambda: NOW + timedelta(days=1)
        await look.look()
        rows = await archive.stores.store.find(ReconciledRow, {})
        assert {row.day: row.said for row in rows} == {"2026-11-21": 3, "2026-11-22": 1}
        chatwoot.conversations[112][0]["content"] = "muutettu kauan sitten"
        before = await deliveries(archive)
        await looking(archive, server, clock=look.clock).look()
        assert await deliveries(archive) == before


async def test_of_a_long_conversation_every_page_is_read_back_to_the_day(archive):
    old = [message(n, YESTERDAY - timedelta(days=9), f"vanha {n}") for n in range(1, 31)]
    new = [message(n, YESTERDAY + timedelta(minutes=n), f"uusi {n}") for n in range(31, 91)]
    chatwoot = FakeChatwoot({112: old + new})
    offered = []
    async with answering(chatwoot.answer) as server:
        await looking(archive, server, offered=offered).look()
        assert [one.target.rpartition("=")[2] for one in server.asked][3:] == ["71", "51", "31"]
        await understand(archive, offered)
    assert [ident for ident, _ in await messages_of(archive, 112)] == [
        str(n) for n in range(31, 91)
    ]
    # It began before, and so it is of no day that is compared.
    assert await archive.stores.store.find(ReconciledRow, {}) == []


async def test_many_conversations_are_read_page_by_page(archive):
    conversations = {n: [message(n, YESTERDAY, "hei")] for n in range(1, 31)}
    conversations[99] = [message(99, YESTERDAY - timedelta(days=20), "vanha")]
    async with answering(FakeChatwoot(conversations).answer) as server:
        look = looking(archive, server)
        await look.look()
    assert look.outcomes == {"missing": 30, "kept": 30}
    assert (await month(archive)).said == 30


async def test_one_that_cannot_be_read_is_in_the_way_of_no_other(archive, chatwoot, caplog):
    chatwoot.conversations[112][0]["id"] = 1.5
    chatwoot.conversations[113][0]["message_type"] = 17
    offered = []
    async with answering(chatwoot.answer) as server:
        look = looking(archive, server, offered=offered)
        await look.look()
        await understand(archive, offered)
    assert (look.outcomes["unreadable"], look.outcomes["kept"]) == (1, 4)
    assert "listing.unreadable" in caplog.messages
    rows = await deliveries(archive)
    assert [row.reason for row in rows if row.state == "failed"] == ["not_understood"]
    assert await messages_of(archive, 113) == [("21", None)]


async def test_the_settings_of_a_source_make_it(archive, tmp_path):
    allowed = fetching_of(archive).rules
    made = partial(
        listings_of, archive, ProcessRole.ALL, allowed, clock=lambda: NOW, offer=None
    )
    (asking,) = made().asking
    assert asking.name == "listing chat"
    look = asking.ask.__self__
    assert (
        look.address.conversations == "https://chat.example.com/api/v1/accounts/3/conversations"
    )
    assert look.address.token == TOKEN
    assert TOKEN not in repr(look)
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "token").write_text("two\nlines")
    with pytest.raises(InvalidInputError, match="listing_token_file") as refused:
        made()
    assert "two" not in str(refused.value)


async def test_the_service_reads_it_beside_its_requests_and_tells_of_trouble(archive):
    service = build_service(archive)
    (asking,) = service.listings.asking
    asking.trouble = "the access token is not accepted (status 401)"
    service.listings.outcomes["kept"] = 3
    health = service.app[HEALTH]
    assert await health.warnings["listing chat"]() == asking.trouble
    told = {metric.name: metric.samples for metric in await health.measure()}
    assert told["listing_trouble_seconds"] == [("", (("place", "listing chat"),), 0.0)]
    assert told["listing_outcomes_total"] == [("", (("outcome", "kept"),), 3)]
