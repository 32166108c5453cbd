"""The second factor and the undertaking: what counts, what does not, and how somebody comes in step by step."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from service.access.errors import (
    LockedError,
    SignInRefusedError,
    TicketRefusedError,
    TooManyRequestsError,
    WrongCodeError,
)
from service.access.second_factor import begin_factor, new_recovery_codes, use_code
from service.access.signin import LockOut, Onwards, SignInRules
from service.access.tickets import Step
from service.domain.actor import OPERATOR
from service.domain.errors import ContradictionError, NotPermittedError, TamperedError
from storage.ports import Put
from storage.rows import UserRow
from tests.fakes import NOW, PASSWORD

# RFC 6238, appendix B, SHA-1: the last six of the eight digits there.
VECTORS = (
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (2000000000, "279037"),
    (20000000000, "353130"),
)
SECRET = b"12345678901234567890"


@pytest.mark.parametrize(("seconds", "code"), VECTORS)
def test_the_vectors_of_rfc_6238(seconds, code):
    assert begin_factor(SECRET, code, (), now=datetime.fromtimestamp(seconds, UTC)) is not None


def shown(secret, now):
    """Return what an app shows that was made by others."""
    return TOTP(secret, 6, SHA1(), 30).generate(int(now.timestamp())).decode()  # noqa: S303  # RFC 6238


def test_a_code_counts_once_and_a_step_to_either_side():
    codes = new_recovery_codes()
    factor = begin_factor(SECRET, shown(SECRET, NOW), codes, now=NOW)
    assert use_code(factor, shown(SECRET, NOW), now=NOW) is None
    for seconds, counts in ((-60, False), (-30, False), (30, True), (60, False), (90, False)):
        code = shown(SECRET, NOW + timedelta(seconds=seconds))
        assert (use_code(factor, code, now=NOW) is not None) is counts, seconds
    late = NOW + timedelta(minutes=5)
    assert use_code(factor, shown(SECRET, late - timedelta(seconds=30)), now=late) is not None
    spaced = f" {shown(SECRET, late)[:3]} {shown(SECRET, late)[3:]} "
    assert use_code(factor, spaced, now=late) is not None


@pytest.mark.parametrize(
    "code", ["", "12345", "1234567", "\u0660" * 6, "abcdef", "\ud800", "0" * 99_999]
)
def test_what_is_no_code_counts_nothing(code):
    factor = begin_factor(SECRET, shown(SECRET, NOW), new_recovery_codes(), now=NOW)
    assert use_code(factor, code, now=NOW) is None


def test_a_recovery_code_counts_once_however_it_is_typed():
    codes = new_recovery_codes()
    assert len(set(codes)) == 10
    factor = begin_factor(SECRET, shown(SECRET, NOW), codes, now=NOW)
    typed = codes[3].lower().replace(" ", "-")
    after = use_code(factor, typed, now=NOW)
    assert len(after.recovery) == 9
    assert use_code(after, typed, now=NOW) is None
    assert use_code(after, codes[4], now=NOW) is not None


def test_nothing_of_it_is_shown():
    codes = new_recovery_codes()
    factor = begin_factor(SECRET, shown(SECRET, NOW), codes, now=NOW)
    assert "1234" not in repr(factor)


def needing(door, *, undertaking="", failures=10):
    door.rules = SignInRules(needs_second_factor=True, undertaking=undertaking)
    door.sign_in_with(LockOut(failures=failures))


def secret_in(offered):
    text = parse_qs(urlsplit(offered.uri).query)["secret"][0]
    return base64.b32decode(text + "=" * (-len(text) % 8))


async def enrolled(door, login="aino"):
    """Let a person set up a second factor at the door; return its secret and what came of it."""
    onwards = await door.sign_in(login)
    assert onwards.step is Step.ENROL
    offered = await door.signing.offer(onwards.ticket, now=door.clock.now)
    secret = secret_in(offered)
    done = await door.signing.enrol(
        onwards.ticket, shown(secret, door.clock.now), now=door.clock.now
    )
    return secret, done, onwards.ticket


async def undertake(door, ticket, version):
    return await door.signing.undertake(
        ticket, version, read={"language": "fi", "sha256": "00"}, now=door.clock.now
    )


async def ask(door, session, password=PASSWORD):
    """Ask for a second factor on the page of one's own account."""
    return await door.own.new_ticket(
        session.session, password, address="192.0.2.7", now=door.clock.now
    )


async def renew(door, session, code):
    return await door.own.renew_codes(session, code, address="192.0.2.7", now=door.clock.now)


async def remove(door, session, code):
    await door.own.remove_factor(session, code, address="192.0.2.7", now=door.clock.now)


async def set_up(door, session):
    """Set up a second factor on the page of one's own account; return its secret and its recovery codes."""
    ticket = await ask(door, session)
    offered = await door.own.offer(session.session, ticket, now=door.clock.now)
    secret = secret_in(offered)
    code = shown(secret, door.clock.now)
    return secret, await door.own.set_up(session.session, ticket, code, now=door.clock.now)


async def wrong_codes(door, times):
    """Sign in, and show so many wrong codes."""
    onwards = await door.sign_in()
    for _ in range(times):
        with pytest.raises(SignInRefusedError):
            await enter(door, onwards.ticket, "000000")


async def enter(door, ticket, code):
    return await door.signing.enter_code(ticket, code, address="192.0.2.7", now=door.clock.now)


async def test_who_needs_a_second_factor_sets_it_up_and_shows_it_from_then_on(door):
    aino = await door.person()
    needing(door)
    secret, done, ticket = await enrolled(door)
    assert (await door.session(done.session.secret)).actor == aino
    assert len(done.recovery_codes) == 10
    with pytest.raises(TicketRefusedError):
        await door.signing.enrol(ticket, shown(secret, door.clock.now), now=door.clock.now)
    door.clock.wait(minutes=1)
    onwards = await door.sign_in()
    assert onwards.step is Step.CODE
    session = await enter(door, onwards.ticket, shown(secret, door.clock.now))
    assert (await door.session(session.secret)).actor == aino
    with pytest.raises(SignInRefusedError):
        await enter(door, onwards.ticket, shown(secret, door.clock.now))
    onwards = await door.sign_in()
    assert await enter(door, onwards.ticket, done.recovery_codes[0])
    changes = [entry.data["change"] for entry in await door.entries("user.changed")]
    assert changes == ["password", "second_factor"]


async def test_another_code_sets_nothing_up_and_the_offer_stays(door):
    await door.person()
    needing(door)
    onwards = await door.sign_in()
    first = await door.signing.offer(onwards.ticket, now=NOW)
    with pytest.raises(WrongCodeError):
        await door.signing.enrol(onwards.ticket, "000000", now=NOW)
    assert await door.signing.offer(onwards.ticket, now=NOW) == first
    other = await door.sign_in()
    assert await door.signing.offer(other.ticket, now=NOW) != first


async def test_codes_cannot_be_guessed_even_by_who_knows_the_password(door):
    await door.person()
    needing(door, failures=5)
    secret, _, _ = await enrolled(door)
    door.clock.wait(minutes=1)
    for _ in range(5):
        onwards = await door.sign_in()
        with pytest.raises(SignInRefusedError):
            await enter(door, onwards.ticket, "000000")
    with pytest.raises(SignInRefusedError):
        await door.sign_in()
    with pytest.raises(SignInRefusedError):
        await enter(door, onwards.ticket, shown(secret, door.clock.now))
    reasons = [entry.data["reason"] for entry in await door.entries("signin.failed")]
    assert reasons == ["wrong_code"] * 5 + ["locked"] * 2


async def test_a_ticket_is_for_one_step_of_one_person_for_some_minutes(door):
    await door.person("aino")
    await door.person("liisa")
    needing(door)
    await enrolled(door, "aino")
    door.clock.wait(minutes=1)
    code, enrol = await door.sign_in("aino"), await door.sign_in("liisa")
    with pytest.raises(TicketRefusedError):
        await door.signing.enrol(code.ticket, "000000", now=door.clock.now)
    with pytest.raises(TicketRefusedError):
        await undertake(door, enrol.ticket, "")
    parts = code.ticket.split(".")
    for place in range(1, len(parts)):
        changed = [*parts]
        changed[place] = "recovery" if place == 2 else enrol.ticket.split(".")[place]
        with pytest.raises(TicketRefusedError):
            await enter(door, ".".join(changed), "000000")
    for none in ("", "code", "code.us_a.b.c.d", "\ud800", "x" * 100_000):
        with pytest.raises(TicketRefusedError):
            await enter(door, none, "000000")
    door.clock.wait(minutes=5)
    with pytest.raises(TicketRefusedError):
        await enter(door, code.ticket, "000000")
    assert code.ticket not in repr(code)


async def test_another_password_makes_tickets_void_and_a_reset_forgets_the_factor(door):
    aino = await door.person()
    needing(door)
    secret, _, _ = await enrolled(door)
    door.clock.wait(minutes=1)
    onwards = await door.sign_in()
    invite = await door.accounts.reset(aino.id, by=OPERATOR, now=door.clock.now)
    await door.invites.accept(invite.secret, PASSWORD, now=door.clock.now)
    with pytest.raises(TicketRefusedError):
        await enter(door, onwards.ticket, shown(secret, door.clock.now))
    assert (await door.sign_in()).step is Step.ENROL


async def test_an_administrator_forgets_a_factor_and_not_their_own(door):
    aino = await door.person()
    needing(door)
    _, done, _ = await enrolled(door)
    await door.accounts.remove_second_factor(aino.id, by=OPERATOR, now=door.clock.now)
    assert await door.session(done.session.secret) is None
    assert (await door.sign_in()).step is Step.ENROL
    with pytest.raises(NotPermittedError):
        await door.accounts.remove_second_factor(aino.id, by=aino, now=door.clock.now)


async def test_the_undertaking_is_given_once_for_each_version(door):
    await door.person()
    needing(door, undertaking="1")
    onwards = await door.sign_in()
    assert onwards.step is Step.UNDERTAKE
    with pytest.raises(TicketRefusedError):
        await undertake(door, onwards.ticket, "0")
    after = await undertake(door, onwards.ticket, "1")
    assert after.step is Step.ENROL
    with pytest.raises(TicketRefusedError):
        await undertake(door, onwards.ticket, "1")
    given = (await door.entries("user.changed"))[-1]
    assert (given.data["change"], given.data["version"]) == ("undertaking", "1")
    door.rules = SignInRules(undertaking="1")
    door.sign_in_with(LockOut())
    assert not isinstance(await door.sign_in(), Onwards)
    door.rules = SignInRules(undertaking="2")
    door.sign_in_with(LockOut())
    assert (await door.sign_in()).step is Step.UNDERTAKE


async def test_nobody_is_asked_for_what_is_not_asked_for_but_for_their_own_factor(door):
    await door.person()
    session = await door.sign_in()
    _, codes = await set_up(door, session)
    with pytest.raises(ContradictionError):
        await ask(door, session)
    assert (await door.sign_in()).step is Step.CODE
    with pytest.raises(WrongCodeError):
        await remove(door, session.session, "000000")
    door.clock.wait(minutes=1)
    renewed = await renew(door, session.session, codes[0])
    with pytest.raises(WrongCodeError):
        await renew(door, session.session, codes[1])
    view = await door.own.look(session.session, now=door.clock.now)
    assert (view.codes_left, view.may_remove, view.factor_since) == (10, True, NOW)
    await remove(door, session.session, renewed[0])
    assert (await door.own.look(session.session, now=door.clock.now)).factor_since is None
    door.clock.wait(minutes=1)
    assert not isinstance(await door.sign_in(), Onwards)


async def test_a_factor_that_everybody_needs_is_not_removed_and_codes_are_not_guessed_here(
    door,
):
    await door.person()
    needing(door, failures=3)
    secret, done, _ = await enrolled(door)
    session = done.session.session
    with pytest.raises(ContradictionError):
        await remove(door, session, done.recovery_codes[0])
    for _ in range(2):
        with pytest.raises(WrongCodeError):
            await renew(door, session, "000000")
    later = door.clock.wait(minutes=1)
    with pytest.raises(LockedError):
        await renew(door, session, "000000")
    with pytest.raises(LockedError):
        await renew(door, session, shown(secret, later))


async def test_somebody_elses_ticket_sets_nothing_up(door):
    await door.person("aino")
    await door.person("liisa")
    aino, liisa = await door.sign_in("aino"), await door.sign_in("liisa")
    ticket = await ask(door, aino)
    again = await door.sign_in("aino")
    for other in (liisa, again):
        with pytest.raises(TicketRefusedError):
            await door.own.offer(other.session, ticket, now=NOW)


async def test_sessions_elsewhere_are_seen_and_ended(door):
    await door.person()
    first, second = await door.sign_in(), await door.sign_in()
    found = await door.sessions.find_of(first.session.actor.id, now=NOW)
    assert {one.id for one in found} == {first.session.id, second.session.id}
    assert first.secret not in repr(found)
    assert await door.sessions.end_others(second.session, now=NOW) == 1
    assert await door.session(first.secret) is None
    assert await door.session(second.secret) is not None
    assert await door.sessions.end_others(second.session, now=NOW) == 0
    ended = (await door.entries("signout"))[-1]
    assert (ended.data["where"], ended.data["sessions"]) == ("elsewhere", 1)


async def test_a_factor_that_somebody_wrote_into_the_database_is_none(door):
    aino, liisa = await door.person("aino"), await door.person("liisa")
    (before,) = await door.store.find(UserRow, {"id": aino.id})
    needing(door)
    secret, _, _ = await enrolled(door, "aino")
    await enrolled(door, "liisa")
    (row,) = await door.store.find(UserRow, {"id": aino.id})
    (hers,) = await door.store.find(UserRow, {"id": liisa.id})
    assert secret not in row.sealed
    for sealed in (hers.sealed, before.sealed):
        await door.store.commit([Put(replace(row, sealed=sealed))])
        with pytest.raises(TamperedError):
            await door.sign_in("aino")


async def test_a_ticket_of_the_account_page_brings_nobody_in(door):
    await door.person()
    session = await door.sign_in()
    ticket = await ask(door, session)
    with pytest.raises(TicketRefusedError):
        await door.signing.offer(ticket, now=NOW)
    await door.sessions.end(session.session, now=NOW)
    with pytest.raises(TicketRefusedError):
        await door.signing.enrol(ticket, "000000", now=NOW)
    # Nor does one of the door change the account of an open session.
    needing(door)
    onwards = await door.sign_in()
    with pytest.raises(TicketRefusedError):
        await door.own.set_up(session.session, onwards.ticket, "000000", now=NOW)


async def test_a_session_alone_sets_up_no_second_factor(door):
    await door.person()
    door.sign_in_with(LockOut(failures=2))
    session = await door.sign_in()
    with pytest.raises(SignInRefusedError):
        await ask(door, session, "a stranger's guess")
    failed = (await door.entries("signin.failed"))[-1]
    assert failed.data["reason"] == "wrong_password"
    with pytest.raises(LockedError):
        await ask(door, session, "a stranger's guess")
    with pytest.raises(LockedError):
        await ask(door, session)


async def test_guesses_on_the_account_page_are_braked_by_address(door):
    await door.person()
    door.sign_in_with(LockOut(failures=1000))
    session = await door.sign_in()
    for _ in range(30):
        with pytest.raises(SignInRefusedError):
            await ask(door, session, "a stranger's guess")
    with pytest.raises(TooManyRequestsError):
        await ask(door, session, "a stranger's guess")


async def test_a_factor_that_is_set_up_or_removed_ends_all_other_sessions(door):
    await door.person()
    session, other = await door.sign_in(), await door.sign_in()
    _, codes = await set_up(door, session)
    assert await door.session(other.secret) is None
    assert await door.session(session.secret) is not None
    door.clock.wait(minutes=1)
    onwards = await door.sign_in()
    other = await enter(door, onwards.ticket, codes[0])
    await remove(door, session.session, codes[1])
    assert await door.session(other.secret) is None
    assert await door.session(session.secret) is not None


async def test_a_factor_that_was_set_up_meanwhile_is_asked_for(door):
    await door.person()
    session = await door.sign_in()
    door.rules = SignInRules(undertaking="1")
    door.sign_in_with(LockOut())
    thief = await door.sign_in()
    assert thief.step is Step.UNDERTAKE
    await set_up(door, session)
    with pytest.raises(TicketRefusedError):
        await undertake(door, thief.ticket, "1")


async def test_a_locked_account_is_entered_by_no_step(door):
    aino = await door.person()
    needing(door, undertaking="1", failures=2)
    promise = await door.sign_in()
    enrol = await undertake(door, (await door.sign_in()).ticket, "1")
    secret = secret_in(await door.signing.offer(enrol.ticket, now=NOW))
    for _ in range(2):
        with pytest.raises(SignInRefusedError):
            await door.sign_in(password="a stranger's guess")
    with pytest.raises(SignInRefusedError):
        await door.signing.enrol(enrol.ticket, shown(secret, NOW), now=NOW)
    with pytest.raises(TicketRefusedError):
        await undertake(door, promise.ticket, "1")
    door.rules = SignInRules(undertaking="2")
    door.sign_in_with(LockOut(failures=2))
    assert (await door.users.get(aino.id)).user.is_locked(NOW)
    door.clock.wait(minutes=16)
    promise = await door.sign_in()
    for _ in range(2):
        with pytest.raises(SignInRefusedError):
            await door.sign_in(password="a stranger's guess")
    with pytest.raises(SignInRefusedError):
        await undertake(door, promise.ticket, "2")
    assert (await door.users.get(aino.id)).user.is_locked(door.clock.now)


async def test_wrong_codes_lock_for_longer_each_time_and_at_last_until_the_administrator_helps(
    door,
):
    aino = await door.person()
    needing(door)
    secret, _, _ = await enrolled(door)
    lasted = []
    for _ in range(10):
        await wrong_codes(door, 10)
        lasted.append((await door.entries("signin.failed"))[-1].data["locked_seconds"])
        user = (await door.users.get(aino.id)).user
        door.clock.wait(seconds=lasted[-1] + 60 if len(lasted) < 10 else 365 * 86400)
    assert user.wrong_codes == 100
    minutes = [seconds // 60 for seconds in lasted[:9]]
    assert minutes == [15, 30, 60, 120, 240, 480, 960, 1440, 1440]
    with pytest.raises(SignInRefusedError):
        await door.sign_in()
    await door.accounts.enable(aino.id, by=OPERATOR, now=door.clock.now)
    onwards = await door.sign_in()
    assert await enter(door, onwards.ticket, shown(secret, door.clock.now))
    assert (await door.users.get(aino.id)).user.wrong_codes == 0


async def test_wrong_codes_are_forgotten_by_coming_in_and_by_nothing_less(door):
    aino = await door.person()
    needing(door)
    secret, done, _ = await enrolled(door)
    await wrong_codes(door, 3)
    await renew(door, done.session.session, done.recovery_codes[0])
    assert (await door.users.get(aino.id)).user.wrong_codes == 3
    door.clock.wait(minutes=1)
    onwards = await door.sign_in()
    await enter(door, onwards.ticket, shown(secret, door.clock.now))
    assert (await door.users.get(aino.id)).user.wrong_codes == 0


async def test_the_log_tells_what_was_shown_and_who_stopped_half_way(door):
    await door.person()
    await door.sign_in()
    needing(door)
    secret, done, _ = await enrolled(door)
    onwards = await door.sign_in()
    await enter(door, onwards.ticket, done.recovery_codes[0])
    door.clock.wait(minutes=1)
    onwards = await door.sign_in()
    await enter(door, onwards.ticket, shown(secret, door.clock.now))
    await door.sign_in()
    factors = [entry.data["factor"] for entry in await door.entries("signin.succeeded")]
    assert factors == ["none", "set_up", "recovery", "code"]
    begun = [entry.data["next"] for entry in await door.entries("signin.begun")]
    assert begun == ["enrol", "code", "code", "code"]


async def test_what_was_shown_is_still_known_after_the_undertaking(door):
    await door.person()
    needing(door)
    secret, _, _ = await enrolled(door)
    needing(door, undertaking="1")
    door.clock.wait(minutes=1)
    promise = await enter(door, (await door.sign_in()).ticket, shown(secret, door.clock.now))
    await undertake(door, promise.ticket, "1")
    assert (await door.entries("signin.succeeded"))[-1].data["factor"] == "code"
    given = (await door.entries("user.changed"))[-1].data
    assert (given["language"], given["sha256"]) == ("fi", "00")


async def test_an_offered_secret_is_as_long_as_the_hash_and_older_ones_still_count(door):
    await door.person()
    session = await door.sign_in()
    secret, _ = await set_up(door, session)
    assert len(secret) == 20
    older = SECRET[:16]
    assert begin_factor(older, shown(older, NOW), (), now=NOW) is not None
