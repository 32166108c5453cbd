"""A captured intake machine opens nothing that was stored before its current session key."""

import asyncio
import hashlib
import os

import aiohttp
import pytest

from service.crypto.recipients import X25519Identity
from service.keys.file import FileKeyProvider
from tests.postgres import new_database
from tests.system.attack import Attack, read_stored, true_secrets
from tests.system.memory import disk_image, read_image
from tests.system.processes import call, deliver, shared_archive, upload
from tests.system.programs import READABLE

SECONDS = 3
SPOKEN = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(5000))


def piece(secret):
    """Return the half by which a key is looked for: neither half of one may be there."""
    return bytes(secret)[: len(secret) // 2], bytes(secret)[len(secret) // 2 :]


def found_of(image, secrets):
    """Return which of the secrets lie in the image, whole or by half, at whatever alignment."""
    return {
        name: places
        for name, secret in secrets.items()
        if (places := [place for half in piece(secret) for place in image.places(half)])
    }


@pytest.mark.slow
@pytest.mark.timeout(400)  # it tries every window of a hundred megabytes
async def test_memory_and_disk_of_intake_open_nothing_from_before_its_session_key(
    cluster, tmp_path
):
    url = await new_database(cluster)
    settings = f"[intake]\nsession_key_seconds = {SECONDS}\n"
    async with shared_archive(tmp_path, url, settings) as shared:
        if os.geteuid():
            shared.command = READABLE
        worker = await shared.prepare()
        intake = await shared.start("intake")
        async with aiohttp.ClientSession() as client:
            for number in range(30):
                assert await deliver(client, intake.address, f"early-{number}") == 200
            token = shared.tokens["integration"]
            assert await upload(client, intake.address, "early-0", token, SPOKEN) == 200
            early = await read_stored(url)
            await asyncio.sleep(SECONDS + 1.5)
            assert await deliver(client, intake.address, "late") == 200
        stored = await read_stored(url)
        (late,) = stored.sessions.keys() - early.sessions.keys()
        image = read_image(intake.process.pid)
        of_worker = read_image(worker.process.pid)

    keys = FileKeyProvider(tmp_path / "keys", archive=tmp_path / "data").load()
    identity = keys.epochs[0].keys.identity
    recipient = identity.recipient.public
    before, now = stored.of(*early.sessions), stored.of(late)
    assert len(before.sealed) == 31
    assert image.size_bytes > 20_000_000

    # What is looked for, and how, is found where it is: the epoch's secret in the worker's memory.
    assert isinstance(identity, X25519Identity)
    near = of_worker.around(identity.secret, 500_000)
    told, _ = Attack(before, recipient).opened(near)
    assert "the secret of a recipient or stanza" in told

    # Of everything that was ever stored, intake's memory opens what its current session stored, and no more.
    told, count = Attack(stored, recipient).opened(image)
    assert told == {f"the key of session {late}"}
    assert count > 10_000

    # Looked for at every alignment, neither half of any key of before is there, nor what was sent and said.
    assert f"{late} key" in found_of(image, true_secrets(now, identity))
    assert not found_of(image, true_secrets(before, identity))
    assert not found_of(image, {"epoch": identity.secret, "master": keys.index_master})
    assert not image.places(call("early-3"))
    assert not image.places(SPOKEN[80_000:80_032])

    # The same of its disk: settings, the one key file, the secret of a source.
    disk = disk_image(shared.outside)
    names = {os.path.relpath(name, shared.outside) for name, _ in disk.ranges}
    assert names == {"config.toml", "hook.secret", "keys/epoch-000001.intake"}
    assert not found_of(disk, true_secrets(stored, identity))
    assert Attack(stored, recipient).opened(disk)[0] == set()
