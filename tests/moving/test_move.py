"""An archive is moved whole, and is the same archive at its new place."""


async def test_first(place, database, bucket, capsys):
    before = place.files()
    code = await place.migrate("--to", database, *bucket)
    assert code == 0
    assert place.files() == before
