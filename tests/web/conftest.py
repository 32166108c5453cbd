import pytest
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer

from service.http.frame import RUNNER_OPTIONS
from tests.fakes import PASSWORD, opened_door
from tests.web.world import NOW, FakeDesk, build


@pytest.fixture
def desk():
    return FakeDesk()


@pytest.fixture
async def door(tmp_path):
    async with opened_door(tmp_path) as opened:
        opened.clock.now = NOW
        yield opened


@pytest.fixture
async def visit(desk, door):
    """A browser without a window that has not signed in; it follows no redirect."""
    server = TestServer(build(desk, door))
    await server.start_server(**RUNNER_OPTIONS)
    async with TestClient(server, cookie_jar=DummyCookieJar()) as client:
        yield Visit(client)


@pytest.fixture
async def handler(visit, door):
    """The same, signed in as a complaint handler."""
    await visit.come_in(door, "aino")
    return visit


class Visit:
    """Sends what a browser would, and remembers the token of the forms it was shown."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.headers = {"Accept": "text/html", "Accept-Language": "en"}
        self.csrf = ""

    async def come_in(self, door, login, *roles):
        await door.person(login, *roles)
        answer = await self.post("/sign-in", login=login, password=PASSWORD)
        assert answer.status == 303
        secret = answer.cookies["taltio"].value
        self.csrf = (await door.session(secret)).csrf
        self.headers["Cookie"] = f"taltio={secret}"

    async def get(self, path, **headers):
        return await self.client.get(
            path, headers={**self.headers, **headers}, allow_redirects=False
        )

    async def post(self, path, **fields):
        data = {"csrf": self.csrf, **fields}
        return await self.client.post(
            path, data=data, headers=self.headers, allow_redirects=False
        )

    async def see(self, path, **headers):
        answer = await self.get(path, **headers)
        return await answer.text()
