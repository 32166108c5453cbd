"""What runs beside requests goes on when a part of it fails, and ends when it is told to."""

import asyncio
import logging
from datetime import timedelta

import pytest

from service.archive.receive import keep_delivery
from service.worker.interpretation import Interpretation
from service.worker.supervisor import supervised
from storage.rows import ContactRow
from tests.archive.test_spine import call
from tests.conftest import NOW

AT_ONCE = timedelta(0)


async def test_a_loop_that_fails_is_told_of_and_begun_again_while_the_others_go_on(caplog):
    begun, steady, again = 0, 0, asyncio.Event()

    async def failing():
        nonlocal begun
        begun += 1
        if begun == 1:
            raise ZeroDivisionError
        again.set()
        await asyncio.Event().wait()

    async def going_on():
        nonlocal steady
        steady += 1
        await asyncio.Event().wait()

    with caplog.at_level(logging.ERROR):
        async with supervised({"failing": failing, "steady": going_on}, restart_after=AT_ONCE):
            await asyncio.wait_for(again.wait(), 5)
    assert (begun, steady) == (2, 1)
    (record,) = caplog.records
    assert (record.message, record.loop) == ("worker.failed", "failing")
    assert record.exc_info is not None


async def test_a_loop_that_ends_by_itself_is_begun_again(caplog):
    begun, often = 0, asyncio.Event()

    async def ending():
        nonlocal begun
        begun += 1
        if begun == 3:
            often.set()
            await asyncio.Event().wait()

    async with supervised({"ending": ending}, restart_after=AT_ONCE):
        await asyncio.wait_for(often.wait(), 5)
    assert "worker.ended" in caplog.text


@pytest.mark.parametrize("ending", ["the block ends", "the block fails", "cancelled"])
async def test_everything_has_ended_when_the_block_is_left(ending):
    cleaned = []

    async def loop():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def block():
        async with supervised({"a": loop, "b": loop}):
            await asyncio.sleep(0.01)
            if ending == "the block fails":
                raise LookupError
            if ending == "cancelled":
                await asyncio.Event().wait()

    task = asyncio.create_task(block())
    if ending == "cancelled":
        await asyncio.sleep(0.03)
        task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    raised = {"the block fails": LookupError, "cancelled": asyncio.CancelledError}
    assert type(outcome) is raised.get(ending, type(None)), "it comes out as it was raised"
    assert cleaned == [True, True]


async def test_what_waits_to_be_understood_is_understood_before_the_end(archive):
    interpretation = Interpretation(archive.understanding, lambda: NOW)
    async with supervised({"run": interpretation.run}, interpretation=interpretation):
        for n in range(5):
            kept = await keep_delivery(
                archive.intake,
                source="pbx",
                kind="contact",
                ident=f"w-{n}",
                body=call(f"c-{n}"),
                now=NOW,
            )
            interpretation.offer(kept)
    assert await archive.stores.store.count(ContactRow, {}) == 5


async def test_a_backlog_that_takes_too_long_does_not_hold_up_the_end(archive, caplog):
    interpretation = Interpretation(archive.understanding, lambda: NOW)
    kept = await keep_delivery(
        archive.intake, source="pbx", kind="contact", ident="w", body=call(), now=NOW
    )
    async with supervised({}, interpretation=interpretation, drain_for=timedelta(seconds=0.01)):
        interpretation.offer(kept)
    assert "worker.not_drained" in caplog.text
