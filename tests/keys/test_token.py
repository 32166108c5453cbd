"""A token (SoftHSM): what its key is, what it seals, and every way in which it may fail."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import UnavailableError
from service.keys.directory import KeyDirectory
from service.keys.errors import KeysMissingError, KeysRefusedError, KeysUnavailableError
from service.keys.file import FileKeyProvider
from service.keys.move import move_keys
from service.keys.pkcs11.pin import PIN_VARIABLE, REFUSED, PinSource
from service.keys.pkcs11.safe import TokenSafe, Wrapped
from service.keys.ring import KeyRing, ring_from
from service.keys.safe import PlainSafe
from tests.softhsm import KEY, LABEL, PIN, SoftToken, made_token

HOLD = timedelta(seconds=60)
WRONG = "0000-invented"


@pytest.fixture
def soft(tmp_path, monkeypatch) -> SoftToken:
    """A token of this test's own, with its key."""
    made = made_token(tmp_path / "softhsm", monkeypatch.setenv)
    made.token(tmp_path / "keys").begin_by_hand(make=True)
    return made


@pytest.fixture
def token(soft, places):
    token = soft.token(places[0])
    yield token
    token.close()


@pytest.fixture
def wrapped(token, places, now) -> FileKeyProvider:
    provider = FileKeyProvider(places[0], archive=places[1], safe=TokenSafe(token, hold=HOLD))
    provider.create(now=now)
    return provider


def _key_tool(soft: SoftToken, code: str) -> str:
    """Run something with the token's key as another program would."""
    text = (
        "import pkcs11\nfrom pkcs11 import Attribute, KeyType\n"
        f"token = pkcs11.lib({str(soft.module)!r}).get_token(token_label={LABEL!r})\n"
        f"with token.open(rw=True, user_pin={PIN!r}) as session:\n"
        f"    key = session.get_key(label={KEY!r})\n    {code}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], check=True, capture_output=True, text=True
    )
    return done.stdout


# -- the key, and what it seals


def test_the_key_can_do_nothing_but_seal_and_open_and_never_leaves(soft):
    said = _key_tool(
        soft,
        "print({name: key[getattr(Attribute, name)] for name in ('SENSITIVE', 'ALWAYS_SENSITIVE', 'EXTRACTABLE',"
        " 'NEVER_EXTRACTABLE', 'PRIVATE', 'WRAP', 'UNWRAP', 'SIGN', 'DERIVE', 'MODIFIABLE', 'VALUE_LEN')})",
    )
    assert eval(said) == {  # noqa: S307  # our own program printed it
        "SENSITIVE": True,
        "ALWAYS_SENSITIVE": True,
        "EXTRACTABLE": False,
        "NEVER_EXTRACTABLE": True,
        "PRIVATE": True,
        "WRAP": False,
        "UNWRAP": False,
        "SIGN": False,
        "DERIVE": False,
        "MODIFIABLE": False,
        "VALUE_LEN": 32,
    }
    with pytest.raises(subprocess.CalledProcessError) as refused:
        _key_tool(soft, "print(key[Attribute.VALUE])")
    assert "AttributeSensitive" in refused.value.stderr


def test_making_the_key_again_makes_no_other(soft, places):
    facts = soft.token(places[0]).begin_by_hand(make=True)
    assert not facts.is_new
    assert facts.key_id == soft.token(places[0]).begin_by_hand(make=True).key_id


def test_no_secret_lies_unwrapped_in_the_directory(wrapped, places):
    material = wrapped.load()
    everything = b"".join(path.read_bytes() for path in places[0].iterdir())
    identity = material.epochs[0].keys.identity.format_secret().encode()
    for secret in (identity, b"AGE-SECRET-KEY", b"wrapping-key:", b"index-master: "):
        assert secret.lower() not in everything.lower().replace(b"intake-index-master: ", b"")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda w: w.sealed[:-1] + bytes([w.sealed[-1] ^ 1]), id="tag"),
        pytest.param(lambda w: bytes([w.sealed[0] ^ 1]) + w.sealed[1:], id="ciphertext"),
        pytest.param(lambda w: w.sealed[:-1], id="one byte shorter"),
        pytest.param(lambda w: w.sealed + b"\0", id="one byte longer"),
    ],
)
def test_changed_bytes_do_not_open(wrapped, token, places, change):
    assert wrapped.load()
    safe = TokenSafe(token, hold=HOLD)
    found = Wrapped.parse((places[0] / "log.wrapped").read_bytes())
    forged = Wrapped(found.name, found.key_id, found.nonce, change(found)).format()
    with pytest.raises(KeysRefusedError, match=r"log\.wrapped: It does not open"):
        safe.open("log", forged)
    assert safe.open("log", (places[0] / "log.wrapped").read_bytes())


def test_a_file_opens_under_its_own_name_only(wrapped, token, places):
    assert wrapped.load()
    safe = TokenSafe(token, hold=HOLD)
    data = (places[0] / "log.wrapped").read_bytes()
    with pytest.raises(KeysRefusedError, match="wrapped as log"):
        safe.open("index", data)
    with pytest.raises(KeysRefusedError, match="does not open"):
        safe.open("index", data.replace(b"name: log", b"name: index"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"# Taltio\n",
        Wrapped("log", "ab", bytes(11), bytes(16)).format(),
        Wrapped("log", "ab", bytes(12), bytes(16)).format() + b"\n",
        Wrapped("log", "ab", bytes(12), bytes(16)).format().replace(b"v1", b"v2"),
        Wrapped("../log", "ab", bytes(12), bytes(16)).format(),
        Wrapped("log", "AB", bytes(12), bytes(16)).format(),
    ],
)
def test_what_is_no_wrapped_file_is_refused(token, data):
    with pytest.raises(KeysRefusedError, match="damaged"):
        TokenSafe(token, hold=HOLD).open("log", data)


def test_a_wrapped_file_comes_back_as_it_was_written():
    wrapped = Wrapped("epoch-000001", "0a" * 16, bytes(range(12)), bytes(range(40)))
    assert Wrapped.parse(wrapped.format()) == wrapped


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_are_taken_for_a_wrapped_file_but_those_that_were_written(data):
    try:
        wrapped = Wrapped.parse(data)
    except ValueError:
        return
    assert wrapped.format() == data


# -- what an operator set up wrongly: refused, with what to do


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"key": "other"}, "no secret key labelled 'other'"),
        ({"module": Path("/usr/lib/none.so")}, "cannot be read"),
        ({"module": Path("/bin/true")}, "cannot be loaded"),
        ({"pin": ""}, "There is no PIN"),
        ({"pin": Path("/none/pin")}, "cannot be read"),
    ],
)
def test_what_is_set_up_wrongly_is_refused_with_a_sentence(soft, places, options, sentence):
    token = soft.token(places[0], **options)
    with pytest.raises(KeysRefusedError, match=sentence):
        token.facts()


def test_a_module_that_others_can_change_is_not_loaded(soft, places, tmp_path):
    module = tmp_path / "module.so"
    module.write_bytes(b"anything")
    module.chmod(0o666)
    with pytest.raises(KeysRefusedError, match="changed by other users"):
        soft.token(places[0], module=module).facts()


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o420])
def test_a_pin_that_others_can_read_is_not_used(tmp_path, mode):
    file = tmp_path / "pin"
    file.write_text(PIN)
    file.chmod(mode)
    if mode == 0o440 and os.geteuid() == 0:
        # Root's own: the service manager hands credentials over like this.
        assert PinSource(file).read() == PIN
        return
    with pytest.raises(KeysRefusedError, match="chmod 400") as refused:
        PinSource(file).read()
    assert PIN not in str(refused.value)


def test_a_pin_is_shown_nowhere(soft, places, caplog):
    places[0].mkdir(mode=0o700, exist_ok=True)
    token = soft.token(places[0], pin=WRONG)
    with pytest.raises(KeysRefusedError) as refused:
        token.facts()
    assert WRONG not in f"{refused.value}{token!r}{PinSource(None, {PIN_VARIABLE: WRONG})!r}"
    assert WRONG not in caplog.text
    assert WRONG.encode() not in (places[0] / REFUSED).read_bytes()


def test_two_tokens_of_one_label_are_not_guessed_between(soft, places):
    soft.initialise()
    with pytest.raises(KeysRefusedError, match="Several tokens"):
        soft.token(places[0]).facts()


def test_two_keys_of_one_label_are_not_guessed_between(soft, places):
    _key_tool(
        soft, f"session.generate_key(KeyType.AES, 256, id=b'2', label={KEY!r}, store=True)"
    )
    with pytest.raises(KeysRefusedError, match="several keys"):
        soft.token(places[0]).facts()


@pytest.mark.parametrize(
    "template",
    [
        "256, template={Attribute.EXTRACTABLE: True}",
        "256, template={Attribute.SENSITIVE: False}",
        "128",
    ],
)
def test_a_key_that_could_leave_the_token_is_not_used(soft, places, template):
    arguments = f"KeyType.AES, {template}, id=b'3', label='weak', store=True"
    _key_tool(soft, f"session.generate_key({arguments})")
    with pytest.raises(KeysRefusedError, match="not fit"):
        soft.token(places[0], key="weak").facts()


# -- a wrong PIN


def test_a_refused_pin_is_not_tried_again_by_this_process_or_the_next(soft, places):
    keys = places[0]
    keys.mkdir(mode=0o700, exist_ok=True)
    for attempt in range(12):
        with pytest.raises(
            KeysRefusedError, match="refuses the PIN" if not attempt else "before"
        ):
            soft.token(keys, pin=WRONG).facts()
    assert soft.token(keys).facts().key_id
    assert not (keys / REFUSED).exists()
    with pytest.raises(KeysRefusedError, match="refuses the PIN"):
        soft.token(keys, pin=WRONG).facts()
    with pytest.raises(KeysRefusedError, match="refuses the PIN"):
        soft.token(keys, pin=WRONG).begin_by_hand(make=False)


# -- another token, another key


def test_another_key_of_the_same_name_is_refused(soft, wrapped, places):
    _key_tool(soft, "key.destroy()")
    soft.token(places[0]).begin_by_hand(make=True)
    with pytest.raises(KeysRefusedError, match="has the id"):
        wrapped.load()


def test_another_token_of_the_same_name_is_refused(soft, wrapped, places):
    soft.take_out()
    soft.initialise()
    with pytest.raises(KeysRefusedError, match="no secret key labelled"):
        wrapped.load()
    soft.token(places[0]).begin_by_hand(make=True)
    with pytest.raises(KeysRefusedError, match="Bring back the token"):
        wrapped.load()
    soft.put_back()
    assert wrapped.load().epochs


def test_a_deleted_key_is_not_used_from_memory(soft, wrapped):
    assert wrapped.load()
    _key_tool(soft, "key.destroy()")
    with pytest.raises(KeysRefusedError, match="no secret key labelled"):
        wrapped.load()


# -- a token that is away


def test_a_token_that_is_taken_out_is_away_until_it_is_back(soft, wrapped):
    assert wrapped.load()
    soft.take_out()
    for _ in range(2):
        with pytest.raises(KeysUnavailableError, match="no token labelled"):
            wrapped.load()
    assert wrapped.load_intake().epoch == 1
    soft.put_back()
    assert wrapped.load().epochs


def test_a_child_that_died_is_replaced_unnoticed(wrapped, token):
    wrapped.load()
    os.kill(token._child._process.pid, signal.SIGKILL)
    assert wrapped.load().epochs


def test_a_hanging_module_costs_its_time_and_no_more(soft, places, now):
    token = soft.token(places[0], wait=1)
    provider = FileKeyProvider(places[0], archive=places[1], safe=TokenSafe(token, hold=HOLD))
    provider.create(now=now)
    hanging = token._child._process.pid
    os.kill(hanging, signal.SIGSTOP)
    began = time.monotonic()
    # The one that hangs is killed, and another one asked in its place.
    assert provider.load().epochs
    assert 1 <= time.monotonic() - began < 10
    with pytest.raises(ProcessLookupError):
        os.kill(hanging, 0)
    token.close()


def test_one_that_never_answers_is_away(wrapped, token, monkeypatch):
    monkeypatch.setattr("service.keys.pkcs11.process._BOOT", "import time; time.sleep(60)")
    token.close()
    token._wait = 0.5
    began = time.monotonic()
    with pytest.raises(KeysUnavailableError, match="no answer within"):
        wrapped.load()
    assert time.monotonic() - began < 5
    assert token._child is None


def test_a_slow_token_is_waited_for_and_one_that_is_too_slow_is_away(
    wrapped, token, monkeypatch
):
    slow = (
        "import sys, time; sys.path += sys.argv[1:]; import service.keys.pkcs11.child as child; first = child.receive;"
        " child.receive = lambda end: (time.sleep(0.4), first(end))[1]; child.main()"
    )
    monkeypatch.setattr("service.keys.pkcs11.process._BOOT", slow)
    token.close()
    assert wrapped.load().epochs
    token._wait = 0.2
    with pytest.raises(KeysUnavailableError, match="no answer within"):
        wrapped.load()


def test_a_module_that_crashes_takes_nobody_with_it(wrapped, token, monkeypatch):
    token.close()
    monkeypatch.setattr("service.keys.pkcs11.process._BOOT", "import os; os.abort()")
    with pytest.raises(KeysUnavailableError, match="crashed"):
        wrapped.load()


def test_what_never_begins_changes_nothing(soft, wrapped, places, now):
    before = {path.name for path in places[0].iterdir()}
    soft.take_out()
    for call in (
        lambda: wrapped.add_epoch(now=now),
        lambda: wrapped.create(now=now),
        lambda: wrapped.destroy_epoch(1, now=now),
    ):
        with pytest.raises(UnavailableError):
            call()
    assert {path.name for path in places[0].iterdir()} == before
    soft.put_back()
    assert wrapped.add_epoch(now=now).number == 2


def test_no_child_stays_behind(soft, places):
    token = soft.token(places[0])
    token.facts()
    pid = token._child._process.pid
    del token
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# -- a ring whose keys may be kept for a time only


def test_a_ring_forgets_its_secrets_in_time_and_takes_them_again(wrapped):
    clock = [time.monotonic()]
    ring = KeyRing(wrapped.load(), load=wrapped.load, timer=lambda: clock[0])
    ring.never_wait()
    sealed = ring.wrap(_data_key())
    clock[0] += HOLD.total_seconds() + 1
    assert not ring.is_at_hand
    for call in (
        lambda: ring.unwrap(*sealed),
        lambda: ring.wrap(_data_key()),
        lambda: ring.log_signing_key,
        lambda: ring.blind_index().token("phone", "+358401234567"),
        ring.require_at_hand,
    ):
        with pytest.raises(KeysUnavailableError):
            call()
    assert all(epoch.keys is None for epoch in ring.epochs)
    assert ring._material is None
    assert ring._active.keys is None
    assert ring.intake_keys() == wrapped.load_intake()
    ring.adopt(wrapped.load())
    clock[0] = time.monotonic()
    assert ring.unwrap(*sealed)


def test_a_command_takes_the_keys_again_by_itself(wrapped):
    clock = [time.monotonic()]
    ring = KeyRing(wrapped.load(), load=wrapped.load, timer=lambda: clock[0])
    sealed = ring.wrap(_data_key())
    clock[0] += HOLD.total_seconds() + 1
    wrapped._timer = lambda: clock[0]
    assert ring.unwrap(*sealed)


def test_a_ring_begins_without_its_token(soft, wrapped):
    soft.take_out()
    ring = ring_from(wrapped)
    assert not ring.is_at_hand
    assert ring.intake_keys().epoch == ring.current_epoch == 1
    with pytest.raises(KeysUnavailableError, match="no token labelled"):
        ring.wrap(_data_key())
    soft.put_back()
    assert ring.wrap(_data_key())


def _data_key():
    from service.crypto.wrap import new_key  # noqa: PLC0415  # one caller

    return new_key()


# -- moving


def test_keys_move_into_the_token_and_back_and_stay_the_same(token, places, now):
    safe, directory = TokenSafe(token, hold=HOLD), KeyDirectory(places[0], archive=places[1])
    plain = FileKeyProvider(places[0], archive=places[1])
    plain.create(now=now)
    plain.add_epoch(now=now)
    before = plain.load()
    assert move_keys(directory, PlainSafe(), safe) == 4
    assert not list(places[0].glob("*.key"))
    with pytest.raises(KeysRefusedError, match="provider"):
        plain.load()
    moved = FileKeyProvider(places[0], archive=places[1], safe=safe).load()
    assert (moved.epochs, moved.index_master) == (before.epochs, before.index_master)
    assert move_keys(directory, PlainSafe(), safe) == 0
    assert move_keys(directory, safe, PlainSafe()) == 4
    assert plain.load() == before


def test_a_move_without_the_token_changes_nothing(soft, token, places, now):
    plain = FileKeyProvider(places[0], archive=places[1])
    plain.create(now=now)
    soft.take_out()
    with pytest.raises(KeysUnavailableError):
        move_keys(
            KeyDirectory(places[0], archive=places[1]), PlainSafe(), TokenSafe(token, hold=HOLD)
        )
    assert plain.load()


def test_there_have_to_be_keys_to_move(token, places):
    places[0].mkdir(mode=0o700, exist_ok=True)
    with pytest.raises(KeysMissingError):
        move_keys(
            KeyDirectory(places[0], archive=places[1]), PlainSafe(), TokenSafe(token, hold=HOLD)
        )
