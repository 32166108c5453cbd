"""What `storage.ports.Store` promises of finding and counting rows."""

import pytest

from storage.ports import Add, Lookup, Put, Span
from storage.rows import AttentionRow, ContactRow, ContactTokenRow, DeliveryRow


@pytest.fixture
async def contacts(store, rows):
    """Five contacts; the third and the fourth start at the same time."""
    started = [10, 20, 30, 30, 40]
    ended = [None, 25, 31, None, 45]
    state = ["a", "b", "a", "c", "a"]
    found = [
        rows(ContactRow, id=f"ct_{n}", started_at=s, ended_at=e, state=t)
        for n, (s, e, t) in enumerate(zip(started, ended, state, strict=True))
    ]
    await store.commit([Add(row) for row in reversed(found)])
    return found


CONDITIONS = [
    pytest.param({}, [0, 1, 2, 3, 4], id="none"),
    pytest.param({"id": "ct_2"}, [2], id="a value"),
    pytest.param({"id": "ct_9"}, [], id="a value nobody has"),
    pytest.param({"ended_at": None}, [0, 3], id="absent"),
    pytest.param({"id": ["ct_0", "ct_3", "ct_9"]}, [0, 3], id="a list"),
    pytest.param({"id": ("ct_0", "ct_3", "ct_0")}, [0, 3], id="a tuple with a repetition"),
    pytest.param({"id": []}, [], id="an empty list"),
    pytest.param({"ended_at": [25, None]}, [0, 1, 3], id="a list with absent"),
    pytest.param({"ended_at": [None]}, [0, 3], id="a list of absent alone"),
    pytest.param({"started_at": Span(20, 40)}, [1, 2, 3], id="a span"),
    pytest.param({"started_at": Span(30)}, [2, 3, 4], id="a span without end"),
    pytest.param({"started_at": Span(None, 30)}, [0, 1], id="a span without start"),
    pytest.param({"started_at": Span(30, 30)}, [], id="an empty span"),
    pytest.param({"ended_at": Span()}, [0, 1, 2, 3, 4], id="a span of everything"),
    pytest.param({"ended_at": Span(0)}, [1, 2, 4], id="a span leaves out what is absent"),
    pytest.param({"id": Span("ct_1\0")}, [2, 3, 4], id="a span from right behind a text"),
    pytest.param({"id": Span("\0", "ct_1\0x")}, [0, 1], id="a span to right behind a text"),
    pytest.param({"state": "a", "started_at": Span(20)}, [2, 4], id="two conditions"),
    pytest.param({"state": ["a", "c"], "ended_at": None}, [0, 3], id="a list and absent"),
    pytest.param({"state": "a", "id": []}, [], id="a value and an empty list"),
]


@pytest.mark.parametrize(("where", "expected"), CONDITIONS)
async def test_rows_that_meet_every_condition_are_found_and_counted(
    store, contacts, where, expected
):
    assert await store.find(ContactRow, where) == [contacts[n] for n in expected]
    assert await store.count(ContactRow, where) == len(expected)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ((), [0, 1, 2, 3, 4]),
        (("id",), [0, 1, 2, 3, 4]),
        (("-id",), [4, 3, 2, 1, 0]),
        (("started_at",), [0, 1, 2, 3, 4]),
        (("-started_at", "id"), [4, 2, 3, 1, 0]),
        (("-started_at", "-id"), [4, 3, 2, 1, 0]),
        (("ended_at", "id"), [0, 3, 1, 2, 4]),
        (("-ended_at", "id"), [4, 2, 1, 0, 3]),
        (("state", "-started_at"), [4, 2, 0, 1, 3]),
    ],
)
async def test_rows_come_in_the_order_asked_for(store, contacts, order, expected):
    assert await store.find(ContactRow, {}, order=order) == [contacts[n] for n in expected]


@pytest.mark.parametrize("limit", [0, 1, 3, 5, 9])
async def test_no_more_rows_come_than_asked_for(store, contacts, limit):
    assert await store.find(ContactRow, {}, limit=limit) == contacts[:limit]


async def test_the_order_of_a_key_of_several_columns_is_that_of_the_key(store):
    places = [(b"b", 1, "x"), (b"a", 2, "y"), (b"a", 2, "x"), (b"a", 1, "z")]
    tokens = [ContactTokenRow(token=t, started_at=s, contact_id=c) for t, s, c in places]
    await store.commit([Put(token) for token in tokens])
    assert await store.find(ContactTokenRow, {}) == tokens[::-1]


@pytest.mark.parametrize("count", [1, 2, 3, 700, 16_384])
async def test_lists_may_be_long(store, contacts, count):
    ids = [f"ct_{n}" for n in range(count)]
    assert await store.find(ContactRow, {"id": ids}) == contacts[:count]


async def test_a_list_longer_than_engines_take_is_refused(store):
    with pytest.raises(ValueError, match="at the most"):
        await store.find(ContactRow, {"id": [str(n) for n in range(16_385)]})


@pytest.mark.parametrize("text", ["'; DROP TABLE contacts; --", "%", "_", '"', "ct_0\0"])
async def test_values_are_values_whatever_they_say(store, contacts, text):
    assert await store.find(ContactRow, {"id": text}) == []
    assert await store.lookup(Lookup(where={"id": text})) == []
    assert await store.log_about(text) == []
    assert await store.count(ContactRow, {}) == len(contacts)


async def test_text_is_compared_byte_by_byte(store, rows):
    ids = ["A", "a", "B", "ä", "Ä", "Z"]
    await store.commit([Add(rows(AttentionRow, id=name)) for name in ids])
    found = await store.find(AttentionRow, {}, order=("id",))
    assert [row.id for row in found] == sorted(ids, key=str.encode)
    assert len(await store.find(AttentionRow, {"id": "a"})) == 1


async def test_what_was_committed_before_is_seen(store, rows):
    for number in range(1, 20):
        await store.commit([Add(rows(DeliveryRow))])
        assert await store.count(DeliveryRow, {}) == number
