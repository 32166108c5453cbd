"""Requests of systems that have a format of their own: who sends is known by a secret, which is kept nowhere."""

import base64
import logging

import pytest
from yarl import URL

from service.domain.actor import Role
from service.domain.errors import InvalidInputError
from service.intake.shared_secret import SharedSecret
from service.sources.requests import decode_request, received_request
from storage.rows import DeliveryRow
from tests.intake.conftest import OLD_SECRET, SECRET

BODY = b'{"variables":{"uuid":"a-1"}}'


def basic(secret=SECRET, user="switch"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


async def post(door, path="/intake/switch", *, body=BODY, headers=None):
    return await door.client.post(URL(path, encoded=True), data=body, headers=headers or {})


async def kept(door):
    rows = await door.archive.stores.store.find(DeliveryRow, {})
    opened = await door.archive.understanding.opener.open(rows)
    return [decode_request(opened[row.id].body) for row in rows]


async def test_a_request_is_kept_as_it_came_without_what_authenticated_it(door):
    headers = {**basic(), "Content-Type": "Application/Json", "X-Name": "ä", "Cookie": "a=b"}
    answer = await post(door, "/intake/switch?a=b?uuid=%41-1", headers=headers)
    assert (answer.status, await answer.json()) == (200, {"kept": True})
    (request,) = await kept(door)
    assert (request.method, request.body) == ("POST", BODY)
    assert request.target == "/intake/switch?a=b?uuid=%41-1"
    assert request.query == "a=b?uuid=%41-1"
    assert request.header("content-type") == "Application/Json"
    assert request.header("x-name") == "ä"
    assert not {"authorization", "cookie"} & {name for name, _ in request.headers}


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
async def test_either_secret_counts_by_basic_and_in_the_path(door, secret):
    assert (await post(door, headers=basic(secret))).status == 200
    assert (await post(door, f"/intake/switch/k/{secret}?n=1")).status == 200


async def test_a_token_bound_to_the_source_counts(door):
    headers = {"Authorization": f"Bearer {await door.token(source='switch')}"}
    assert (await post(door, headers=headers)).status == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/intake/switch", {}),
        ("/intake/switch", basic("x" * 40)),
        ("/intake/switch", basic(user="pbx")),
        ("/intake/switch", {"Authorization": "Basic !"}),
        ("/intake/switch", {"Authorization": f"Bearer {SECRET}"}),
        ("/intake/switch/k/" + "x" * 40, {}),
        ("/intake/switch/k/", basic()),
        (f"/intake/hook/k/{SECRET}", {}),
        (f"/intake/pbx/k/{SECRET}", {}),
        (f"/intake/nobody/k/{SECRET}", {}),
    ],
)
async def test_without_the_secret_nothing_is_kept(door, path, headers):
    assert (await post(door, path, headers=headers)).status in {401, 404}
    assert await door.archive.stores.store.find(DeliveryRow, {}) == []


async def test_a_token_of_another_source_does_not_count(door):
    for bound, role in [("pbx", Role.INTEGRATION), (None, Role.ADMIN)]:
        token = await door.token(role, source=bound)
        answer = await post(door, headers={"Authorization": f"Bearer {token}"})
        assert answer.status in {403, 404}
    assert await door.archive.stores.store.find(DeliveryRow, {}) == []


async def test_the_same_again_is_kept_once_also_with_other_headers(door):
    await post(door, headers=basic())
    again = await post(door, headers={**basic(), "X-Retry": "1"})
    assert await again.json() == {"kept": True, "duplicate": True}
    other = await post(door, "/intake/switch?uuid=2", headers=basic())
    assert await other.json() == {"kept": True}
    assert len(await kept(door)) == 2


async def test_a_recording_comes_by_a_path_with_the_secret_and_waits_for_its_call(door):
    path = f"/intake/switch/k/{SECRET}/a-1/recordings/a.wav"
    for expected in ({"kept": True}, {"kept": True, "duplicate": True}):
        answer = await door.client.put(path, data=b"RIFF", headers={"Expect": "100-continue"})
        assert (answer.status, await answer.json()) == (200, expected)
    wrong = path.replace(SECRET, "x" * 40)
    assert (await door.client.put(wrong, data=b"RIFF")).status == 401
    await door.understand()
    (row,) = await door.archive.stores.store.find(DeliveryRow, {})
    assert (row.source, row.kind, row.state) == ("switch", "recording", "waiting")


async def test_the_secret_of_a_path_is_written_nowhere(door, caplog):
    caplog.set_level(logging.DEBUG)
    answers = [
        await post(door, f"/intake/switch/k/{SECRET}"),
        await post(door, f"/intake/switch/k/{SECRET}", headers={"Content-Encoding": "gzip"}),
        await door.client.put(f"/intake/switch/k/{SECRET}/%00/recordings/a", data=b"RIFF"),
        await door.client.get(f"/intake/switch/k/{SECRET}"),
    ]
    assert [answer.status for answer in answers] == [200, 415, 400, 405]
    told = [await answer.text() for answer in answers]
    written = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert SECRET not in "".join(told)
    assert SECRET not in written
    (request,) = await kept(door)
    assert request.target == "/intake/switch"


@pytest.mark.parametrize("text", ["", "short", "x" * 31, "x" * 129, "ä" * 40, "x y" * 20])
def test_what_is_no_shared_secret_is_refused_unrepeated(text):
    with pytest.raises(InvalidInputError) as refused:
        SharedSecret.parse(text)
    assert not text or text not in refused.value.detail


def test_a_request_survives_being_kept_and_other_bytes_are_refused():
    request = received_request("POST", "/intake/a?b", [(b"X-A", b"\xe4\xff")], b"\x00")
    assert decode_request(request.encode()) == request
    assert request.headers == (("x-a", "äÿ"),)
    for body in (b"", b"\xc1", b"{}"):
        with pytest.raises(InvalidInputError):
            decode_request(body)
