"""``/readyz`` over HTTP: 200, or 503 and what is not in order, in words and without details."""

from storage.errors import BrokenError
from tests.system.world import NOBODY


async def test_readyz_names_what_is_not_in_order_and_nothing_else(world):
    answer = await world.ask(NOBODY, "GET", "/readyz")
    assert (answer.status, answer.json) == (200, {"status": "ready", "role": "all"})
    world.archive.stores.soundness.lose(BrokenError("/secret/path"))
    world.service.watch.note("jobs")
    answer = await world.ask(NOBODY, "GET", "/readyz")
    assert answer.status == 503
    assert answer.json["status"] == "not ready"
    assert set(answer.json["problems"]) == {"blobs", "durability", "loops"}
    assert b"secret" not in answer.body
    assert (await world.ask(NOBODY, "GET", "/healthz")).status == 200
