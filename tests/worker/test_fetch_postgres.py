"""What holds of fetching on SQLite holds on PostgreSQL, where what the store says matters."""

import asyncio
from dataclasses import replace

import pytest

from service.config import PostgresUrl
from tests.postgres import new_database
from tests.worker.test_fetch_job import (
    test_a_new_url_begins_what_was_given_up_anew,
    test_a_new_url_is_not_put_off_by_the_old_one_that_fails_meanwhile,
    test_after_a_late_success_nothing_is_left_to_be_looked_at,
    test_killed_at_any_step_it_goes_on_and_there_is_one_recording,
    test_one_that_is_also_delivered_is_there_once,
    test_two_at_once_bring_one_recording_whatever_the_server_answers,
    test_what_becomes_of_it_verifies,
    test_what_is_announced_again_is_fetched_once,
    test_what_is_announced_is_expected_fetched_and_then_as_if_it_had_been_delivered,
)

__all__ = [
    "test_a_new_url_begins_what_was_given_up_anew",
    "test_a_new_url_is_not_put_off_by_the_old_one_that_fails_meanwhile",
    "test_after_a_late_success_nothing_is_left_to_be_looked_at",
    "test_killed_at_any_step_it_goes_on_and_there_is_one_recording",
    "test_one_that_is_also_delivered_is_there_once",
    "test_two_at_once_bring_one_recording_whatever_the_server_answers",
    "test_what_becomes_of_it_verifies",
    "test_what_is_announced_again_is_fetched_once",
    "test_what_is_announced_is_expected_fetched_and_then_as_if_it_had_been_delivered",
]


@pytest.fixture
def config(config, cluster):
    rows, keys = (PostgresUrl(asyncio.run(new_database(cluster))) for _ in range(2))
    return replace(config, storage=replace(config.storage, database=rows, keys=keys))


async def test_it_is_postgresql(archive):
    assert isinstance(archive.config.storage.database, PostgresUrl)
