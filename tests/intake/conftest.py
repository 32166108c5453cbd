import base64
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from service.config import Config, parse_config
from service.domain.actor import OPERATOR, Role
from service.domain.times import to_microseconds
from service.http.frame import RUNNER_OPTIONS
from service.serving import Service, build_service
from service.wiring import Archive
from tests.archive.test_spine import call

KEY, OLD_KEY = b"invented-and-long-enough-now", b"invented-and-long-enough-then"
SECRET, OLD_SECRET = (
    "invented-and-sent-with-each-one-now",
    "invented-and-sent-with-each-one-then",
)
TWILIO_TOKEN = "0123456789abcdef0123456789abcdef"
SOURCES = """
[web]
public_url = "https://arkisto.example.fi"

[[sources]]
name = "hook"
kind = "standard-webhooks"
secret_file = "new.secret"
previous_secret_file = "old.secret"

[[sources]]
name = "switch"
kind = "freeswitch"
secret_file = "switch.secret"
previous_secret_file = "before.secret"

[[sources]]
name = "bus"
kind = "cloudevents"
secret_file = "switch.secret"

[[sources]]
name = "cloud"
kind = "twilio"
secret_file = "cloud.secret"

[[sources]]
name = "pbx"
kind = "api"
"""


@pytest.fixture
def config(tmp_path) -> Config:
    for name, key in [("new", KEY), ("old", OLD_KEY)]:
        file = tmp_path / f"{name}.secret"
        file.write_text("whsec_" + base64.b64encode(key).decode())
        file.chmod(0o400)
    for name, secret in [("switch", SECRET), ("before", OLD_SECRET), ("cloud", TWILIO_TOKEN)]:
        file = tmp_path / f"{name}.secret"
        file.write_text(f"{secret}\n")
        file.chmod(0o400)
    return parse_config(SOURCES, base=tmp_path)


@dataclass
class Door:
    """The service on loopback; what is delivered is understood when a test says so."""

    archive: Archive
    service: Service
    client: TestClient

    async def token(self, role: Role = Role.INTEGRATION, source: str | None = None) -> str:
        made = await self.archive.access.tokens.create(
            "test", role=role, by=OPERATOR, now=datetime.now(UTC), source=source
        )
        return made.secret

    async def post(
        self, body: bytes = call(), *, source: str = "hook", headers: Any = None, **signing: Any
    ):
        return await self.client.post(
            f"/intake/{source}",
            data=body,
            headers=signed(body, **signing) if headers is None else headers,
        )

    async def understand(self) -> None:
        now = datetime.now(UTC)
        await self.archive.understanding.catch_up(
            now=now, received_before=to_microseconds(now) + 1
        )


def signed(
    body: bytes,
    *,
    ident: str = "msg_1",
    key: bytes = KEY,
    at: datetime | None = None,
    **more: str,
) -> dict[str, str]:
    """Sign by the definition (Standard Webhooks, "Signature scheme")."""
    stamp = str(int((at or datetime.now(UTC)).timestamp()))
    mac = hmac.new(key, f"{ident}.{stamp}.".encode() + body, "sha256").digest()
    return {
        "webhook-id": ident,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


@pytest.fixture
async def door(archive: Archive) -> AsyncIterator[Door]:
    service = build_service(archive)
    server = TestServer(service.app)
    await server.start_server(**RUNNER_OPTIONS)
    async with TestClient(server) as client:
        yield Door(archive, service, client)
