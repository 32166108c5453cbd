"""The pages of sources, and the events that keep them up to date, over a whole service."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

from service.domain.actor import OPERATOR, Role
from service.http.server import listening
from service.intake.standard_webhooks import WebhookSecret
from service.serving import build_service
from service.web.source_events import NEWS, STREAMS, Patience
from storage.errors import UnavailableError
from storage.rows import ContactRow, DeliveryRow, SourceRow
from tests.archive.test_spine import call
from tests.fakes import PASSWORD
from tests.intake.conftest import signed
from tests.system.world import session_headers

QUICK = Patience(look_seconds=0.01, heartbeat_seconds=0.05, life_seconds=5, stall_seconds=0.2)


class Visit:
    """An administrator before the pages of a service on loopback."""

    def __init__(self, service, http, address, session):
        self.service, self.http, self.address = service, http, address
        self.headers, self.csrf = session_headers(session), session.session.csrf

    async def get(self, path, status=200):
        async with self.http.get(self.address + path, headers=self.headers) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return text

    async def post(self, path, status=303, **fields):
        async with self.http.post(
            self.address + path, data=fields, headers=self.headers, allow_redirects=False
        ) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return answer.headers.get("Location") or text

    async def deliver(self, secret, body, ident="w-1", name="phones"):
        key = WebhookSecret.parse(secret).key
        async with self.http.post(
            f"{self.address}/intake/{name}",
            data=body,
            headers=signed(body, ident=ident, key=key),
        ) as answer:
            return answer.status

    async def take_up(self):
        """Let the service look for sources and understand what came, as it does by itself every few seconds."""
        now = datetime.now(UTC)
        await self.service.archive.book.refresh()
        await self.service.listeners.refresh(now)
        await self.service.archive.understanding.catch_up(now=now, received_before=None)

    def stream(self, name="phones"):
        return self.http.get(f"{self.address}/sources/{name}/events", headers=self.headers)


@asynccontextmanager
async def visiting(archive, role=Role.ADMIN, shutdown_seconds=30):
    service = build_service(archive)
    service.app[STREAMS].patience = QUICK
    access, now = archive.access, datetime.now(UTC)
    invite = await access.accounts.add("a", name="A", roles=[role], by=OPERATOR, now=now)
    await access.invites.accept(invite.secret, PASSWORD, now=now)
    session = await access.sign_in.sign_in("a", PASSWORD, address="192.0.2.7", now=now)
    async with (
        listening(service.app, "127.0.0.1", 0, shutdown_seconds=shutdown_seconds) as (
            host,
            port,
        ),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        yield Visit(service, http, f"http://{host}:{port}", session)


@pytest.fixture
async def visit(archive):
    async with visiting(archive) as one:
        yield one


def secret_in(html):
    return html.split('<code class="secret mono" tabindex="0">')[1].split("<")[0]


async def add(visit, name="phones", kind="standard-webhooks"):
    html = await visit.post(
        "/sources", status=200, name=name, kind=kind, carries_call_inbound="yes"
    )
    await visit.take_up()
    return secret_in(html)


async def test_a_source_is_connected_tried_made_live_and_delivers(visit):
    secret = await add(visit)
    page = await visit.get("/sources/phones")
    assert secret not in page, "it is shown once"
    assert await visit.deliver(secret, call()) == 200
    await visit.take_up()
    part = await visit.get("/sources/phones/deliveries")
    assert "<html" not in part
    assert "+358" not in part
    assert await visit.service.stores.store.count(ContactRow, {}) == 0
    place = await visit.post("/sources/phones/live", trials="yes")
    assert place == "/sources/phones?done=live"
    await visit.service.connections.replays.run("phones", datetime.now(UTC))
    assert await visit.service.stores.store.count(ContactRow, {}) == 1
    assert await visit.deliver(secret, call("c-2"), "w-2") == 200
    await visit.take_up()
    assert await visit.service.stores.store.count(ContactRow, {}) == 2


async def test_what_is_refused_is_told_with_its_mend(visit):
    await add(visit)
    assert await visit.deliver("whsec_" + "A" * 40, call()) == 401
    async with visit.http.post(f"{visit.address}/intake/phones", data=b"{}") as answer:
        assert answer.status == 401
    english = {**visit.headers, "Accept-Language": "en"}
    async with visit.http.get(f"{visit.address}/sources/phones", headers=english) as answer:
        text = await answer.text()
    assert "2 requests were refused" in text
    assert "Turn signing on" in text
    assert await visit.service.stores.store.count(DeliveryRow, {}) == 0


async def test_a_source_that_the_notice_does_not_cover_cannot_go_live(visit):
    await visit.post(
        "/sources",
        status=200,
        name="chats",
        kind="standard-webhooks",
        carries_chat_inbound="yes",
    )
    assert 'role="alert"' in await visit.post("/sources/chats/live", status=409)
    (row,) = await visit.service.stores.store.find(SourceRow, {"name": "chats"})
    assert row.state == "connecting"


WRONG = [
    ({"name": "pbx", "carries_call_inbound": "yes"}, 409),
    ({"name": "A b", "carries_call_inbound": "yes"}, 400),
    ({"name": "new"}, 400),
    ({"name": "new", "kind": "<script>", "carries_call_inbound": "yes"}, 400),
    ({"name": "new", "carries_call_inbound": "yes", "company_numbers": "1;2"}, 400),
]


async def test_a_form_that_cannot_be_comes_back_with_what_is_wrong(visit):
    for fields, status in WRONG:
        told = {"kind": "standard-webhooks", **fields}
        html = await visit.post("/sources", status=status, **told)
        assert 'role="alert"' in html, fields
        assert "<script>" not in html
    assert await visit.service.stores.store.count(SourceRow, {}) == 0


async def test_a_map_is_tried_on_what_came_and_then_kept(visit):
    secret = await add(visit)
    body = json.dumps({"id": "x-1", "who": "Maija <b>Esimerkki</b>", "at": 1763812920}).encode()
    assert await visit.deliver(secret, body) == 200
    await visit.take_up()
    rules = {
        "source_id": "/id",
        "channel": "= call",
        "direction": "= inbound",
        "started_at": "/at",
        "customer.name": "/who",
    }
    shown = await visit.post("/sources/phones/map", status=200, do="preview", **rules)
    assert "xxxxx &lt;x&gt;xxxxxxxxx&lt;/x&gt;" in shown
    assert "Maija" not in shown
    wrong = await visit.post("/sources/phones/map", status=400, do="save", source_id="/id")
    assert 'role="alert"' in wrong
    assert (
        await visit.post("/sources/phones/map", do="save", **rules)
        == "/sources/phones?done=map"
    )
    known = visit.service.archive.book.find("phones")
    assert known.details.field_map == rules


async def test_a_new_secret_and_a_removal_take_the_right_word(visit):
    before = await add(visit)
    after = secret_in(await visit.post("/sources/phones/secret", status=200))
    await visit.take_up()
    for ident, secret in (("w-1", before), ("w-2", after)):
        assert await visit.deliver(secret, call(ident), ident) == 200
    await visit.post("/sources/phones/remove", status=400, name="phone")
    assert await visit.post("/sources/phones/remove", name="phones") == "/sources?done=removed"
    await visit.take_up()
    assert await visit.deliver(after, call("c-3"), "w-3") == 401
    await visit.get("/sources/phones", status=404)


async def test_what_failed_is_replayed_from_the_page(visit):
    await add(visit)
    await visit.post("/sources/phones/replay", status=409, which="failed")
    await visit.post("/sources/phones/live")
    assert (
        await visit.post("/sources/phones/replay", which="failed")
        == "/sources/phones?done=replay"
    )
    await visit.post("/sources/phones/replay", status=404, which="dl_none")


# -- events


async def read_until(answer, wanted, seconds=5):
    """Read a stream until ``wanted`` came; return all of it."""
    seen = b""
    async with asyncio.timeout(seconds):
        while wanted not in seen:
            data = await answer.content.readany()
            if not data:
                break
            seen += data
    assert wanted in seen
    return seen


async def test_a_page_hears_when_something_comes(visit):
    secret = await add(visit)
    async with visit.stream() as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert "no-store" in answer.headers["Cache-Control"]
        # What there is when it begins is news too.
        await read_until(answer, NEWS)
        await read_until(answer, b": here")
        assert await visit.deliver(secret, call()) == 200
        heard = await read_until(answer, NEWS)
    assert b"358" not in heard
    assert b"dl_" not in heard, "that there is news is all that is told"


async def test_a_stream_ends_by_itself_and_gives_its_place_back(visit):
    await add(visit)
    visit.service.app[STREAMS].patience = Patience(look_seconds=0.01, life_seconds=0.1)
    async with visit.stream() as answer:
        await asyncio.wait_for(answer.content.read(), 5)
    assert visit.service.app[STREAMS].open == 0


async def test_whoever_leaves_gives_the_place_back(visit):
    await add(visit)
    async with visit.stream() as answer:
        await read_until(answer, NEWS)
        assert visit.service.app[STREAMS].open == 1
        answer.close()
    for _ in range(500):
        if not visit.service.app[STREAMS].open:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the place is still taken")


async def test_a_client_that_takes_nothing_is_left(visit, monkeypatch):
    await add(visit)
    stuck = asyncio.Event()

    async def never(*_):
        stuck.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(web.StreamResponse, "write", never)
    streams = visit.service.app[STREAMS]
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        async with visit.stream() as answer:
            await asyncio.wait_for(answer.content.read(), 5)
    assert stuck.is_set()
    assert streams.open == 0


async def test_there_are_only_so_many_streams(visit):
    await add(visit)
    visit.service.app[STREAMS].patience = Patience(look_seconds=0.01, per_actor=1)
    async with visit.stream() as first:
        await read_until(first, NEWS)
        async with visit.stream() as second:
            assert second.status == 503
            assert "Retry-After" in second.headers


async def test_streams_end_when_the_service_is_to_stop(archive):
    async with visiting(archive, shutdown_seconds=20) as visit:
        await add(visit)
        answer = await visit.stream()
        await read_until(answer, NEWS)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 5
    answer.close()


async def test_a_stream_ends_when_the_store_is_away_and_the_browser_asks_again(
    visit, monkeypatch
):
    await add(visit)
    async with visit.stream() as answer:
        await read_until(answer, NEWS)
        deliveries = visit.service.connections.deliveries

        async def away(*_, **__):
            raise UnavailableError("away")

        monkeypatch.setattr(type(deliveries), "fingerprint", away)
        await asyncio.wait_for(answer.content.read(), 5)


async def test_others_see_nothing_of_it(archive):
    async with visiting(archive, Role.DPO) as visit:
        for path in ("/sources", "/sources/pbx", "/sources/pbx/events"):
            await visit.get(path, status=403)


async def test_there_are_no_events_of_a_source_that_there_is_not(visit):
    async with visit.stream("nothing") as answer:
        assert answer.status == 404
    async with visit.http.head(
        f"{visit.address}/sources/pbx/events", headers=visit.headers
    ) as answer:
        assert answer.status == 200
