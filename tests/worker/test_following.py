"""A worker understands what others took in: at once when it hears of it, and when it is its turn."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from service.archive.receive import keep_delivery
from service.config.roles import ProcessRole
from service.intake.announcing import Announcer
from service.sharing_out import chores_of
from service.worker.following import Following
from service.worker.housekeeping import KEYS, PEOPLE, Chore
from storage.errors import UnavailableError
from storage.rows import ContactRow
from tests.archive.test_spine import call
from tests.conftest import NOW


@dataclass
class Taken:
    """A turn that is somebody's, or cannot be asked for."""

    answer: bool | Exception = True
    given_back: int = 0

    async def is_mine(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def give_back(self):
        self.given_back += 1


@dataclass
class Process:
    following: Following
    turn: Taken
    able: list[bool] = field(default_factory=lambda: [True])


@pytest.fixture
async def process(archive):
    turn, able = Taken(), [True]
    following = Following(
        archive.understanding,
        archive.stores.news,
        turn,
        lambda: NOW,
        is_able=lambda: able[0],
        look_every=timedelta(seconds=0.05),
    )
    task = asyncio.create_task(following.run())
    yield Process(following, turn, able)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def keep(archive, ident="w-1"):
    return await keep_delivery(
        archive.intake, source="pbx", kind="contact", ident=ident, body=call(ident), now=NOW
    )


async def understood(archive, count=1, *, seconds=5.0):
    async with asyncio.timeout(seconds):
        while await archive.stores.store.count(ContactRow, {}) != count:  # noqa: ASYNC110  # there is nothing to be told by
            await asyncio.sleep(0.01)


async def test_what_is_announced_is_understood_at_once(archive, process):
    process.following.look_every = timedelta(seconds=60)
    await asyncio.sleep(0.1)
    announcer = Announcer(archive.stores.news)
    running = asyncio.create_task(announcer.run())
    announcer.offer(await keep(archive))
    await understood(archive, seconds=5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.usefixtures("process")
async def test_what_nobody_announced_is_found_by_looking(archive):
    await keep(archive)
    await understood(archive)


@pytest.mark.parametrize("answer", [False, UnavailableError("lost")])
async def test_who_has_not_the_turn_stands_by_and_takes_over(archive, process, answer):
    process.turn.answer = answer
    await asyncio.sleep(0.1)
    await keep(archive)
    await asyncio.sleep(0.2)
    assert await archive.stores.store.count(ContactRow, {}) == 0
    process.turn.answer = True
    await understood(archive)


async def test_without_its_keys_a_worker_lets_another_have_the_turn(archive, process):
    process.able[0] = False
    await asyncio.sleep(0.1)
    await keep(archive)
    await asyncio.sleep(0.2)
    assert process.turn.given_back > 0
    assert await archive.stores.store.count(ContactRow, {}) == 0
    process.able[0] = True
    await understood(archive)


async def test_a_storm_is_announced_a_few_times_and_a_deaf_database_stops_nothing(archive):
    class News:
        told = 0

        async def announce_deliveries(self):
            self.told += 1
            if self.told == 1:
                raise UnavailableError("lost")

    news = News()
    announcer = Announcer(news)
    kept = await keep(archive)
    running = asyncio.create_task(announcer.run())
    for _ in range(100):
        announcer.offer(kept)
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    assert 2 <= news.told < 20
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_of_several_workers_one_keeps_house():
    done = []

    def chore(name):
        async def do(_):
            done.append(name)

        return Chore(name, timedelta(seconds=1), do)

    chores = [chore(name) for name in (KEYS, PEOPLE, "reminders")]
    names = {}
    for role, turn in (
        (ProcessRole.ALL, Taken(answer=False)),
        (ProcessRole.DESK, Taken(answer=False)),
        (ProcessRole.WORKER, Taken(answer=False)),
        (ProcessRole.WORKER, Taken(answer=True)),
    ):
        done.clear()
        for one in chores_of(role, chores, turn):
            await one.do(NOW)
        names[role, turn.answer] = list(done)
    assert list(names.values()) == [
        [KEYS, PEOPLE, "reminders"],
        [KEYS, PEOPLE],
        [KEYS],
        [KEYS, PEOPLE, "reminders"],
    ]
