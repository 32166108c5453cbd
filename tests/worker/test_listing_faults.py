"""Chatwoots that lie, stall and point elsewhere: no more is asked, believed or sent than should be."""

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from service.databases import Alone
from service.domain.errors import UnavailableError
from service.worker.listing.look import EVERY, STAND_BY
from tests.answering import answering, moved, ok
from tests.chatwoot import TOKEN, FakeChatwoot, message
from tests.listing import NOW, YESTERDAY, four_conversations, looking


@pytest.fixture
def chatwoot():
    return FakeChatwoot(four_conversations())


async def test_pages_without_an_end_are_given_up(archive, chatwoot):
    page = json.dumps(
        chatwoot.listing({"status": "all", "sort_by": "last_activity_at_desc", "page": "1"})
    )

    async def trouble(answer, **limits):
        async with answering(answer) as server:
            with pytest.raises(UnavailableError) as refused:
                await looking(archive, server, **limits).look()
            return str(refused.value), len(server.asked)

    assert await trouble(ok(page.encode()), pages=3) == (
        "it lists more conversations than are read at once",
        3,
    )

    def circling(asked):
        asked.target = asked.target.partition("before")[0].rstrip("?")
        return chatwoot.answer(asked)

    words, asked = await trouble(circling)
    assert (words, asked) == ("its pages of messages do not lead back", 4)


async def test_a_conversation_that_is_too_long_is_cut_and_told(archive, caplog):
    chatwoot = FakeChatwoot({112: [message(n, YESTERDAY, f"{n}") for n in range(1, 90)]})
    async with answering(chatwoot.answer) as server:
        look = looking(archive, server, message_pages=2)
        await look.look()
    assert look.outcomes == {"cut_short": 1, "kept": 1}
    assert "listing.cut_short" in caplog.messages


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ok(b"{}", status="401 Unauthorized"), "the access token is not accepted (status 401)"),
        (
            ok(b"", status="404 Not Found"),
            "there is no such account at the address (status 404)",
        ),
        (ok(b"", status="502 Bad Gateway"), "it answers with status 502"),
        (ok(b"<html>"), "it does not answer as Chatwoot: it is no JSON"),
        (ok(b'{"data": []}'), "it does not answer as Chatwoot: its data is no JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "no answer (ClientPayloadError)"),
        (
            ok(b'{"data": {"payload": [{"id": 1, "last_activity_at": "soon"}]}}'),
            "it does not answer as Chatwoot: last_activity_at is missing, or no time",
        ),
        (
            ok(
                b'{"data": {"payload": [{"id": 1, "last_activity_at": 1795342145}, '
                b'{"id": 2, "last_activity_at": 1795342146}]}}'
            ),
            "it does not list the newest activity first",
        ),
    ],
)
async def test_any_other_answer_is_trouble_in_words(archive, answer, words):
    async with answering(answer) as server:
        with pytest.raises(UnavailableError) as refused:
            await looking(archive, server).look()
    assert str(refused.value) == words
    assert TOKEN not in repr(refused.value.__context__)


async def test_who_asks_to_be_left_alone_is(archive, chatwoot):
    chatwoot.instead = [ok(b"", "Retry-After: 120", status="429 Too Many Requests")]
    async with answering(chatwoot.answer) as server:
        look = looking(archive, server)
        for seconds, asked in ((0, 1), (119, 1)):
            look.clock = partial(lambda at: at, NOW + timedelta(seconds=seconds))
            with pytest.raises(UnavailableError):
                await look.look()
            assert len(server.asked) == asked
        look.clock = lambda: NOW + timedelta(seconds=120)
        assert await look.look() == EVERY


async def test_what_stalls_is_given_up_and_gone_on_with(archive, chatwoot):
    async with answering(chatwoot.answer) as server:
        with pytest.raises(UnavailableError, match="more than can be read at once"):
            await looking(archive, server, longest=timedelta()).look()


async def test_the_token_goes_nowhere_else(archive, chatwoot):
    async with answering(chatwoot.answer) as other, answering(moved(other.url("/x"))) as server:
        with pytest.raises(UnavailableError, match="leads elsewhere"):
            await looking(archive, server).look()
        # A machine inside is not asked, unless its network is allowed.
        look = looking(archive, server)
        closed = replace(look.address, rules=replace(look.address.rules, networks=()))
        look.address, asked = closed, len(server.asked)
        with pytest.raises(UnavailableError, match="may not be connected to"):
            await look.look()
        look.address = replace(closed, url=other.origin)
        with pytest.raises(UnavailableError, match="may not be connected to"):
            await look.look()
        assert (len(server.asked), other.asked) == (asked, [])


class Others(Alone):
    """The turn of somebody else."""

    async def is_mine(self):
        return False


async def test_of_several_workers_one_asks(archive, chatwoot):
    async with answering(chatwoot.answer) as server:
        assert await looking(archive, server, turn=Others()).look() == STAND_BY
        assert server.asked == []
