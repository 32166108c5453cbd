"""A line of the journal: an event, its fields, where an error was raised; never what somebody else said."""

import io
import json
import logging

import pytest

from service.cli.journal import FOREIGN, JsonLines, TextLines
from service.domain.errors import UnavailableError

SECRET = "+358 40 123 4567 tlt_invented"


def written(formatter, write, *, name="taltio.test"):
    """Return what ``write`` writes into a logger of ``name``."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger(name)  # noqa: LOG001  # of this test alone
    logger.addHandler(handler)
    write(logger)
    return stream.getvalue()


def fail_with(error):
    def write(logger):
        try:
            raise error
        except type(error):
            logger.exception("job.failed", extra={"job": "jo_1"})

    return write


def test_a_line_of_json_has_time_level_event_and_the_fields():
    line = written(
        JsonLines(),
        lambda log: log.warning("backup.late", extra={"hours": 27, "is_first": True}),
    )
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "warning",
        "event": "backup.late",
        "logger": "taltio.test",
        "hours": 27,
        "is_first": True,
    }


def test_a_field_does_not_take_the_place_of_the_head():
    told = json.loads(
        written(JsonLines(), lambda log: log.error("job.dead", extra={"event": "x", "time": 1}))
    )
    assert told["event"] == "job.dead"
    assert told["time"] != 1


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()], ids=["json", "text"])
def test_of_an_error_kind_and_places_are_told_and_its_text_only_if_it_is_ours(formatter):
    foreign = written(formatter, fail_with(KeyError(SECRET)))
    assert "KeyError" in foreign
    assert "test_journal.py" in foreign
    assert SECRET not in foreign
    assert "the disk of bl_1" in written(
        formatter, fail_with(UnavailableError("the disk of bl_1"))
    )


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()], ids=["json", "text"])
def test_what_a_library_says_is_not_repeated(formatter):
    line = written(formatter, lambda log: log.error("no %s", SECRET), name="asyncio")
    assert FOREIGN in line
    assert "asyncio" in line
    assert SECRET not in line
    assert FOREIGN in written(formatter, lambda log: log.error("our own prose %s", SECRET))


@pytest.mark.parametrize("value", ["two\nlines", "\x1b[31m", 'a" b=c', "\u2028", ""])
def test_a_value_stays_on_one_line_whatever_it_is(value):
    for formatter in (JsonLines(), TextLines()):
        line = written(formatter, lambda log: log.error("job.dead", extra={"why": value}))
        assert len(line.splitlines()) == 1
        assert line.isascii()
        assert line[:-1].isprintable()
    assert (
        json.loads(
            written(JsonLines(), lambda log: log.error("job.dead", extra={"why": value}))
        )["why"]
        == value
    )


def test_what_is_no_plain_value_is_told_by_its_kind():
    line = written(
        TextLines(), lambda log: log.error("job.dead", extra={"body": SECRET.encode()})
    )
    assert "body=bytes" in line


def test_several_names_are_told_as_one_text():
    def write(log):
        log.error("job.dead", extra={"files": ["a.key", "b.key"], "rest": [SECRET.encode()]})

    told = json.loads(written(JsonLines(), write))
    assert (told["files"], told["rest"]) == ("a.key b.key", "list")
