"""The whole service behind a real socket, with a small archive in it, and everybody who may ask."""

import base64
import contextlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import aiohttp
from yarl import URL

from service.archive.hold_rows import HoldOrder
from service.archive.receive import keep_delivery
from service.archive.register import read_register
from service.connecting.settings import parse_details
from service.domain.actor import OPERATOR, SYSTEM, Actor, ActorKind, Role
from service.domain.retention import Ground
from service.http.server import listening
from service.serving import Service, build_service
from service.web.source_events import STREAMS, Patience
from service.wiring import Archive
from tests.fakes import PASSWORD

SECRET = b"invented-and-long-enough-for-tests"
STATEMENT = b"source_id,channel,direction,started_at\nc-0,call,inbound,2026-11-20 14:02\n"
SOURCES = """
[access]
second_factor = "offered"
undertaking_version = ""

[[sources]]
name = "pbx"
kind = "api"

[[sources]]
name = "chat"
kind = "api"

[[sources]]
name = "hook"
kind = "standard-webhooks"
secret_file = "hook.secret"
"""
AUDIO = b"RIFF" + bytes(range(256)) * 8
UPLOAD = {
    "Tus_Resumable": "1.0.0",
    "Upload_Length": str(len(AUDIO) + 1),
    "Upload_Metadata": "source cGJ4,source_id Yy10dXM=,filename YS53YXY=",
}
CUSTOMERS = "customer_number,name,phone\n1001,Maija Esimerkki,040 123 4567\n"


def write_secret(folder: Path) -> None:
    """Write the secret that `SOURCES` names."""
    secret = folder / "hook.secret"
    secret.write_text("whsec_" + base64.b64encode(SECRET).decode())
    secret.chmod(0o400)


def contact(source_id: str, **changes: object) -> dict[str, object]:
    """Return a contact as a source tells it."""
    return {
        "source": "pbx",
        "source_id": source_id,
        "channel": "call",
        "direction": "inbound",
        "started_at": "2026-01-20T14:02:00+02:00",
        "ended_at": "2026-01-20T14:11:00+02:00",
        "queue": "Asiakaspalvelu",
        "subject": "Lasku",
        "customer_number": "1001",
        "parties": [
            {"role": "customer", "phone": "+358 40 123 4567"},
            {"role": "agent", "agent_id": "A-17", "name": "Aku Esimerkki"},
        ],
        "messages": [{"from": "Maija", "at": "2026-01-20T14:02:00Z", "text": "Hei"}],
        **changes,
    }


@dataclass(frozen=True)
class Asker:
    """Somebody who asks, and how: with a token, with a session, or as nobody."""

    role: Role | None
    kind: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    id: str = ""

    def __str__(self) -> str:
        return f"{self.role or 'nobody'} ({self.kind})"


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The code of a problem; None for an answer that is none."""
        is_problem = self.headers.get("Content-Type") == "application/problem+json"
        return self.json["code"] if is_problem else None


FIRST = Actor(id="us_first", kind=ActorKind.PERSON, roles=frozenset({Role.DPO}))
NOBODY = Asker(None, "nobody")


@dataclass(repr=False)
class World:
    archive: Archive
    service: Service
    address: str
    http: aiohttp.ClientSession
    ids: dict[str, str] = field(default_factory=dict)

    async def named(self, route: str) -> str:
        """Return the name in the path of ``route``: of a file, or of a source that may be changed."""
        if "static" in route:
            return "taltio.css"
        if "/sources/" not in route:
            return "a.wav"
        if "replay" in route:
            # Made contacts of by the settings, and so live.
            return "pbx"
        details = parse_details(
            "standard-webhooks", default_region="FI", carries=["call inbound"]
        )
        made = await self.service.connections.sources.add(
            fresh_name(), "standard-webhooks", details, actor=OPERATOR, now=self.now
        )
        return made.source

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    @property
    def blobs(self) -> Path:
        return self.archive.config.storage.blobs.path

    async def ask(
        self, asker: Asker, method: str, path: str, *, body: object = None, **headers: str
    ) -> Answer:
        """Send one request. A dict is JSON; redirects are not followed."""
        sent = {**asker.headers, **{n.replace("_", "-"): v for n, v in headers.items()}}
        if isinstance(body, dict | list):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        async with self.http.request(
            method,
            URL(self.address + path, encoded=True),
            data=body,
            headers=sent,
            allow_redirects=False,
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def token(self, role: Role, *, source: str | None = None) -> Asker:
        made = await self.archive.access.tokens.create(
            "t", role=role, by=OPERATOR, now=self.now, source=source
        )
        return Asker(role, "token", {"Authorization": f"Bearer {made.secret}"}, made.id)

    async def person(self, role: Role | list[Role], login: str = "") -> Asker:
        """Add a person and sign them in."""
        roles = role if isinstance(role, list) else [role]
        login, access = login or roles[0].value, self.archive.access
        invite = await access.accounts.add(
            login, name="Aino Esimerkki", roles=roles, by=OPERATOR, now=self.now
        )
        await access.invites.accept(invite.secret, PASSWORD, now=self.now)
        begun = await access.sign_in.sign_in(login, PASSWORD, address="192.0.2.7", now=self.now)
        return Asker(roles[0], "session", session_headers(begun), begun.session.actor.id)

    async def everybody(self) -> list[Asker]:
        """Every role with a token, every role that people have with a session, and nobody."""
        tokens = [await self.token(role) for role in Role]
        people = [await self.person(role) for role in Role if role is not Role.INTEGRATION]
        return [*tokens, *people, NOBODY]

    async def grant(self, asker: Asker) -> str:
        """Return a new grant of the asker for the archive's contact."""
        order = {"purpose": "verify_contact", "contacts": [self.ids["contact"]]}
        return (await self.ask(asker, "POST", "/api/v1/grants", body=order)).json["id"]

    async def new_contact(self) -> str:
        """Return the id of a contact that nothing else is about."""
        sender = await self.token(Role.INTEGRATION)
        told = contact(f"c-{secrets.token_hex(8)}")
        return (await self.ask(sender, "POST", "/api/v1/contacts", body=told)).json["id"]

    async def hold(self) -> str:
        """Return a hold whose owner asked for its release."""
        order = HoldOrder(contact_id=await self.new_contact(), reason="Reklamaatio")
        holds = self.archive.holds
        placed = await holds.place(order, actor=FIRST, now=self.now)
        await holds.request_release(placed.id, actor=FIRST, now=self.now)
        return placed.id

    async def erasure(self) -> str:
        """Return an erasure that somebody asked for."""
        asked = await self.archive.erasures.request(
            await self.new_contact(),
            ground=Ground.DATA_SUBJECT_REQUEST,
            reference=None,
            actor=FIRST,
            now=self.now,
        )
        return asked.id

    async def upload(self, asker: Asker) -> str:
        """Return the id of an upload that the asker has begun, where it may begin one."""
        if asker.role is not Role.INTEGRATION:
            return "up_" + "a" * 26
        made = await self.ask(asker, "POST", "/api/v1/uploads", **UPLOAD)
        return made.headers["Location"].rpartition("/")[2]

    async def raise_item(self, ident: str) -> str:
        """Let something need attention; return its id."""
        kept = await keep_delivery(
            self.archive.intake,
            source="pbx",
            kind="contact",
            ident=ident,
            body=b'{"source_id": 7}',
            now=self.now,
        )
        await self.archive.understanding.understand([(kept.row, kept.delivery)], now=self.now)
        rows = await self.archive.attention.find(actor=SYSTEM)
        return next(item.id for item in rows if item.about == kept.row.id)

    async def fill(self) -> None:
        """Bring in a customer and a contact with a recording and a message, and publish the log."""
        rows = read_register(CUSTOMERS.splitlines(keepends=True), region="FI")
        await self.archive.register.bring_in(
            rows, actor=OPERATOR, now=self.now, progress=lambda _done, _all: None
        )
        sender = await self.token(Role.INTEGRATION)
        handler = await self.token(Role.COMPLAINT_HANDLER)
        added = await self.ask(sender, "POST", "/api/v1/contacts", body=contact("c-0"))
        self.ids["contact"] = added.json["id"]
        path = f"/api/v1/contacts/{self.ids['contact']}"
        stored = await self.ask(
            sender, "PUT", f"{path}/recordings/a.wav", body=AUDIO, Content_Type="audio/wav"
        )
        self.ids["recording"] = stored.json["id"]
        shown = (await self.ask(handler, "GET", path)).json
        self.ids["message"] = shown["messages"][0]["id"]
        self.ids["customer"] = shown["links"][0]["customer"]
        self.ids["item"] = await self.raise_item("w-1")
        published = await self.service.keeper.publish(now=self.now)
        assert published is not None
        self.ids["tile"] = f"000.p/{published.size}"


def fresh_name() -> str:
    return f"s{secrets.token_hex(6)}"


def session_headers(begun: Any) -> dict[str, str]:
    """Return what the browser of a session that has just begun sends."""
    return {"Cookie": f"taltio={begun.secret}", "X-CSRF-Token": begun.session.csrf}


def signed(body: bytes, ident: str, at: datetime) -> dict[str, str]:
    """Return the headers with which the source ``hook`` signs ``body`` (Standard Webhooks)."""
    stamp = str(int(at.timestamp()))
    mac = hmac.digest(SECRET, f"{ident}.{stamp}.".encode() + body, "sha256")
    return {
        "webhook-id": ident,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }


FORM = {"Content_Type": "application/x-www-form-urlencoded"}


async def good_request(world, asker, route):
    """Return path, body and headers of a good request for ``route``, as far as it depends on who asks."""
    ids = world.ids
    needs_grant = any(
        part in route
        for part in ("grant_id", "/grants/{id}", "/content", "heard", "original", "attachments")
    )
    may_grant = asker.role in {Role.COMPLAINT_HANDLER, Role.DPO}
    grant = await world.grant(asker) if needs_grant and may_grant else "gr_" + "a" * 26
    names = {
        "{contact_id}": await world.new_contact()
        if route == "POST /contacts/{contact_id}/erasures"
        else ids["contact"],
        "{customer_id}": ids["customer"],
        "{item_id}": ids["item"],
        "{grant_id}": grant,
        "{hold_id}": await world.hold() if "{hold_id}" in route else "",
        "{erasure_id}": await world.erasure() if "{erasure_id}" in route else "",
        "{message_id}": ids["message"],
        "{upload_id}": await world.upload(asker) if "{upload_id}" in route else "",
        "{number}": "1",
        "{source}": "pbx",
        "{secret}": "invented-and-not-the-secret-of-any",
        "{source_id}": "c-0",
        "{name}": await world.named(route),
        "{language}": "fi",
        "{invite}": "unknown",
        "{rest:.+}": ids["tile"] if "entries" in route else f"0/{ids['tile']}",
        "{id}": grant
        if "/grants/" in route
        else ids["message"]
        if "/messages/" in route
        else ids["contact"]
        if "verification" in route
        else ids["recording"],
    }
    method, path = route.split()
    for name, value in names.items():
        path = path.replace(name, value)
    fresh = await world.new_contact() if route == "POST /api/v1/erasures" else ""
    bodies = {
        "POST /api/v1/holds": {"contact": ids["contact"], "reason": "Reklamaatio"},
        "POST /api/v1/erasures": {"contact": fresh, "ground": "data_subject_request"},
        "POST /api/v1/contacts": contact(f"c-{asker.kind}-{asker.role}"),
        "PUT /api/v1/contacts/{contact_id}/recordings/{name}": AUDIO,
        "PUT /intake/{source}/{source_id}/recordings/{name}": AUDIO,
        "PATCH /api/v1/uploads/{upload_id}": AUDIO,
        "PUT /api/v1/contacts/{contact_id}/links/{customer_id}": {"state": "linked"},
        "POST /api/v1/sources/{source}/statements": STATEMENT,
        "POST /api/v1/grants": {"purpose": "verify_contact", "contacts": [ids["contact"]]},
        "POST /api/v1/recordings/{id}/heard": {"ranges": []},
        "POST /sources": f"kind=cloudevents&name={fresh_name()}&carries_call_inbound=yes".encode(),
        "POST /sources/{name}/live": b"",
        "POST /sources/{name}/secret": b"",
        "POST /sources/{name}/map": b"do=save",
        "POST /sources/{name}/replay": b"which=all",
        "POST /sources/{name}/remove": f"name={names['{name}']}".encode(),
        "POST /sign-in": b"login=nobody&password=wrong",
        "POST /sign-in/code": b"ticket=code.us_x&code=123456",
        "POST /sign-in/undertaking": b"ticket=undertake.us_x&version=1",
        "POST /sign-in/second-factor": b"ticket=enrol.us_x&code=123456",
        "POST /account/second-factor": f"password={quote_plus(PASSWORD)}".encode(),
        "POST /account/second-factor/set": b"ticket=enrol.us_x&code=123456",
        "POST /account/second-factor/remove": b"code=123456",
        "POST /account/recovery-codes": b"code=123456",
        "POST /account/sessions": b"",
        "POST /first-password/{invite}": b"password=x&again=x",
        "POST /contacts/{contact_id}/grants": b"purpose=verify_contact",
        "POST /contacts/{contact_id}/links": f"customer={ids['customer']}&theirs=yes".encode(),
        "POST /contacts/{contact_id}/unmasked": f"message={ids['message']}".encode(),
        "POST /contacts/{contact_id}/holds": b"reason=Reklamaatio",
        "POST /contacts/{contact_id}/erasures": b"ground=data_subject_request",
        "POST /grants/{grant_id}/withdraw": f"contact={ids['contact']}".encode(),
    }
    body = bodies.get(route)
    headers = {"Access_Grant": grant} if "/content" in route or "/heard" in route else {}
    if "/uploads" in route:
        headers = uploading(method, route)
    is_of_page = not path.startswith(("/api", "/intake"))
    if is_of_page and any(part in route for part in ("{hold_id}", "{erasure_id}", "{item_id}")):
        body = f"contact={ids['contact']}".encode()
    if isinstance(body, bytes) and method == "POST":
        headers |= FORM
    return method, path, body, headers


def uploading(method: str, route: str) -> dict[str, str]:
    """Return the headers of a good request of tus."""
    if "{upload_id}" not in route:
        return UPLOAD if method == "POST" else {}
    headers = {"Tus_Resumable": "1.0.0"}
    if method == "POST":
        return {**headers, "X_HTTP_Method_Override": "DELETE"}
    if method == "PATCH":
        headers |= {"Upload_Offset": "0", "Content_Type": "application/offset+octet-stream"}
    return headers


@contextlib.asynccontextmanager
async def opened_world(archive: Archive):
    service = build_service(archive)
    async with (
        listening(service.app, "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        world = World(archive, service, f"http://{host}:{port}", http)
        # What is told as long as somebody listens is over at once.
        service.app[STREAMS].patience = Patience(life_seconds=0)
        await world.fill()
        yield world
