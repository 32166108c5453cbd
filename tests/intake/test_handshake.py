"""A sender asks whether it may deliver: who knows the secret may, and what it sends becomes a contact."""

import json

import pytest
from yarl import URL

from storage.rows import ContactRow
from tests.intake.conftest import SECRET
from tests.intake.test_requests import basic
from tests.sources.test_cloudevents import EVENT

ORIGIN = {"WebHook-Request-Origin": "bus.example.org", "WebHook-Request-Rate": "120"}


async def ask(door, path="/intake/bus", **headers):
    return await door.client.options(URL(path, encoded=True), headers=headers)


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/intake/bus", basic(user="bus")), (f"/intake/bus/k/{SECRET}", {})],
)
async def test_who_knows_the_secret_may_deliver(door, path, headers):
    answer = await ask(door, path, **ORIGIN, **headers)
    assert answer.status == 200
    assert answer.headers["WebHook-Allowed-Origin"] == "bus.example.org"
    assert answer.headers["WebHook-Allowed-Rate"] == "*"
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/intake/bus", {}),
        ("/intake/bus", basic("x" * 40, user="bus")),
        ("/intake/bus/k/" + "x" * 40, {}),
        ("/intake/nobody", basic(user="nobody")),
        ("/intake/hook", basic(user="hook")),
    ],
)
async def test_who_does_not_is_told_nothing(door, path, headers):
    answer = await ask(door, path, **ORIGIN, **headers)
    assert answer.status == 401
    assert "WebHook-Allowed-Origin" not in answer.headers


@pytest.mark.parametrize("origin", [None, "", "a b", "x" * 256, "ä"])
async def test_who_does_not_say_from_where_is_told_what_is_missing(door, origin):
    headers = {} if origin is None else {"WebHook-Request-Origin": origin}
    answer = await ask(door, **headers, **basic(user="bus"))
    assert answer.status == 400
    assert "WebHook-Request-Origin" in await answer.text()


async def test_an_event_becomes_a_contact_and_once(door):
    headers = {"Content-Type": "application/cloudevents+json", **basic(user="bus")}
    for event in (EVENT, EVENT, {**EVENT, "traceparent": "00-1"}):
        answer = await door.client.post("/intake/bus", data=json.dumps(event), headers=headers)
        assert answer.status == 200
    await door.understand()
    (contact,) = await door.archive.stores.store.find(ContactRow, {})
    assert contact.source == "bus"
