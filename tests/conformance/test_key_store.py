"""What `storage.ports.KeyStore` promises."""

import asyncio
import random
from dataclasses import replace

import pytest

from storage.database.group import GroupKeys
from storage.errors import StaleError, StorageError
from storage.rows import CLOSED, KeyRow


def files_of(tmp_path):
    """Return the bytes of every file that the store has."""
    return b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())


async def test_keys_come_back_as_they_were_put(keys, rows):
    put = [rows.key(), rows.key(wrapped=b""), rows.key(wrapped=b"x" * 9000, made_at=0)]
    await keys.put_keys(put)
    assert await keys.get_keys([key.id for key in put]) == {key.id: key for key in put}


async def test_keys_that_do_not_exist_are_left_out(keys, rows):
    key = rows.key()
    await keys.put_keys([key])
    assert await keys.get_keys(["none", key.id]) == {key.id: key}
    assert await keys.get_keys([]) == {}
    assert await keys.get_keys([f"{key.id}\0", "\0", key.id]) == {key.id: key}


@pytest.mark.parametrize("size", [1, 55, 56, 200, 5000])
async def test_a_key_that_exists_is_replaced(keys, rows, size):
    key = rows.key()
    other = replace(key, wrapped=b"n" * size, wrapped_by="epoch:22", made_at=5)
    await keys.put_keys([key])
    await keys.put_keys([other, rows.key()])
    assert await keys.get_keys([key.id]) == {key.id: other}
    assert await keys.count_keys() == {"epoch:22": 1, "epoch:1": 1}


async def test_a_key_twice_in_one_call_is_the_last_of_them(keys, rows):
    key = rows.key()
    await keys.put_keys([key, replace(key, wrapped=b"last")])
    assert (await keys.get_keys([key.id]))[key.id].wrapped == b"last"


async def test_keys_are_found_by_what_opens_them_page_by_page(keys, rows):
    put = [rows.key(wrapped_by=f"epoch:{n % 2}") for n in range(20)]
    await keys.put_keys(put[::-1])
    first = await keys.find_keys("epoch:1", limit=6)
    rest = await keys.find_keys("epoch:1", after=first[-1].id)
    assert [*first, *rest] == put[1::2]
    assert len(first) == 6
    assert await keys.find_keys("epoch:9") == []


async def test_keys_are_counted_by_what_opens_them(keys, rows):
    assert await keys.count_keys() == {}
    await keys.put_keys([rows.key(wrapped_by=by) for by in ("epoch:1", "epoch:2", "epoch:1")])
    assert await keys.count_keys() == {"epoch:1": 2, "epoch:2": 1}


@pytest.mark.parametrize("size", [40, 39, 41, 500])
async def test_only_keys_that_still_exist_are_replaced(keys, rows, size):
    there, gone = rows.key(), rows.key()
    await keys.put_keys([there, gone])
    await keys.destroy_keys([gone.id])
    new = replace(there, wrapped=b"n" * size, wrapped_by="epoch:2")
    await keys.replace_keys([new, replace(gone, wrapped_by="epoch:2")])
    assert await keys.get_keys([there.id, gone.id]) == {there.id: new}


async def test_a_destroyed_key_is_gone_and_destroying_it_again_is_not_an_error(keys, rows):
    put = [rows.key() for _ in range(3)]
    await keys.put_keys(put)
    await keys.destroy_keys([put[1].id, "none"])
    await keys.destroy_keys([put[1].id])
    assert await keys.get_keys([key.id for key in put]) == {
        put[0].id: put[0],
        put[2].id: put[2],
    }
    assert await keys.find_keys("epoch:1") == [put[0], put[2]]
    assert await keys.count_keys() == {"epoch:1": 2}


async def test_a_destroyed_key_can_be_put_anew(keys, rows):
    key = rows.key()
    await keys.put_keys([key])
    await keys.destroy_keys([key.id])
    await keys.put_keys([key])
    assert await keys.get_keys([key.id]) == {key.id: key}


async def test_no_file_holds_the_bytes_of_a_destroyed_key(sqlite_keys, rows, tmp_path):
    put = [rows.key() for _ in range(50)]
    await sqlite_keys.put_keys(put)
    assert all(key.wrapped in files_of(tmp_path) for key in put)
    await sqlite_keys.destroy_keys([key.id for key in put[::2]])
    left = files_of(tmp_path)
    assert [key.wrapped in left for key in put] == [False, True] * 25


# With rows that are deleted instead of emptied, both of these leave copies.
@pytest.mark.parametrize("seed", [3, 4])
async def test_no_copy_of_a_destroyed_key_is_left_by_the_growth_of_the_store(
    sqlite_keys, rows, tmp_path, seed
):
    chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
    held = {}
    for _ in range(30):
        fresh = [
            rows.key(
                wrapped=chance.randbytes(
                    chance.choice([40, 40, 40, 257, 1700, 3850, 4000, 9000])
                ),
                wrapped_by=chance.choice(["epoch:1", "epoch:12", "is_abcdefghijkl"]),
            )
            for _ in range(chance.randrange(1, 60))
        ]
        await sqlite_keys.put_keys(fresh)
        held.update({key.id: key for key in fresh})
        rotated = chance.sample(sorted(held), k=len(held) // 9)
        new = [replace(held[one], wrapped=chance.randbytes(44)) for one in rotated]
        destroyed = [held[one] for one in rotated]
        await sqlite_keys.replace_keys(new)
        held.update({key.id: key for key in new})
        gone = chance.sample(sorted(held), k=int(len(held) * chance.random() * 0.9))
        await sqlite_keys.destroy_keys(gone)
        destroyed += [held.pop(one) for one in gone]
        left = files_of(tmp_path)
        # A long key lies on several pages, so look for its beginning.
        assert not [key for key in destroyed if key.wrapped[:32] in left]
        assert all(key.wrapped[:32] in left for key in held.values())


def closed(wrapper):
    return KeyRow(id=wrapper, kind=CLOSED, wrapped_by="", wrapped=b"", made_at=1)


async def test_nothing_is_stored_under_a_wrapper_that_is_closed(keys, rows):
    before, other = rows.key(), rows.key(wrapped_by="epoch:2")
    await keys.put_keys([before])
    await keys.put_keys([closed("epoch:1")])
    with pytest.raises(StaleError):
        await keys.put_keys([other, rows.key()])
    with pytest.raises(StaleError):
        await keys.replace_keys([replace(before, wrapped=b"anew")])
    await keys.put_keys([other])
    assert await keys.get_keys([before.id, other.id]) == {before.id: before, other.id: other}
    assert await keys.count_keys() == {"epoch:1": 1, "epoch:2": 1}


async def test_a_key_can_be_moved_away_from_a_wrapper_that_is_closed(keys, rows):
    left = rows.key()
    await keys.put_keys([left])
    await keys.put_keys([closed("epoch:1"), closed("epoch:1")])
    await keys.replace_keys([replace(left, wrapped_by="epoch:2")])
    assert await keys.count_keys() == {"epoch:2": 1}


async def test_of_those_that_put_together_only_the_late_ones_are_refused(keys, rows):
    await keys.put_keys([closed("epoch:1")])
    late, good = rows.key(), rows.key(wrapped_by="epoch:2")
    async with GroupKeys.opened(keys) as group:
        outcomes = await asyncio.gather(
            group.put_keys([late]), group.put_keys([good]), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [StaleError, type(None)]
    assert await keys.get_keys([late.id, good.id]) == {good.id: good}


async def test_a_bad_key_is_refused_with_its_neighbours(keys, rows):
    with pytest.raises(StorageError):
        await keys.put_keys([rows.key(), rows.key(kind=b"bytes")])
    assert await keys.count_keys() == {}
