"""The witness as a program: what it answers, what it remembers, and that it never vouches for two histories."""

import asyncio
import errno
import logging
from datetime import UTC, datetime

import pytest
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.errors import InvalidInputError, UnavailableError
from service.http.frame import RUNNER_OPTIONS
from service.keys.errors import KeysRefusedError
from service.log.checkpoint import (
    Checkpoint,
    decode_checkpoint,
    find_cosignatures,
    log_key,
    sign_checkpoint,
)
from service.log.merkle import leaf_hash, prove_consistency, root_hash, subtree_of
from service.log.note import VerifierKey
from service.log.witness import AddCheckpoint, encode_request
from service.wiring import held_by_witness
from service.witness.cosigning import Witness
from service.witness.places import WitnessPlaces
from service.witness.server import build_witness
from storage.errors import UnavailableError as HeldError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ORIGIN = "log.example.org"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LEAVES = [leaf_hash(b"entry %d" % n) for n in range(64)]
FORKED = [*LEAVES[:5], *(leaf_hash(b"other %d" % n) for n in range(59))]


def body(old, size, leaves=LEAVES, *, origin=ORIGIN, secret=SECRET):
    proof = prove_consistency(old, size, subtree_of(leaves)) if old else ()
    note = sign_checkpoint(Checkpoint(origin, size, root_hash(leaves[:size])), secret)
    return encode_request(AddCheckpoint(old, proof, note))


def note_of(request):
    return request.partition(b"\n\n")[2]


@pytest.fixture
def places(tmp_path):
    places = WitnessPlaces(tmp_path / "witness")
    places.create("witness.example.org")
    places.watch(log_key(ORIGIN, SECRET))
    return places


@pytest.fixture
def witness(places):
    return Witness(places, *places.load())


@pytest.fixture
async def client(witness):
    server = TestServer(build_witness(witness, lambda: NOW))
    await server.start_server(**RUNNER_OPTIONS)
    async with TestClient(server) as client:
        yield client


async def ask(client, data):
    async with client.post("/add-checkpoint", data=data) as answer:
        return answer.status, answer.content_type, await answer.read()


def known(places):
    return decode_checkpoint(places.state().checkpoints[ORIGIN].encode())


async def test_what_continues_is_cosigned_and_remembered(client, witness, places):
    for old, size in ((0, 3), (3, 10), (10, 10), (10, 64)):
        request = body(old, size)
        status, _, lines = await ask(client, request)
        assert status == 200
        (cosignature,) = find_cosignatures(note_of(request) + lines, [witness.verifier_key])
        assert cosignature.at == NOW
        assert known(places).size == size


@pytest.mark.parametrize(
    ("data", "status", "told"),
    [
        pytest.param(b"hello", 400, None, id="malformed"),
        pytest.param(body(0, 4).replace(b"old 0", b"old 5"), 400, None, id="old beyond new"),
        pytest.param(body(10, 12, origin="x.example.org"), 404, None, id="unknown log"),
        pytest.param(
            body(10, 12, secret=Ed25519PrivateKey.from_private_bytes(bytes(32))), 403, None,
            id="unknown key",
        ),
        pytest.param(body(10, 12).replace(b"\n12\n", b"\n13\n"), 403, None, id="changed"),
        pytest.param(body(0, 12), 409, b"10\n", id="another old size"),
        pytest.param(body(4, 8), 409, b"10\n", id="a smaller log"),
        pytest.param(body(10, 10, FORKED), 409, b"10\n", id="another log of that size"),
        pytest.param(body(10, 12, FORKED), 422, None, id="another history"),
        pytest.param(b"x" * 70_000, 413, None, id="too large"),
    ],
)  # fmt: skip
async def test_anything_else_is_refused_and_changes_nothing(client, places, data, status, told):
    await ask(client, body(0, 10))
    before = places.state()
    answered, kind, text = await ask(client, data)
    assert answered == status
    if told is not None:
        assert (kind, text) == ("text/x.tlog.size", told)
    assert b"\xe2\x80\x94" not in text
    assert places.state() == before


async def test_nothing_else_is_answered(client):
    async with client.get("/add-checkpoint") as answer:
        assert answer.status == 405
    async with client.get("/state/checkpoints.json") as answer:
        assert answer.status == 404
    packed = {"Content-Encoding": "gzip"}
    async with client.post("/add-checkpoint", data=b"x", headers=packed) as answer:
        assert answer.status == 415


async def test_of_two_histories_at_once_one_is_cosigned(client, places):
    await ask(client, body(0, 5))
    requests = [body(5, size, leaves) for size in range(6, 16) for leaves in (LEAVES, FORKED)]
    answers = await asyncio.gather(*(ask(client, one) for one in requests))
    cosigned = [
        decode_checkpoint(note_of(one))
        for one, (status, _, _) in zip(requests, answers, strict=True)
        if status == 200
    ]
    assert len(cosigned) == 1
    assert known(places) == cosigned[0]
    assert {status for status, _, _ in answers} == {200, 409}


def test_nothing_is_cosigned_before_the_state_is_durable(witness, places, monkeypatch):
    def full(_self, _kept):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(WitnessPlaces, "keep", full)
    with pytest.raises(OSError, match="full"):
        witness.cosign(body(0, 5), clock=lambda: pytest.fail("a cosignature was made"))
    assert places.state().checkpoints == {}


async def test_a_full_disk_is_told_and_gets_over(client, monkeypatch):
    def full(_self, _kept):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(WitnessPlaces, "keep", full)
        assert (await ask(client, body(0, 5)))[0] == 503
    assert (await ask(client, body(0, 5)))[0] == 200


async def test_two_histories_of_one_size_are_kept_as_evidence(client, places, caplog):
    caplog.set_level(logging.ERROR)
    await ask(client, body(0, 10))
    await ask(client, body(5, 10, FORKED))
    kept = sorted((places.directory / "state" / "conflicts").iterdir())
    roots = {decode_checkpoint(one.read_bytes()).root for one in kept}
    assert roots == {root_hash(LEAVES[:10]), root_hash(FORKED[:10])}
    assert "witness.two_histories" in caplog.messages


async def test_lines_of_strangers_do_not_grow_the_state(client, places):
    request = body(0, 5)
    strange = "— stranger.example.org AAAAAAAA\n".encode() * 50
    assert (await ask(client, request + strange))[0] == 200
    assert places.state().checkpoints[ORIGIN].encode() == note_of(request)


def test_a_state_that_was_lost_or_damaged_is_not_begun_anew(witness, places):
    witness.cosign(body(0, 10), clock=lambda: NOW)
    state = places.directory / "state" / "checkpoints.json"
    for damaged in (b"", b"{}", b'{"version":2,"checkpoints":{}}', state.read_bytes()[:-1]):
        state.write_bytes(damaged)
        with pytest.raises(UnavailableError):
            witness.cosign(body(0, 10), clock=lambda: NOW)
    state.unlink()
    with pytest.raises(UnavailableError, match="make a new one"):
        places.load()


def test_a_key_that_others_can_read_is_refused(places):
    (places.directory / "key" / "signing.key").chmod(0o440)
    with pytest.raises(KeysRefusedError):
        places.load()


def test_a_key_that_is_not_the_one_that_was_given_out_is_refused(places, tmp_path):
    other = WitnessPlaces(tmp_path / "other").create("witness.example.org")
    (places.directory / "vkey").write_text(f"{other.format()}\n")
    with pytest.raises(UnavailableError, match="not that of the key"):
        places.load()


def test_a_witness_is_made_once(places):
    with pytest.raises(InvalidInputError, match="already"):
        places.create("witness.example.org")


def test_a_log_has_one_key(places):
    places.watch(log_key(ORIGIN, SECRET))
    assert places.logs() == (log_key(ORIGIN, SECRET),)
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    with pytest.raises(InvalidInputError, match="another key"):
        places.watch(log_key(ORIGIN, other))


def test_two_processes_never_have_one_witness(places):
    with held_by_witness(places.directory), pytest.raises(HeldError):  # noqa: SIM117  # the second is the test
        with held_by_witness(places.directory):
            pytest.fail("two hold it")


def test_secrets_are_not_shown(witness, places):
    seed = witness.key.private_bytes_raw().hex()
    assert seed not in repr(witness)
    assert (
        VerifierKey.parse((places.directory / "vkey").read_text().strip())
        == witness.verifier_key
    )
