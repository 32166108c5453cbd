from datetime import timedelta

import pytest

from service.crypto.wrap import new_key
from service.domain.errors import TamperedError, UnavailableError
from service.keys.ring import KeyRing
from service.keys.session import SESSION_LIFETIME, IntakeSession

_INSTANT = timedelta(microseconds=1)


@pytest.fixture
def ring(created):
    return KeyRing(created.load())


@pytest.fixture
def session(ring, now):
    return IntakeSession(ring.intake_keys(), now=now)


def test_a_session_unwraps_what_it_wrapped(session, now):
    key = new_key()
    assert session.unwrap(session.wrap(key, now=now), now=now) == key


def test_the_ring_reopens_a_session_after_a_crash(ring, session, now):
    key = new_key()
    wrapped = session.wrap(key, now=now)
    assert ring.open_session(session.epoch, session.sealed).unwrap(wrapped) == key


def test_a_session_lasts_ten_minutes_at_most(session, now):
    assert timedelta(minutes=10) == SESSION_LIFETIME
    end = now + SESSION_LIFETIME
    wrapped = session.wrap(new_key(), now=end - _INSTANT)
    with pytest.raises(UnavailableError):
        session.wrap(new_key(), now=end)
    with pytest.raises(UnavailableError):
        session.unwrap(wrapped, now=end)


@pytest.mark.parametrize("moved", [SESSION_LIFETIME, -_INSTANT], ids=["over", "clock set back"])
def test_a_session_that_is_over_has_forgotten_its_key_for_good(session, now, moved):
    assert not session.is_usable(now + moved)
    assert not session.is_usable(now)
    with pytest.raises(UnavailableError):
        session.wrap(new_key(), now=now)
    assert session._key is None


def test_a_forgotten_session_stays_forgotten(session, now):
    session.forget()
    session.forget()
    assert not session.is_usable(now)


def test_sessions_do_not_open_each_other(ring, session, now):
    other = IntakeSession(ring.intake_keys(), now=now)
    wrapped = session.wrap(new_key(), now=now)
    with pytest.raises(TamperedError):
        other.unwrap(wrapped, now=now)
    with pytest.raises(TamperedError):
        ring.open_session(other.epoch, other.sealed).unwrap(wrapped)


def test_the_sealed_form_does_not_open_as_changed(ring, session):
    last = b"B\n" if session.sealed.endswith(b"A\n") else b"A\n"
    with pytest.raises(TamperedError):
        ring.open_session(session.epoch, session.sealed[:-2] + last)


def test_a_session_outlives_the_rotation_of_its_epoch(created, ring, session, now):
    key = new_key()
    wrapped = session.wrap(key, now=now)
    created.add_epoch(now=now)
    ring.adopt(created.load())
    epoch, sealed = ring.rewrap_header(session.epoch, session.sealed)
    assert epoch == 2
    assert ring.open_session(epoch, sealed).unwrap(wrapped) == key


def test_a_session_does_not_print_its_key(session, ring):
    shown = repr(session) + repr(ring.open_session(session.epoch, session.sealed))
    assert repr(bytes(session._key))[2:18] not in shown
