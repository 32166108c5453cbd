"""The answer to "is it intact?" over HTTP."""

from contextlib import AsyncExitStack

import pytest
from aiohttp.test_utils import TestClient, TestServer

from service.api.verification import VERIFIER, verification_routes
from service.domain.ids import new_id
from service.http.addresses import Site
from service.http.frame import RUNNER_OPTIONS, Frame, build_application
from service.log.checkpoint import log_key
from service.log.proof import decode_proof, verify_proof
from tests.archive.world import AGENT, AUDITOR, HANDLER, opened_world

ACTORS = {"handler": HANDLER, "agent": AGENT, "auditor": AUDITOR}


class KnownTokens:
    async def authenticate(self, token):
        return ACTORS[token]


@pytest.fixture
async def world(tmp_path):
    async with opened_world(tmp_path) as opened:
        yield opened


@pytest.fixture
async def ask(world):
    frame = Frame(site=Site(), sessions=None, tokens=KnownTokens(), clock=lambda: world.now)
    app = build_application(frame, verification_routes())
    app[VERIFIER] = world.verifier
    async with AsyncExitStack() as stack:
        server = TestServer(app)
        await server.start_server(**RUNNER_OPTIONS)
        client = await stack.enter_async_context(TestClient(server))

        async def get(contact_id, who="handler", query=""):
            path = f"/api/v1/contacts/{contact_id}/verification{query}"
            return await client.get(path, headers={"Authorization": f"Bearer {who}"})

        yield get


async def test_the_answer_has_its_checks_in_words_and_a_proof_that_convinces(world, ask):
    contact_id = await world.call(b"a" * 100_000)
    await world.publish()
    answer = await (await ask(contact_id)).json()
    assert answer["state"] == "anchored"
    assert {check["outcome"] for check in answer["checks"]} == {"passed"}
    assert all(check["text"].endswith(".") for check in answer["checks"])
    key = log_key("archive.example.org", world.ring.log_signing_key)
    for one in answer["proof"]["entries"]:
        proof = decode_proof(one["proof"].encode())
        verify_proof(proof, entry=one["entry"].encode(), key=key)


async def test_one_flipped_bit_is_named(world, ask):
    contact_id = await world.call(b"a" * 100_000)
    await world.publish()
    object_id = (await world.recording_of(contact_id)).object_id
    world.blobs.blobs[object_id][70_000] ^= 1
    answer = await (await ask(contact_id)).json()
    assert answer["state"] == "altered"
    failed = [check for check in answer["checks"] if check["outcome"] == "failed"]
    assert {check["code"] for check in failed} == {"blob_hash", "chunks"}
    assert all(check["about"] == object_id and check["detail"] for check in failed)
    assert "The stored bytes are not those that the log noted when they arrived." in {
        check["text"] for check in failed
    }


async def test_what_is_not_decided_is_not_shown_as_if_it_had_passed(world, ask):
    contact_id = await world.call()
    answer = await (await ask(contact_id)).json()
    waiting = [check for check in answer["checks"] if check["outcome"] == "waiting"]
    assert waiting
    assert all(check["text"].startswith("Not shown yet: “") for check in waiting)


async def test_an_auditor_may_verify_and_an_agent_may_not(world, ask):
    contact_id = await world.call()
    assert (await ask(contact_id, who="auditor")).status == 200
    assert (await ask(contact_id, who="agent")).status == 403


async def test_what_does_not_exist_is_404(ask):
    assert (await ask(new_id("ct"))).status == 404
    assert (await ask("1")).status == 404


async def test_an_unknown_parameter_is_refused(world, ask):
    assert (await ask(await world.call(), query="?quick=1")).status == 400
