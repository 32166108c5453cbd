"""An archive is moved whole, and is the same archive at its new place."""

import json
from dataclasses import replace

import pytest

from service.cli.commands import build_parser
from service.cli.export_command import export
from service.domain.actor import Role
from service.domain.errors import InvalidInputError, UnavailableError
from service.log.checkpoint import decode_checkpoint
from service.moving.record import Move, MoveRecord, State
from service.wiring import held_alone, opened_archive, opened_stores
from storage import tables
from storage.errors import ConflictError, StorageError
from storage.moving import KEYS, ROWS
from storage.ports import Put
from storage.rows import ErasureRow, ObjectRow
from tests.moving.conftest import LONG
from tests.postgres import execute, new_database
from tests.system.world import AUDIO


async def seen(world):
    """Return what people find, hear and verify in the archive."""
    handler = await world.token(Role.COMPLAINT_HANDLER)
    found = {}
    for query in (
        "phone=0401234567",
        "customer_number=1001",
        "agent=A-17&channel=call",
        "limit=200",
    ):
        answer = await world.ask(handler, "GET", f"/api/v1/contacts?{query}")
        found[query] = [one["id"] for one in answer.json["contacts"]]
    shown = {}
    for name in ("contact", "held", "asked", "erased"):
        answer = await world.ask(handler, "GET", f"/api/v1/contacts/{world.ids[name]}")
        # Who opened it is asked below: looking adds to that.
        shown[name] = {n: v for n, v in answer.json.items() if n != "openings"}
    path = f"/api/v1/contacts/{world.ids['contact']}/verification"
    verdict = (await world.ask(handler, "GET", path)).json
    grant = await world.grant(handler)
    heard = await world.ask(
        handler,
        "GET",
        f"/api/v1/recordings/{world.ids['recording']}/content",
        Access_Grant=grant,
    )
    order = {"contact": world.ids["held"], "ground": "data_subject_request"}
    dpo = await world.token(Role.DPO)
    refused = await world.ask(dpo, "POST", "/api/v1/erasures", body=order)
    checks = [(one["code"], one["outcome"]) for one in verdict["checks"]]
    return {
        "found": found,
        "shown": shown,
        "verdict": (verdict["state"], checks),
        "heard": heard.body,
        "erasing what is held": refused.status,
        "attention": (await world.ask(handler, "GET", "/api/v1/attention")).json,
    }


async def openings(world):
    """Return when the archive's contact was opened."""
    handler = await world.token(Role.COMPLAINT_HANDLER)
    shown = await world.ask(handler, "GET", f"/api/v1/contacts/{world.ids['contact']}")
    return {one["opened_at"] for one in shown.json["openings"]}


async def exported(place, folder):
    words = ["contacts", "export", place.ids["contact"], "--format", "vcon"]
    more = [
        "--out",
        str(folder),
        "--actor",
        "aino",
        "--purpose",
        "data_subject_request",
        "--request",
        "R-1",
    ]
    assert await export(place.config, build_parser().parse_args([*words, *more])) == 0
    (vcon,) = folder.rglob("contact.vcon")
    return json.loads(vcon.read_bytes())["dialog"]


async def test_it_is_the_same_archive_afterwards(place, database, bucket, capsys, tmp_path):
    async with place.opened() as world:
        before = await seen(world)
        opened = await openings(world)
        await world.service.keeper.publish(now=world.now)
        last = decode_checkpoint((place.data / "log/checkpoint").read_bytes())
    assert before["heard"] == AUDIO
    dialog = await exported(place, tmp_path / "before")
    files = place.files()

    assert await place.migrate("--to", database, *bucket) == 0

    assert place.files() == files
    place.settle_as_told(capsys.readouterr().out)
    async with place.opened() as world:
        assert await openings(world) >= opened > set()
        assert await seen(world) == before
        await world.service.keeper.publish(now=world.now)
    assert await exported(place, tmp_path / "after") == dialog
    now = decode_checkpoint((place.data / "log/checkpoint").read_bytes())
    assert (now.origin, now.size > last.size) == (last.origin, True)
    assert not list(place.data.glob("log-*")), "another log was begun"


async def test_what_came_after_the_move_is_kept_at_the_new_place(
    place, database, bucket, capsys
):
    assert await place.migrate("--to", database, *bucket) == 0
    place.settle_as_told(capsys.readouterr().out)
    async with place.opened() as world:
        sender = await world.token(Role.INTEGRATION)
        contact_id = await world.new_contact()
        stored = await world.ask(
            sender,
            "PUT",
            f"/api/v1/contacts/{contact_id}/recordings/b.wav",
            body=LONG,
            Content_Type="audio/wav",
        )
        assert stored.status == 201
    old = len(list((place.data / "blobs").rglob("*")))
    place.settle()
    assert await place.migrate("--to", database, *bucket) == 0
    assert "moved already" in capsys.readouterr().out
    assert len(list((place.data / "blobs").rglob("*"))) == old


async def test_rows_go_alone_and_blobs_later(place, database, capsys, tmp_path):
    assert await place.migrate("--to", database) == 0
    told = capsys.readouterr().out
    assert "blobs" not in told.split("[storage]")[1].split("\n\n")[0]
    line = told.split("\n[storage]\n")[1].split("\n")[0]
    place.settle_as_told(told)
    async with place.opened() as world:
        first = await seen(world)
    assert await place.migrate(f"--blobs={(tmp_path / 'elsewhere').as_uri()}") == 0
    told = capsys.readouterr().out
    place.settle(line, told.split("\n[storage]\n")[1].split("\n")[0])
    async with place.opened() as world:
        assert await seen(world) == first
    place.settle(line)
    with pytest.raises(UnavailableError, match="was moved from file:"):
        async with opened_archive(place.config):
            pass


async def test_keys_go_to_a_database_of_their_own(place, database, cluster, capsys):
    apart = await new_database(cluster)
    assert await place.migrate("--to", database, "--keys", apart) == 0
    place.settle_as_told(capsys.readouterr().out)
    assert str(place.config.storage.keys) == apart
    async with place.opened() as world:
        assert (await seen(world))["heard"] == AUDIO


async def test_a_dry_run_tells_and_changes_nothing(place, database, bucket, capsys):
    before = place.files()
    assert await place.migrate("--to", database, *bucket, "--dry-run") == 0
    told = capsys.readouterr().out
    assert "log entries" in told
    assert "10 blobs (2.2 MB)" in told
    assert place.files() == before
    assert not (place.data / "moved.json").exists()
    async with opened_archive(place.config):
        pass
    assert await place.migrate("--to", database, *bucket) == 0


def test_every_table_is_moved():
    moved = {one.name for one in (*ROWS, *KEYS)}
    there = {*tables.ARCHIVE.tables, *tables.KEYS.tables}
    assert there - moved == {"commit_marks"}
    assert moved <= there


async def test_the_old_place_is_refused_afterwards(place, database, bucket):
    assert await place.migrate("--to", database, *bucket) == 0
    with pytest.raises(UnavailableError, match="two histories of one log"):
        async with opened_stores(place.config, create=False):
            pass


async def test_a_move_is_taken_back_while_nothing_was_written(place, database, bucket, capsys):
    async with place.opened() as world:
        before = await seen(world)
    assert await place.migrate("--to", database, *bucket) == 0
    told = capsys.readouterr().out
    assert await place.migrate("--back") == 0
    async with place.opened() as world:
        assert await seen(world) == before
    place.settle_as_told(told)
    with pytest.raises(StorageError, match="being moved there"):
        async with opened_stores(place.config, create=False):
            pass
    place.settle()
    # What was written at the old place meanwhile goes over too.
    assert await place.migrate("--to", database, *bucket) == 0
    place.settle_as_told(told)
    async with place.opened() as world:
        assert await seen(world) == before


async def test_a_move_is_not_taken_back_once_something_was_written(
    place, database, bucket, capsys
):
    assert await place.migrate("--to", database, *bucket) == 0
    told = capsys.readouterr().out
    place.settle_as_told(told)
    async with place.opened() as world:
        await world.new_contact()
    place.settle()
    assert await place.migrate("--back") == 1
    assert "rows at the new place" in capsys.readouterr().out
    with pytest.raises(UnavailableError, match="was moved"):
        async with opened_stores(place.config, create=False):
            pass
    place.settle_as_told(told)
    async with place.opened() as world:
        assert (await seen(world))["heard"] == AUDIO


async def test_blobs_alone_are_not_taken_back_once_one_was_added(place, capsys, tmp_path):
    assert await place.migrate(f"--blobs={(tmp_path / 'elsewhere').as_uri()}") == 0
    told = capsys.readouterr().out
    place.settle_as_told(told)
    async with place.opened() as world:
        await world.new_contact()
    place.settle()
    assert await place.migrate("--back") == 1
    assert "is at the new place alone" in capsys.readouterr().out


async def test_nothing_to_take_back(place):
    with pytest.raises(InvalidInputError, match="nothing was moved"):
        await place.migrate("--back")


async def test_an_archive_that_is_in_use_is_not_moved(place, database):
    with (
        held_alone(place.config),
        pytest.raises(StorageError, match="another service already runs"),
    ):
        await place.migrate("--to", database)


async def test_an_erasure_that_is_half_done_is_finished_first(place, database):
    async with opened_archive(place.config) as archive:
        (row, *_) = await archive.stores.store.find(ErasureRow, {"state": "requested"})
        await archive.stores.store.commit([Put(replace(row, state="erasing"))])
    with pytest.raises(UnavailableError, match="erasure is not finished"):
        await place.migrate("--to", database)
    async with opened_archive(place.config) as archive:
        assert archive.config.storage.database.scheme == "sqlite"


class TestRefused:
    """What is refused before anything is changed."""

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            ((), "name where"),
            (("--to", "sqlite:///elsewhere.db"), "from SQLite to PostgreSQL"),
            (("--keys", "postgresql://taltio@/k?host=/run"), "name where"),
            (("--to", "postgresql://taltio@db.example.org/a"), "sslmode=verify-full"),
            (("--blobs", "s3://archive"), "needs region"),
            (("--blobs", "s3://archive", "--region", "us-east-1"), "European Economic Area"),
            (
                (
                    "--blobs",
                    "s3://a1b",
                    "--region",
                    "x",
                    "--endpoint",
                    "https://s3.example.com",
                    "--country",
                    "US",
                ),
                "not in the European Economic Area",
            ),
            (("--blobs", "http://archive"), "expected file"),
            (("--back", "--blobs", "s3://archive"), "takes nothing else"),
        ],
    )
    async def test_words(self, place, words, why):
        before = place.files()
        with pytest.raises(InvalidInputError, match=why):
            await place.migrate(*words)
        assert place.files() == before
        assert not (place.data / "moved.json").exists()

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://taltio:hunter2@127.0.0.1/archive",
            "postgresql://taltio@127.0.0.1/archive?password=hunter2",
        ],
    )
    async def test_a_password_on_the_command_line(self, place, url, capsys):
        with pytest.raises(InvalidInputError) as refusal:
            await place.migrate("--to", url)
        assert "hunter2" not in refusal.value.detail
        assert "passfile" in refusal.value.detail
        assert "hunter2" not in "".join(capsys.readouterr())

    async def test_a_database_that_holds_another_archive(self, place, database, bucket, capsys):
        assert await place.migrate("--to", database, *bucket) == 0
        (place.data / "moved.json").unlink()
        capsys.readouterr()
        with pytest.raises(ConflictError, match="is not empty"):
            await place.migrate("--to", database)
        async with opened_archive(place.config):
            pass

    async def test_a_database_into_which_another_archive_is_being_moved(self, place, database):
        await execute(database, "CREATE SCHEMA taltio; CREATE TABLE taltio.moving (move text)")
        await execute(database, "INSERT INTO taltio.moving VALUES ('other')")
        with pytest.raises(ConflictError, match="another move"):
            await place.migrate("--to", database)
        async with opened_archive(place.config):
            pass

    async def test_a_place_for_blobs_that_is_not_empty(self, place, tmp_path):
        taken = tmp_path / "taken"
        for name in (taken, taken / "ab"):
            name.mkdir()
        (taken / "ab" / "ob_ab").write_bytes(b"somebody's")
        with pytest.raises(ConflictError, match="is not empty"):
            await place.migrate(f"--blobs={taken.as_uri()}")
        async with opened_archive(place.config) as archive:
            assert await archive.stores.store.count(ObjectRow, {}) > 0

    async def test_another_target_while_a_move_is_under_way(self, place, database):
        MoveRecord(place.data).put(
            Move("m", State.MOVING, ("x",), {"database": "postgresql://a@/b"})
        )
        with pytest.raises(UnavailableError, match="is under way"):
            await place.migrate("--to", database)
