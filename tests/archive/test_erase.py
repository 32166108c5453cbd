"""A contact that was erased is gone: from every file, for everybody, for good; and it is said that it was."""

import asyncio
import shutil
from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.dispose import Disposal
from service.archive.erase import UNFINISHED
from service.archive.expire import DeliveryExpiry
from service.archive.hold import HoldOrder
from service.archive.replay import replay_erasures
from service.archive.targets import Asked, Subject
from service.domain.actor import OPERATOR, SYSTEM, Actor, ActorKind, Role
from service.domain.customer import LinkState
from service.domain.errors import (
    ContradictionError,
    ErasedError,
    HeldError,
    NotFoundError,
    NotPermittedError,
    TamperedError,
)
from service.domain.errors import UnavailableError as NotNowError
from service.domain.purpose import Purpose
from service.domain.retention import ErasureState, Ground
from service.log.entry import EntryType, decode_entry
from service.wiring import disposal_of, key_provider, opened_archive
from storage.errors import StaleError, UnavailableError
from storage.ports import Replace
from storage.rows import (
    AttentionRow,
    ContactRow,
    ContactTokenRow,
    CustomerRow,
    DeliveryRow,
    ErasureRow,
    JobRow,
    LinkRow,
    MessageRow,
    ObjectRow,
    RecordingRow,
)
from tests.archive.test_spine import (
    HANDLER,
    call,
    chunks,
    deliver,
    deliver_recording,
    find,
    import_customers,
)
from tests.conftest import NOW, actor

DPO = actor(Role.DPO)
OTHER = replace(DPO, id="us_other")
AUDIO = b"RIFF" + b"puhe puhe puhe " * 400
WORDS = "Haluan perua sopimuksen"
PHONE = "+358401234567"
GROUND = Ground.DATA_SUBJECT_REQUEST


async def contact_with_everything(archive, *, source_id="c-1") -> str:
    """Archive a call of a known customer with messages, a recording, and something contradictory."""
    await import_customers(archive, NOW)
    messages = [{"from": "Maija Esimerkki", "at": "2026-11-20T14:03:00+02:00", "text": WORDS}]
    body = call(source_id, messages=messages, subject="Sopimus S-5512")
    await deliver(archive, body, ident=f"w-{source_id}", now=NOW)
    await deliver_recording(archive, AUDIO, source_id=source_id, now=NOW)
    await deliver(archive, call(source_id, queue="Laskutus"), ident=f"x-{source_id}", now=NOW)
    rows = await archive.stores.store.find(ContactRow, {"source": "pbx"})
    token = archive.interpreter.token_of("pbx", source_id)
    return next(row.id for row in rows if row.source_token == token)


async def request(archive, contact_id, *, by=DPO, **more):
    asked = {"ground": GROUND, "reference": "TP-2026-4", **more}
    return await archive.erasures.request(contact_id, actor=by, now=NOW, **asked)


async def erase(archive, contact_id):
    asked = await request(archive, contact_id)
    return await archive.erasures.approve(asked.id, actor=OTHER, now=NOW)


async def entries(archive, *kinds):
    log = archive.stores.log
    found = [decode_entry(one.entry) for one in await log.log_entries(0, await log.log_size())]
    return [entry for entry in found if entry.type in kinds]


async def blobs_of(archive):
    return {name async for name in archive.stores.blobs.names()}


def every_file(config):
    """Return the bytes of every file of the archive, by name; the keys' directory is not part of it."""
    files = [path for path in config.archive.directory.rglob("*") if path.is_file()]
    assert {"taltio.db", "keys.db"} <= {path.name for path in files}
    return {
        str(path.relative_to(config.archive.directory)): path.read_bytes() for path in files
    }


async def secrets_of(archive, contact_id):
    """Return every byte string that must be nowhere afterwards: keys, wrapped and not, seals, headers, blobs."""
    store, keys = archive.stores.store, archive.stores.keys
    where = {"contact_id": contact_id}
    objects = [row.id for row in await store.find(ObjectRow, where)]
    deliveries = await store.find(DeliveryRow, where)
    contact = (await store.find(ContactRow, {"id": contact_id}))[0]
    recordings, messages = (
        await store.find(RecordingRow, where),
        await store.find(MessageRow, where),
    )
    stored = await keys.get_keys([contact_id, *objects, *(row.id for row in deliveries)])
    assert len(stored) == 1 + len(objects) + len(deliveries)
    ring = archive.vault.ring
    epoch = int(stored[contact_id].wrapped_by.removeprefix("epoch:"))
    sought = {f"wrapped key of {one.id}": one.wrapped for one in stored.values()}
    sought["key in the clear"] = bytes(ring.unwrap(epoch, stored[contact_id].wrapped))
    for row in (contact, *recordings, *messages, *deliveries):
        sought[f"seal of {row.id}"] = row.sealed
    for token in await store.find(ContactTokenRow, where):
        sought[f"token {token.token.hex()}"] = token.token
    for name in objects:
        async with archive.stores.blobs.open(name) as reader:
            sought[f"blob {name}"] = await reader.read(16, 64)
    return sought


PLAIN = {
    "telephone": b"401234567",
    "name": b"Maija",
    "words": WORDS.encode(),
    "subject": b"S-5512",
    "sound": b"puhe puhe",
    "queue": b"Asiakaspalvelu",
    "file name": b"a.wav",
}


async def test_no_file_holds_anything_of_it_afterwards(config):
    key_provider(config).create(now=NOW)
    async with opened_archive(config, create=True) as archive:
        # Other contacts share its pages, and one of them its telephone number.
        for n in range(40):
            await deliver(archive, call(f"n-{n}"), ident=f"n-{n}", now=NOW)
        contact_id = await contact_with_everything(archive)
        sought = await secrets_of(archive, contact_id)
        before = b"".join(every_file(config).values())
        hidden = {name for name, value in sought.items() if value not in before}
        assert hidden == {"key in the clear"}, "what is sought afterwards is there before"
        erased = await erase(archive, contact_id)
        assert erased.state is ErasureState.ERASED
        shared = {f"token {t}" for t in await tokens_of_others(archive)}
        # While the service runs, and after it has ended.
        assert remains(config, sought, but=shared) == []
    assert remains(config, sought, but=shared) == []


def remains(config, sought, *, but):
    """Return what of ``sought`` is in a file, and in which; also what is personal, in the clear."""
    return [
        (file, name)
        for file, content in every_file(config).items()
        for name, value in {**sought, **PLAIN}.items()
        if name not in but and value in content
    ]


async def tokens_of_others(archive):
    return {row.token.hex() for row in await archive.stores.store.find(ContactTokenRow, {})}


async def test_only_a_tombstone_is_left(archive):
    contact_id = await contact_with_everything(archive)
    store, where = archive.stores.store, {"contact_id": contact_id}
    assert await store.count(JobRow, {"subject": await recording_of(archive, contact_id)}) == 1
    before = await blobs_of(archive)
    erased = await erase(archive, contact_id)
    assert (erased.state, erased.approved_by) == (ErasureState.ERASED, OTHER.id)
    for table in (MessageRow, ObjectRow, ContactTokenRow):
        assert await store.find(table, where) == []
    assert await store.find(JobRow, {}) == []
    (contact,) = await store.find(ContactRow, {"id": contact_id})
    assert (contact.state, contact.sealed, contact.ended_at) == ("erased", b"", None)
    assert contact.recording_state == "erased"
    (recording,) = await store.find(RecordingRow, where)
    assert (recording.state, recording.sealed, recording.object_id) == ("erased", b"", None)
    assert {row.state for row in await store.find(DeliveryRow, where)} == {"erased"}
    about = await store.find(AttentionRow, {"about": contact_id})
    assert {(row.state, row.sealed) for row in about} == {("settled", None)}
    assert before
    assert await blobs_of(archive) == set()
    (entry,) = await entries(archive, EntryType.CONTACT_ERASED)
    assert entry.about == (contact_id, erased.id)
    assert entry.actor == OTHER.id
    assert entry.data["requested_by"] == DPO.id
    assert entry.data["ground"] == GROUND


async def recording_of(archive, contact_id):
    return (await archive.stores.store.find(RecordingRow, {"contact_id": contact_id}))[0].id


async def test_nobody_finds_opens_or_amends_it_any_more(archive):
    contact_id = await contact_with_everything(archive)
    await erase(archive, contact_id)
    assert await find(archive, NOW, phone=PHONE) == ()
    with pytest.raises(ErasedError):
        await archive.contacts.get(contact_id, actor=HANDLER)
    with pytest.raises(ErasedError):
        await archive.verifier.verify(contact_id, actor=HANDLER, now=NOW)
    with pytest.raises(ErasedError):
        await archive.contacts.add_recording(
            contact_id, "b.wav", "audio/wav", chunks(AUDIO), actor=SYSTEM, now=NOW
        )
    assert await blobs_of(archive) == set()
    with pytest.raises(ErasedError):
        await archive.erasures.request(
            contact_id, ground=GROUND, reference=None, actor=DPO, now=NOW
        )


async def test_what_somebody_is_listening_to_closes_at_once(archive):
    contact_id = await contact_with_everything(archive)
    recording = await recording_of(archive, contact_id)
    purpose = Purpose.VERIFY_CONTACT
    grant = await archive.grants.create(
        actor=HANDLER, purpose=purpose, contact_ids=[contact_id], reference=None, now=NOW
    )
    asked = Asked(Subject.RECORDING, recording)
    opened = await archive.opener.open(asked, actor=HANDLER, grant_id=grant.id, now=NOW)
    assert not opened.is_closed
    await erase(archive, contact_id)
    assert opened.is_closed
    with pytest.raises(ErasedError):
        await archive.opener.open(asked, actor=HANDLER, grant_id=grant.id, now=NOW)


async def test_what_its_source_sends_again_brings_nothing_back(archive):
    contact_id = await contact_with_everything(archive)
    await erase(archive, contact_id)
    same = await deliver(archive, call(queue="Laskutus"), ident="x-c-1", now=NOW)
    assert same.is_duplicate
    await deliver(archive, call(queue="Uusi"), ident="w-9", now=NOW)
    await deliver_recording(archive, b"more", name="b.wav", now=NOW)
    (contact,) = await archive.stores.store.find(ContactRow, {})
    assert (contact.id, contact.state) == (contact_id, "erased")
    items = await archive.attention.find(actor=HANDLER)
    assert [item.reason for item in items] == ["contact_erased", "contact_erased"]
    # And it can be erased once more, with that.
    again = await erase(archive, contact_id)
    assert again.state is ErasureState.ERASED
    states = {row.state for row in await archive.stores.store.find(DeliveryRow, {})}
    assert states == {"erased"}
    assert await blobs_of(archive) == set()
    assert await archive.stores.store.find(ObjectRow, {}) == []
    assert await archive.attention.find(actor=HANDLER) == []


async def test_the_tie_to_its_customer_stays_without_a_reason(archive):
    contact_id = await contact_with_everything(archive)
    customer = await link(archive, contact_id)
    await erase(archive, contact_id)
    (tie,) = await archive.stores.store.find(LinkRow, {"contact_id": contact_id})
    assert (tie.customer_id, tie.state, tie.reasons) == (customer, "erased", "")
    history = await archive.contacts.find_tombstones(customer, actor=HANDLER)
    (stone,) = history
    assert (stone.id, stone.ground, stone.erased_at) == (contact_id, GROUND, NOW)
    await import_customers(archive, NOW)
    assert await archive.stores.store.find(LinkRow, {"contact_id": contact_id}) == [tie]


async def link(archive, contact_id, number="1001"):
    customer = await customer_of(archive, number)
    await archive.contacts.link(
        contact_id, customer, state=LinkState.LINKED, actor=HANDLER, now=NOW
    )
    return customer


async def customer_of(archive, number):
    token = archive.vault.index.token("customer_number", number)
    return (await archive.stores.store.find(CustomerRow, {"number_token": token}))[0].id


# -- who may


async def test_it_takes_two_people(archive):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)
    machine = Actor(id="tk_1", kind=ActorKind.MACHINE, roles=frozenset({Role.DPO}))
    for who in (DPO, machine, HANDLER, SYSTEM, OPERATOR):
        with pytest.raises(NotPermittedError):
            await archive.erasures.approve(asked.id, actor=who, now=NOW)
    for who in (machine, HANDLER, SYSTEM, OPERATOR):
        with pytest.raises(NotPermittedError):
            await request(archive, contact_id, by=who)
    assert (await archive.contacts.get(contact_id, actor=HANDLER)).recordings


async def test_a_request_can_be_withdrawn_and_then_not_approved(archive):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)
    with pytest.raises(ContradictionError):
        await request(archive, contact_id, by=OTHER)
    await archive.erasures.withdraw(asked.id, actor=OTHER, now=NOW)
    await archive.erasures.withdraw(asked.id, actor=OTHER, now=NOW)
    with pytest.raises(ContradictionError):
        await archive.erasures.approve(asked.id, actor=OTHER, now=NOW)
    erased = await erase(archive, contact_id)
    with pytest.raises(ContradictionError):
        await archive.erasures.withdraw(erased.id, actor=DPO, now=NOW)
    assert (await archive.erasures.approve(erased.id, actor=OTHER, now=NOW)) == erased


async def test_a_request_that_somebody_wrote_into_the_database_is_none(archive):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)
    store = archive.stores.store
    (row,) = await store.find(ErasureRow, {"id": asked.id})
    await store.commit([Replace(replace(row, version=2, requested_by="us_nobody"))])
    with pytest.raises(TamperedError):
        await archive.erasures.approve(asked.id, actor=OTHER, now=NOW)
    decided = replace(row, version=3, state="erasing", parts=contact_id, approved_by=OTHER.id)
    await store.commit([Replace(decided)])
    assert await archive.erasures.finish_interrupted(now=NOW) == 0
    assert await archive.stores.keys.get_keys([contact_id])
    assert await reasons(archive) == {UNFINISHED, "contradiction"}


async def reasons(archive):
    return {one.reason for one in await archive.attention.find(actor=HANDLER)}


async def test_what_never_was_cannot_be_erased(archive):
    for contact_id in ("ct_" + "a" * 26, "nonsense"):
        with pytest.raises(NotFoundError):
            await request(archive, contact_id)
    with pytest.raises(NotFoundError):
        await archive.erasures.approve("er_" + "a" * 26, actor=OTHER, now=NOW)


# -- holds win


async def test_a_hold_that_comes_between_request_and_approval_wins(archive):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)
    hold = await place(archive, contact_id)
    with pytest.raises(HeldError, match=hold.id):
        await archive.erasures.approve(asked.id, actor=OTHER, now=NOW)
    (refused,) = await entries(archive, EntryType.ERASURE_REFUSED)
    assert refused.about == (contact_id, hold.id)
    assert (await archive.contacts.get(contact_id, actor=HANDLER)).recordings
    await archive.holds.request_release(hold.id, actor=HANDLER, now=NOW)
    await archive.holds.release(hold.id, actor=OTHER, now=NOW)
    done = await archive.erasures.approve(asked.id, actor=OTHER, now=NOW)
    assert done.state is ErasureState.ERASED


async def place(archive, contact_id, **more):
    order = HoldOrder(contact_id=contact_id, reason="Reklamaatio", **more)
    return await archive.holds.place(order, actor=HANDLER, now=NOW)


class Between:
    """A store that lets something happen before the first commit that would erase."""

    def __init__(self, store, deed) -> None:
        self._store, self._deed = store, deed

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def commit(self, change):
        is_erasing = any(
            isinstance(w, Replace)
            and isinstance(w.row, ErasureRow)
            and w.row.state == "erasing"
            for w in change
        )
        if is_erasing and self._deed is not None:
            deed, self._deed = self._deed, None
            await deed()
        await self._store.commit(change)


def with_store(archive, store):
    erasures = archive.erasures
    return replace(erasures, disposal=replace(erasures.disposal, store=store))


@pytest.mark.parametrize("is_first", [True, False], ids=["the first hold ever", "a later hold"])
async def test_a_hold_at_the_very_moment_of_the_erasure_wins(archive, is_first):
    contact_id = await contact_with_everything(archive)
    if not is_first:
        other = await customer_of(archive, "1003")
        order = HoldOrder(customer_id=other, reason="Muu asia")
        await archive.holds.place(order, actor=HANDLER, now=NOW)
    asked = await request(archive, contact_id)
    held = []

    async def deed():
        held.append(await place(archive, contact_id))

    erasures = with_store(archive, Between(archive.stores.store, deed))
    with pytest.raises(HeldError, match="ho_"):
        await erasures.approve(asked.id, actor=OTHER, now=NOW)
    assert held
    assert (await archive.contacts.get(contact_id, actor=HANDLER)).recordings


async def test_what_arrives_at_the_very_moment_of_the_erasure_is_erased_too(archive):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)

    async def deed():
        await deliver_recording(archive, b"second", name="b.wav", now=NOW)

    erasures = with_store(archive, Between(archive.stores.store, deed))
    done = await erasures.approve(asked.id, actor=OTHER, now=NOW)
    assert done.state is ErasureState.ERASED
    assert await blobs_of(archive) == set()
    assert await archive.stores.store.find(ObjectRow, {}) == []
    recordings = await archive.stores.store.find(RecordingRow, {})
    assert {row.state for row in recordings} == {"erased"}


async def test_nothing_is_tied_or_added_to_a_contact_that_is_erased_meanwhile(archive):
    contact_id = await contact_with_everything(archive)
    store = archive.stores.store

    class Late:
        """Erases the contact between the reading of another use case and its commit."""

        is_done = False

        def __getattr__(self, name):
            return getattr(store, name)

        async def commit_each(self, changes):
            if not self.is_done:
                self.is_done = True
                await erase(archive, contact_id)
            return await store.commit_each(changes)

    late = Late()
    interpreter = replace(archive.interpreter, store=late)
    contacts = replace(archive.contacts, interpreter=interpreter)
    customer = await customer_of(archive, "1003")
    await contacts.link(contact_id, customer, state=LinkState.LINKED, actor=HANDLER, now=NOW)
    assert late.is_done
    assert await store.find(ContactTokenRow, {"contact_id": contact_id}) == []
    assert {row.state for row in await store.find(LinkRow, {})} <= {"erased"}


async def test_two_erasures_at_once_are_one(archive):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)
    third = replace(DPO, id="us_third")
    done = await asyncio.gather(
        *(archive.erasures.approve(asked.id, actor=who, now=NOW) for who in (OTHER, third))
    )
    assert len({one.approved_by for one in done}) == 1
    assert len(await entries(archive, EntryType.CONTACT_ERASED)) == 1


# -- interrupted


class Stopped(BaseException):
    """The process ends here."""


class Stopping:
    """Everything that disposal works with; at step ``n`` the process ends, before or after what was asked."""

    def __init__(self, disposal: Disposal, at: int, *, after: bool) -> None:
        self.at, self.after, self.steps = at, after, 0
        self.disposal = Disposal(
            store=_Wrapped(self, disposal.store),
            log=disposal.log,
            keys=_Wrapped(self, disposal.keys),
            blobs=_Wrapped(self, disposal.blobs),
            ledger=_Wrapped(self, disposal.ledger),
            scrub=_Wrapped(self, disposal.scrub),
        )


class _Wrapped:
    COUNTED = ("commit", "destroy_keys", "remove", "add", "scrub")

    def __init__(self, stopping, inner) -> None:
        self._stopping, self._inner = stopping, inner

    def __getattr__(self, name):
        step = getattr(self._inner, name)
        if name not in self.COUNTED:
            return step

        async def counted(*args):
            self._stopping.steps += 1
            is_here = self._stopping.steps == self._stopping.at
            if is_here and not self._stopping.after:
                raise Stopped
            await step(*args)
            if is_here:
                raise Stopped

        return counted


@pytest.mark.parametrize("after", [False, True], ids=["before step n", "after step n"])
async def test_an_erasure_that_is_interrupted_at_any_step_is_finished_at_the_next_start(
    archive, after
):
    step, is_interrupted = 0, True
    while is_interrupted:
        step += 1
        contact_id = await contact_with_everything(archive, source_id=f"s-{step}")
        asked = await request(archive, contact_id)
        stopping = Stopping(archive.erasures.disposal, step, after=after)
        erasures = replace(archive.erasures, disposal=stopping.disposal)
        try:
            await erasures.approve(asked.id, actor=OTHER, now=NOW)
            is_interrupted = False
        except Stopped:
            pass
        kept = await archive.stores.store.find(ContactRow, {"id": contact_id, "state": "kept"})
        left = await archive.stores.keys.get_keys([contact_id])
        ledger = await archive.erasures.disposal.ledger.read()
        if kept:
            assert step == 1, "nothing was decided, and nothing is missing"
            assert left
            await archive.erasures.approve(asked.id, actor=OTHER, now=NOW)
        elif not left:
            assert asked.id in {line.erasure for line in ledger}, "the ledger comes first"
        await archive.erasures.finish_interrupted(now=NOW)
        (row,) = await archive.stores.store.find(ErasureRow, {"id": asked.id})
        assert (row.state, row.parts) == ("erased", "")
        assert await archive.stores.keys.get_keys([contact_id]) == {}
        assert await blobs_of(archive) == set()
        assert asked.id in {
            line.erasure for line in await archive.erasures.disposal.ledger.read()
        }
    assert step > 7, "decision, ledger, keys, blobs, files, mark"
    finished = await entries(archive, EntryType.ERASURE_FINISHED)
    assert len(finished) == step


async def test_what_cannot_be_finished_is_put_before_a_person_until_it_is(archive):
    contact_id = await contact_with_everything(archive)

    class Stuck:
        is_stuck = True

        def __getattr__(self, name):
            return getattr(archive.stores.blobs, name)

        async def remove(self, name):
            if self.is_stuck:
                raise UnavailableError("the bucket does not answer")
            await archive.stores.blobs.remove(name)

    blobs = Stuck()
    erasures = replace(
        archive.erasures, disposal=replace(archive.erasures.disposal, blobs=blobs)
    )
    asked = await request(archive, contact_id)
    done = await erasures.approve(asked.id, actor=OTHER, now=NOW)
    assert done.state is ErasureState.ERASING
    assert await archive.stores.keys.get_keys([contact_id]) == {}
    await erasures.finish_interrupted(now=NOW)
    (item,) = await archive.attention.find(actor=HANDLER)
    assert (item.reason, item.about) == (UNFINISHED, asked.id)
    blobs.is_stuck = False
    assert await erasures.finish_interrupted(now=NOW) == 1
    assert await archive.attention.find(actor=HANDLER) == []
    assert await blobs_of(archive) == set()


async def test_somebody_who_keeps_reading_does_not_stop_an_erasure_for_good(archive):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)

    class Busy:
        async def scrub(self):
            raise UnavailableError("somebody keeps reading")

    erasures = replace(
        archive.erasures, disposal=replace(archive.erasures.disposal, scrub=Busy())
    )
    done = await erasures.approve(asked.id, actor=OTHER, now=NOW)
    assert done.state is ErasureState.ERASING
    assert await archive.erasures.finish_interrupted(now=NOW) == 1


# -- after a restore


async def test_a_restore_brings_nothing_back(config, tmp_path):
    key_provider(config).create(now=NOW)
    data, backup = config.archive.directory, tmp_path / "backup"
    async with opened_archive(config, create=True) as archive:
        await deliver(archive, call("c-0"), ident="w-0", now=NOW)
    shutil.copytree(data, backup / "older")
    async with opened_archive(config) as archive:
        contact_id = await contact_with_everything(archive)
        customer = await link(archive, contact_id)
    shutil.copytree(data, backup / "newer")
    async with opened_archive(config) as archive:
        await erase(archive, contact_id)
    ledger = (data / "ledger" / "erasures").read_bytes()
    for name in ("newer", "older"):
        shutil.rmtree(data)
        shutil.copytree(backup / name, data)
        (data / "ledger").mkdir(exist_ok=True)
        (data / "ledger" / "erasures").write_bytes(ledger)
        async with opened_archive(config) as archive:
            kept = await archive.stores.store.find(ContactRow, {"id": contact_id})
            assert [row.state for row in kept] == (["kept"] if name == "newer" else [])
            assert await replay_erasures(disposal_of(archive), now=NOW) == 1
            assert await replay_erasures(disposal_of(archive), now=NOW) == 0
            (row,) = await archive.stores.store.find(ContactRow, {"id": contact_id})
            assert (row.state, row.sealed) == ("erased", b"")
            assert await archive.stores.keys.get_keys([contact_id]) == {}
            assert await blobs_of(archive) == set()
            (entry,) = await entries(archive, EntryType.CONTACT_ERASED)
            assert (entry.data["replayed"], entry.about[0]) == (1, contact_id)
            if name == "newer":
                (stone,) = await archive.contacts.find_tombstones(customer, actor=HANDLER)
                assert stone.ground is GROUND
            with pytest.raises(ErasedError):
                await archive.contacts.get(contact_id, actor=HANDLER)
            await deliver(archive, call("c-1", queue="Uusi"), ident="w-77", now=NOW)
            states = await archive.stores.store.find(ContactRow, {"state": "kept"})
            assert len(states) == 1, "only the contact that was never erased"
        joined = b"".join(every_file(config).values())
        assert [n for n, v in PLAIN.items() if v in joined] == []


async def test_a_key_store_that_was_restored_for_itself_loses_the_keys_again(archive):
    contact_id = await contact_with_everything(archive)
    keys = await archive.stores.keys.get_keys([contact_id])
    await erase(archive, contact_id)
    await archive.stores.keys.put_keys(list(keys.values()))
    assert await replay_erasures(disposal_of(archive), now=NOW) == 0
    assert await archive.stores.keys.get_keys([contact_id]) == {}


async def test_a_delivery_that_was_not_understood_yet_at_the_backup_is_erased_too(archive):
    contact_id = await contact_with_everything(archive)
    store = archive.stores.store
    before = await store.find(DeliveryRow, {"contact_id": contact_id})
    await erase(archive, contact_id)
    for row in before:
        (now_there,) = await store.find(DeliveryRow, {"id": row.id})
        as_then = replace(row, version=now_there.version + 1, state="received", contact_id=None)
        await store.commit([Replace(as_then)])
    # With every delivery as it was received, the contact is not known yet.
    await replay_erasures(disposal_of(archive), now=NOW)
    rows = await store.find(DeliveryRow, {})
    assert {(row.state, row.sealed) for row in rows} == {("erased", b"")}


async def test_expiry_leaves_what_was_erased_alone(archive):
    await erase(archive, await contact_with_everything(archive))
    stores = archive.stores
    expiry = DeliveryExpiry(stores.store, stores.keys, stores.blobs, timedelta(days=1))
    assert await expiry.run(now=NOW + timedelta(days=9)) == 0


async def test_an_erasure_that_loses_every_race_says_so_and_changes_nothing(archive):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)

    class Losing:
        def __getattr__(self, name):
            return getattr(archive.stores.store, name)

        async def commit(self, _):
            raise StaleError("another version is there")

    with pytest.raises(NotNowError, match="kept changing"):
        await with_store(archive, Losing()).approve(asked.id, actor=OTHER, now=NOW)
    assert (await archive.contacts.get(contact_id, actor=HANDLER)).recordings
