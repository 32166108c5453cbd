"""An invented world behind a fake desk, and a small application that shows it."""

import math
import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from aiohttp import web

from service.archive.checks import Code
from service.archive.lookup import Criteria, Reason
from service.domain.contact import Channel, Contact, Direction, Party, PartyRole, RecordingState
from service.domain.customer import Certainty, Customer, Link, LinkState, Occupancy
from service.domain.errors import GrantRequiredError, InvalidInputError, NotFoundError
from service.domain.pauses import PausePlace, RecordingPause
from service.domain.purpose import Grant, Purpose
from service.http.addresses import Site
from service.http.bodies import read_json
from service.http.frame import Frame, build_application
from service.http.routes import Need, Route
from service.web.pages import page_routes, set_up_pages
from service.web.problem_pages import show_problem
from service.web.views import (
    AnchorView,
    AttachmentView,
    AttentionItem,
    AttentionPage,
    CheckOutcome,
    CheckView,
    ContactDetail,
    CustomerHistory,
    CustomerSummary,
    DisposalView,
    FoundContact,
    FoundPage,
    IntegrityState,
    LinkView,
    MailView,
    OpenedMail,
    OpenedMessage,
    OpeningView,
    PauseView,
    Playback,
    RecordingView,
    VerdictView,
    Verification,
    Waveform,
)
from tests.fakes import Door

NOW = datetime(2026, 9, 4, 7, 30, tzinfo=UTC)
SECONDS = 96
RATE = 8000

MAIJA = Customer(
    id="cu_maija",
    version=1,
    number="100234",
    name="Maija Meikäläinen",
    phones=("+358401234567",),
    emails=("maija.meikalainen@example.fi",),
    language="fi",
    occupancies=(
        Occupancy(metering_point="643007570000012345", occupied_from=date(2024, 5, 1)),
        Occupancy(
            metering_point="643007570000067890",
            occupied_from=date(2019, 9, 1),
            occupied_to=date(2024, 5, 1),
        ),
    ),
)
MATTI = Customer(
    id="cu_matti",
    version=1,
    number="100517",
    name="Matti Meikäläinen",
    phones=("+358401234567",),
    is_protected=True,
)

CUSTOMER = Party(role=PartyRole.CUSTOMER, phone="+358401234567", name="Maija Meikäläinen")
AGENT = Party(role=PartyRole.AGENT, agent_id="A-17", name="Aino Asiakaspalvelija")
AGENT_BY_ID = Party(role=PartyRole.AGENT, agent_id="A-04")


def contact(number: int, started_at: datetime, **changes: object) -> Contact:
    base = Contact(
        id=f"ct_{number}",
        version=1,
        source="pbx",
        source_id=f"2026-{number:05}",
        channel=Channel.CALL,
        direction=Direction.INBOUND,
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=SECONDS),
        created_at=started_at + timedelta(minutes=12),
        queue="Myynti",
        subject=None,
        customer_number=None,
        metering_point=None,
        parties=(AGENT, CUSTOMER),
        recording_state=RecordingState.PRESENT,
        not_recorded_reason=None,
    )
    return replace(base, **changes)


def at(day: int, hour: int, minute: int = 0, *, month: int = 9) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


CONTACTS = (
    contact(1, at(3, 11, 2)),
    contact(
        2,
        at(2, 8, 41),
        channel=Channel.EMAIL,
        ended_at=None,
        queue="Laskutus",
        subject="Väärä lasku elokuulta",
        recording_state=None,
        source="posti",
        parties=(
            Party(role=PartyRole.CUSTOMER, email="maija.meikalainen@example.fi"),
            Party(role=PartyRole.AGENT, email="asiakaspalvelu@example.com"),
        ),
    ),
    contact(
        3,
        at(1, 13, 20),
        channel=Channel.CHAT,
        recording_state=None,
        queue="Vikapäivystys",
        ended_at=at(1, 13, 31),
    ),
    contact(4, at(31, 6, 5, month=8), recording_state=RecordingState.EXPECTED),
    contact(
        5,
        at(27, 9, 44, month=8),
        direction=Direction.OUTBOUND,
        recording_state=RecordingState.NOT_RECORDED,
        not_recorded_reason="line_policy",
        parties=(CUSTOMER, AGENT_BY_ID),
    ),
    contact(
        6,
        at(19, 10, 15, month=8),
        recording_state=RecordingState.LOST,
        metering_point="643007570000012345",
    ),
    contact(7, at(2, 5, 55, month=7), recording_state=RecordingState.ERASED, queue=None),
    contact(
        8,
        at(1, 7, 12, month=7),
        parties=(
            Party(role=PartyRole.CUSTOMER, phone_as_sent="anonymous"),
            AGENT,
            Party(role=PartyRole.OTHER, phone="+358501112223", name="Isännöitsijä Oy"),
        ),
    ),
)
PAUSES = (
    PauseView(
        pause=RecordingPause(
            recording="call.wav",
            started_at=at(3, 11, 4),
            ended_at=at(3, 11, 5),
            reason="card_payment",
            who="Aku",
        ),
        place=PausePlace(12.0, 20.0, is_exact=True),
    ),
    PauseView(
        pause=RecordingPause(
            recording="call.wav", started_at=at(3, 11, 6), reason="<b>muu syy"
        ),
        place=PausePlace(30.0, 41.0, is_exact=False),
    ),
)
MESSAGES = {
    "ct_2": (
        OpenedMessage(
            id="ms_1",
            sender="Maija Meikäläinen",
            sent_at=at(2, 8, 41),
            role=PartyRole.CUSTOMER,
            text=(
                "Hei,\n\nelokuun lasku on 214,60 €, vaikka olin koko kuun mökillä. En ole myöskään koskaan "
                "tilannut tätä sopimusta.\n\nTerveisin\nMaija\n\n<b>liite:</b> lasku\u202efdp.exe\u200b"
            ),
            hidden=1,
        ),
        OpenedMessage(
            id="ms_2",
            sender="asiakaspalvelu@example.com",
            sent_at=at(2, 10, 5),
            role=PartyRole.AGENT,
            text="Hei Maija,\n\ntarkistamme asian ja palaamme perjantaihin mennessä.",
            mail=MailView(
                subject="VS: Lasku <elokuu>",
                headers=(
                    ("from", "Asiakaspalvelu <asiakaspalvelu@example.com>"),
                    ("date", "eilen"),
                ),
                received_at=at(2, 10, 6),
                flags=("lookalike", "cut"),
                attachments=(
                    AttachmentView(
                        number=1,
                        name="lasku\u202efdp.exe",
                        content_type="application/pdf",
                        size_bytes=12_345,
                        is_risky=True,
                    ),
                ),
                has_html=True,
                verdicts=(
                    VerdictView(words="author", domain="example.com", is_good=True),
                    VerdictView(
                        words="invalid",
                        domain="example.org",
                        reason="body_changed",
                        is_good=False,
                    ),
                    VerdictView(words="spf_none", domain="example.com"),
                ),
                keys=(("s1._domainkey.example.com", "v=DKIM1; k=rsa; p=" + "MIIB" * 80),),
                checked_at=at(2, 10, 7),
            ),
        ),
    ),
    "ct_3": (
        OpenedMessage(
            id="ms_3",
            sender="Maija",
            sent_at=at(1, 13, 20),
            role=PartyRole.CUSTOMER,
            text="Moi, onko teillä häiriö? Sähköt poikki Koivukylässä 👩‍🔧",
        ),
        OpenedMessage(
            id="ms_4",
            sender="A-17",
            sent_at=at(1, 13, 21),
            role=PartyRole.AGENT,
            text="Hei! Kyllä, vika on paikannettu. Sähköt palaavat arviolta klo 17.",
        ),
        OpenedMessage(
            id="ms_5", sender="Maija", sent_at=at(1, 13, 31), text="", fault="altered"
        ),
    ),
}
OPENINGS = (
    OpeningView(
        opened_at=at(4, 6, 12),
        actor_name="Riitta Reklamaatio",
        is_own=True,
        purpose=Purpose.HANDLE_COMPLAINT,
        reference="R-2026-118",
        what="recording",
        sent=timedelta(seconds=96),
        heard=timedelta(seconds=61),
    ),
    OpeningView(
        opened_at=at(3, 12, 50),
        actor_name="Taavi Tietosuoja",
        is_own=False,
        purpose=Purpose.DATA_SUBJECT_REQUEST,
        reference="TP-2026-9",
        what="recording",
        sent=timedelta(seconds=40),
        heard=timedelta(seconds=38),
    ),
)
ATTENTION = (
    AttentionItem(
        id="at_1",
        reasons=("contradiction", "id_reused"),
        can_retry=False,
        about="dl_1",
        source="pbx",
        raised_at=at(3, 11, 14),
        contact_id="ct_1",
        fields=("ended_at", "queue"),
    ),
    AttentionItem(
        id="at_2",
        reasons=("not_understood",),
        about="dl_7q2m6zk4v5hnx3tq4w5yeaabcd",
        source="posti",
        raised_at=at(2, 5, 2),
        detail="started_at: a time such as 2026-11-22T14:02:00+02:00",
    ),
    AttentionItem(
        id="at_3",
        reasons=("recording_lost",),
        about="ct_6",
        source="pbx",
        raised_at=at(19, 11, 15, month=8),
        contact_id="ct_6",
    ),
)


def verification(state: IntegrityState) -> Verification:
    code, outcome, detail = {
        IntegrityState.ANCHORED: (None, CheckOutcome.PASSED, ""),
        IntegrityState.PENDING: (Code.ANCHORED, CheckOutcome.WAITING, "Not covered yet."),
        IntegrityState.UNCHECKED: (Code.CHUNKS, CheckOutcome.UNKNOWN, "There is no key."),
        IntegrityState.ALTERED: (Code.BLOB_HASH, CheckOutcome.FAILED, "Other bytes."),
    }[state]
    checks = (
        CheckView(code=one, outcome=outcome, details=(detail,))
        if one is code
        else CheckView(code=one, outcome=CheckOutcome.PASSED)
        for one in Code
    )
    anchors = (
        AnchorView(kind="directory", name="2026-11-22/log-000000020932.checkpoint"),
        AnchorView(kind="witness", name="witness.example.org", at=NOW),
        AnchorView(kind="timestamp", name="Example Time", at=NOW),
    )
    return Verification(
        state=state,
        checks=tuple(checks),
        checked_at=NOW,
        entry_index=20417,
        tree_size=20932,
        anchors=anchors,
    )


def make_waveform() -> Waveform:
    """Two speakers who take turns."""
    buckets = 960

    def level(n: int, *, first: bool) -> int:
        turn = (n // 96) % 2 == (0 if first else 1)
        wobble = abs(math.sin(n * 0.9) * math.sin(n * 0.13) + 0.3 * math.sin(n * 2.1))
        return int(min(1, wobble) * (200 if first else 150)) if turn else n % 3

    return Waveform(
        seconds_per_bucket=SECONDS / buckets,
        channels=(
            bytes(level(n, first=True) for n in range(buckets)),
            bytes(level(n, first=False) for n in range(buckets)),
        ),
    )


def make_wav(seconds: int = SECONDS) -> bytes:
    """A quiet stereo tone: sound that no voice was needed for."""
    frames = bytearray()
    for n in range(RATE * seconds):
        left = int(900 * math.sin(n * 0.2)) if (n // RATE) % 2 else 0
        frames += struct.pack("<hh", left, 900 - abs(left))
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(frames),
        b"WAVE",
        b"fmt ",
        16,
        1,
        2,
        RATE,
        RATE * 4,
        4,
        16,
        b"data",
        len(frames),
    )
    return head + bytes(frames)


FORMATTED = (
    "<p>Muotoiltu <b>teksti</b></p><table><tbody><tr><td>Kulutus</td><td>1 240 kWh</td></tr>"
    "<tr><td>Summa</td><td>214,60 €</td></tr></tbody></table>"
    "<p><span>Oma sivu</span> <small>⟨https://example.com/oma/lasku/2026/08?asiakas=1001⟩</small></p>"
    "<blockquote><p>elokuun lasku on 214,60 €</p></blockquote>"
)


@dataclass
class FakeDesk:
    """Answers from the world above; remembers what was asked of it."""

    grant_ends: datetime = NOW + timedelta(hours=8)
    grants: dict[str, Grant] = field(default_factory=dict)
    heard: list[tuple[str, list[list[float]]]] = field(default_factory=list)
    links: list[tuple[str, str, bool]] = field(default_factory=list)
    settled: list[tuple[str, str]] = field(default_factory=list)
    unmasked: list[str | None] = field(default_factory=list)
    searched: list[Criteria] = field(default_factory=list)
    state: IntegrityState = IntegrityState.ANCHORED
    fails_with: Exception | None = None
    recording_changes: dict[str, object] = field(default_factory=dict)

    def _fail(self) -> None:
        if self.fails_with:
            raise self.fails_with

    async def search(self, criteria, *, actor, cursor, now):  # noqa: ARG002  # the protocol\'s parameters
        self._fail()
        self.searched.append(criteria)
        if criteria.phone == "+358409999999":
            matti = CustomerSummary(
                id=MATTI.id, number=MATTI.number, name=MATTI.name, is_protected=True
            )
            return FoundPage(found=(), customers=(matti,))
        if criteria.queue == "Rikki":
            return FoundPage(found=(), unreadable=("ct_9",))
        reasons = tuple(
            Reason(name, "party:customer" if name in {"phone", "email"} else "contact")
            for name in criteria.names()
        )
        found = tuple(
            FoundContact(contact=one, matched_by=reasons)
            for one in CONTACTS
            if criteria.recording in {None, one.recording_state}
            and criteria.channel in {None, one.channel}
        )
        if cursor:
            return FoundPage(found=found[4:])
        return FoundPage(found=found, next_cursor="older" if len(found) > 4 else None)

    async def customer_history(self, customer_id, *, actor, cursor, now):  # noqa: ARG002  # the protocol\'s parameters
        self._fail()
        customers = {MAIJA.id: MAIJA, MATTI.id: MATTI}
        if customer_id not in customers:
            raise NotFoundError("no such customer")
        found = CONTACTS if customer_id == MAIJA.id else ()
        return CustomerHistory(
            customer=customers[customer_id],
            page=FoundPage(found=tuple(FoundContact(contact=one) for one in found)),
        )

    async def contact_detail(self, contact_id, *, actor, now):  # noqa: ARG002  # the protocol\'s parameters
        self._fail()
        one = next((one for one in CONTACTS if one.id == contact_id), None)
        if one is None:
            raise NotFoundError("no such contact")
        return ContactDetail(
            contact=one,
            links=self._links(one),
            recordings=self._recordings(one),
            message_count=len(MESSAGES.get(one.id, ())),
            grant=next((g for g in self.grants.values() if contact_id in g.contact_ids), None),
            openings=OPENINGS if one.id == "ct_1" else (),
            attention=ATTENTION[:1] if one.id == "ct_1" else (),
        )

    def _links(self, one: Contact) -> tuple[LinkView, ...]:
        if one.id == "ct_8":
            return ()
        maija = CustomerSummary(id=MAIJA.id, number=MAIJA.number, name=MAIJA.name)
        matti = CustomerSummary(
            id=MATTI.id, number=MATTI.number, name=MATTI.name, is_protected=True
        )

        def link(customer: CustomerSummary, state: LinkState, certainty: Certainty) -> Link:
            return Link(
                customer_id=customer.id,
                state=state,
                reasons=("phone", "metering_point")
                if state is LinkState.LINKED
                else ("phone",),
                certainty=certainty,
                made_by="system",
                made_at=at(3, 11, 15),
            )

        linked = LinkView(link=link(maija, LinkState.LINKED, Certainty.SURE), customer=maija)
        candidate = LinkView(
            link=link(matti, LinkState.CANDIDATE, Certainty.POSSIBLE), customer=matti
        )
        return (linked, candidate) if one.id == "ct_1" else (linked,)

    def _recordings(self, one: Contact) -> tuple[RecordingView, ...]:
        match one.recording_state:
            case None:
                return ()
            case RecordingState.PRESENT:
                present = RecordingView(
                    id=f"re_{one.id}",
                    state=RecordingState.PRESENT,
                    received_at=one.created_at,
                    size_bytes=1_234_567,
                    codec="G.711 A-law",
                    duration=timedelta(seconds=SECONDS),
                    channels=(PartyRole.CUSTOMER, PartyRole.AGENT),
                    playback=Playback.ORIGINAL,
                    heard=((0.0, 20.0), (30.0, 41.0)) if one.id == "ct_1" else (),
                    pauses=PAUSES if one.id == "ct_1" else (),
                )
                return (replace(present, **self.recording_changes),)
            case RecordingState.EXPECTED:
                until = one.started_at + timedelta(hours=1)
                return (
                    RecordingView(
                        id="re_4", state=RecordingState.EXPECTED, expected_until=until
                    ),
                )
            case RecordingState.LOST:
                return (
                    RecordingView(
                        id="re_6", state=RecordingState.LOST, cause="not_delivered_in_time"
                    ),
                )
            case state:
                return (RecordingView(id="re_x", state=state, erased_at=at(3, 4)),)

    async def verification(self, contact_id, *, actor, now):  # noqa: ARG002  # the protocol\'s parameters
        self._fail()
        return verification(self.state)

    async def create_grant(
        self, contact_id, *, actor, purpose, reference, now
    ):  # the protocol\'s parameters
        self._fail()
        if reference == "?":
            raise InvalidInputError("no such complaint")
        grant = Grant(
            id=f"gr_{len(self.grants) + 1}",
            version=1,
            actor_id=actor.id,
            purpose=purpose,
            reference=reference,
            contact_ids=(contact_id,),
            created_at=now,
            expires_at=self.grant_ends,
            withdrawn_at=None,
        )
        self.grants[grant.id] = grant
        return grant

    async def withdraw_grant(self, grant_id, *, actor, now):  # noqa: ARG002  # the protocol\'s parameters
        self.grants.pop(grant_id, None)

    async def open_messages(self, contact_id, *, grant_id, actor, now, unmasked=None):  # noqa: ARG002  # the protocol\'s parameters
        self._require(grant_id)
        self.unmasked.append(unmasked)
        return MESSAGES[contact_id]

    async def open_mail(self, contact_id, message_id, *, grant_id, actor, now):  # noqa: ARG002  # the protocol\'s parameters
        self._require(grant_id)
        for one in MESSAGES[contact_id]:
            if one.id == message_id and one.mail:
                return OpenedMail(message=one, html=FORMATTED)
        raise NotFoundError("no such mail")

    async def waveform(self, recording_id, *, grant_id, actor, now):  # noqa: ARG002  # the protocol\'s parameters
        self._require(grant_id)
        return make_waveform()

    async def decide_link(self, contact_id, customer_id, *, is_theirs, actor, now):  # noqa: ARG002  # the protocol\'s parameters
        self.links.append((contact_id, customer_id, is_theirs))

    async def attention(self, *, actor, cursor, include_settled, now):  # noqa: ARG002  # the protocol\'s parameters
        self._fail()
        done = {name for name, _ in self.settled}
        items = tuple(replace(i, is_open=i.id not in done) for i in ATTENTION)
        items = tuple(i for i in items if i.is_open or include_settled)
        if cursor == "older":
            return AttentionPage(items=items[2:], previous_cursor="before-newer")
        return AttentionPage(items=items[:2], next_cursor="older")

    async def retry_attention(self, item_id, *, actor, now):  # noqa: ARG002  # the protocol\'s parameters
        self.settled.append((item_id, "retry"))
        return True

    async def settle_attention(self, item_id, *, actor, now):  # noqa: ARG002  # the protocol\'s parameters
        self.settled.append((item_id, "settle"))

    def _require(self, grant_id: str) -> None:
        if grant_id not in self.grants:
            raise GrantRequiredError("no grant")


class FakeDisposals:
    """Nothing is held, and nothing was erased."""

    async def view(self, contact_id, *, actor):  # noqa: ARG002  # the protocol's parameters
        return DisposalView()

    async def tombstones(self, customer_id, *, actor):  # noqa: ARG002  # the protocol's parameters
        return ()

    async def tombstone(self, contact_id, *, actor):  # noqa: ARG002  # the protocol's parameters
        raise NotFoundError("no such tombstone")


def extra_routes(desk: FakeDesk) -> tuple[Route, ...]:
    """Return what the interface adds to the pages: one recording to play, by ranges, and its reports."""

    async def content(request: web.Request) -> web.Response:
        asked = request.http_range
        start, stop = asked.start or 0, min(asked.stop or len(WAV), len(WAV))
        headers = {"Accept-Ranges": "bytes", "Content-Type": "audio/wav"}
        if "Range" not in request.headers:
            return web.Response(body=WAV, headers=headers)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(WAV)}"
        return web.Response(status=206, body=WAV[start:stop], headers=headers)

    async def heard(request: web.Request) -> web.Response:
        told = (await read_json(request))["ranges"]
        desk.heard.append((request.headers.get("Access-Grant", ""), told))
        return web.json_response({"heard": told, "heard_seconds": sum(b - a for a, b in told)})

    path = "/api/v1/recordings/{id}"
    return (
        Route(method="GET", path=f"{path}/content", handler=content, needs=Need.SIGNED_IN),
        Route(method="POST", path=f"{path}/heard", handler=heard, needs=Need.SIGNED_IN),
    )


def build(
    desk: FakeDesk, door: Door, *, languages: tuple[str, ...] = ("fi", "sv", "en")
) -> web.Application:
    """Return the pages over ``desk`` in the real frame, with real sessions."""
    frame = Frame(
        site=Site(),
        sessions=door.sessions,
        tokens=door.tokens,
        clock=lambda: door.clock.now,
        error_page=show_problem,
    )
    app = build_application(frame, (*page_routes(), *extra_routes(desk)))
    set_up_pages(
        app,
        desk=desk,
        disposals=FakeDisposals(),
        door=door,
        timezone="Europe/Helsinki",
        region="FI",
        languages=languages,
    )
    return app


WAV = make_wav()
