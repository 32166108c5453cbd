"""The hosts of a URL, and the first that answers: a frozen one does not keep the others waiting."""

import asyncio
import socket
import time

import pytest

from storage.database.postgres import hosts
from storage.database.postgres.hosts import Host, first_of, hosts_of
from storage.database.postgres.server import Server
from storage.errors import UnavailableError


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgresql://u@one/db", [Host("one", 5432)]),
        ("postgresql://u@one,two/db", [Host("one", 5432), Host("two", 5432)]),
        ("postgresql://u@one:1,two:2/db", [Host("one", 1), Host("two", 2)]),
        ("postgresql://u@one,two/db?port=1,2", [Host("one", 1), Host("two", 2)]),
        ("postgresql://u@one,two/db?port=7", [Host("one", 7), Host("two", 7)]),
        ("postgresql://[::1]:5433,[fd00::2]/db", [Host("::1", 5433), Host("fd00::2", 5432)]),
        ("postgresql://u@/db?host=/run/a,/run/b", [Host("/run/a", 5432), Host("/run/b", 5432)]),
        ("postgresql://u@/db?host=/run/a&port=6", [Host("/run/a", 6)]),
        ("postgresql:///db", [Host("/run/postgresql", 5432)]),
        ("postgresql://u@/db?port=7", [Host("/run/postgresql", 7)]),
        ("postgresql://%2Frun%2Fa/db", [Host("/run/a", 5432)]),
    ],
)
def test_hosts_are_read_as_libpq_does(url, wanted):
    assert hosts_of(url) == wanted


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(hosts, "NEXT_SECONDS", 0.05)


class Attempts:
    """Attempts that are told beforehand how they go."""

    def __init__(self):
        self.begun, self.discarded = [], []

    def __call__(self, name, *, seconds=0.0, fails=False):
        async def attempt():
            self.begun.append(name)
            await asyncio.sleep(seconds)
            if fails:
                raise ConnectionError(name)
            return name

        return attempt

    async def first_of(self, *attempts):
        return await first_of(attempts, discard=self.discarded.append)


@pytest.fixture
def attempts():
    return Attempts()


async def test_the_first_that_is_fit_is_taken_and_no_other_asked(attempts):
    assert await attempts.first_of(attempts("a"), attempts("b")) == "a"
    assert attempts.begun == ["a"]


async def test_after_one_that_fails_comes_the_next_at_once(attempts, monkeypatch):
    monkeypatch.setattr(hosts, "NEXT_SECONDS", 30)
    asked = attempts.first_of(attempts("a", fails=True), attempts("b"))
    assert await asyncio.wait_for(asked, 5) == "b"


async def test_one_that_does_not_answer_keeps_nobody_from_the_next(attempts):
    begun = time.monotonic()
    assert await attempts.first_of(attempts("a", seconds=30), attempts("b")) == "b"
    assert time.monotonic() - begun < 5


async def test_one_that_answers_late_is_still_taken_where_no_other_is_fit(attempts):
    asked = attempts.first_of(attempts("a", seconds=0.2), attempts("b", fails=True))
    assert await asked == "a"


async def test_of_two_that_answer_at_once_one_is_discarded(attempts):
    a, b = attempts("a", seconds=0.1), attempts("b", seconds=0.05)
    taken = await attempts.first_of(a, b)
    # At the very same moment, or the other one was ended before.
    assert {taken, *attempts.discarded} <= {"a", "b"}
    assert taken not in attempts.discarded


async def test_where_none_is_fit_the_last_failure_is_raised(attempts):
    with pytest.raises(ConnectionError, match="b"):
        await attempts.first_of(attempts("a", fails=True), attempts("b", fails=True))


async def test_who_is_cancelled_leaves_nothing_under_way(attempts):
    before = asyncio.all_tasks()
    asking = asyncio.create_task(attempts.first_of(attempts("a", seconds=30)))
    await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sslmode=verify-full&sslrootcert=/absent/ca.pem", "No such file or directory"),
        ("sslmode=disable", "ConnectionRefusedError"),
    ],
)
async def test_why_no_connection_came_about_is_told(query, told):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://t@127.0.0.1:{nobody.getsockname()[1]}/taltio?{query}"
        with pytest.raises(UnavailableError) as caught:
            await Server(url, "taltio").connect()
    assert told in str(caught.value)
