"""Killed at any step and run again, a provider ends as if it had run once, whatever keeps its secrets.

Each attempt is a child process that leaves without any clean-up at its n-th system call.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.crypto.recipients import X25519Identity
from service.crypto.secret import FileKey
from service.crypto.wrap import new_key
from service.keys.epoch import EpochState, KeyMaterial
from service.keys.errors import KeysMissingError
from service.keys.file import FileKeyProvider
from service.keys.move import move_keys
from service.keys.ring import KeyRing
from service.keys.safe import PlainSafe, Safe
from tests.crypto.age_file import open_file

# The child runs nothing but the action, so that threads of the test runner do not matter.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

_OFFLINE = X25519Identity(bytes(range(32)))
_STEPS = ["open", "fsync", "link", "unlink", "mkdir", "chmod", "close"]


def _provider(places: tuple[Path, Path], safe: Safe) -> FileKeyProvider:
    # The child may use the token's process of its parent, which waits for it and asks nothing meanwhile.
    return FileKeyProvider(places[0], archive=places[1], escrow=[_OFFLINE.recipient], safe=safe)


def _run_until(step: int, action: Callable[[], object]) -> bool:
    """Run ``action`` in a child that dies before its ``step``-th step; tell whether it ended."""
    child = os.fork()
    if child == 0:
        _die_before(step)
        try:
            action()
        except BaseException:  # noqa: BLE001  # the child must never return to the test
            os._exit(2)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, 9}
    return code == 0


def _die_before(step: int) -> None:
    left = [step]

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return original(*arguments, **options)

        return call

    for name in _STEPS:
        setattr(os, name, counted(name))


def _every_step(
    places: tuple[Path, Path],
    safe: Safe,
    prepare: Callable[[FileKeyProvider], object],
    action: Callable[[FileKeyProvider], object],
    check: Callable[[FileKeyProvider, bool], None],
) -> None:
    """Kill ``action`` before each of its steps in turn, on fresh directories."""
    for step in range(500):
        fresh = (places[0] / str(step) / "keys", places[1])
        provider = _provider(fresh, safe)
        prepare(provider)
        has_ended = _run_until(step, lambda provider=provider: action(provider))
        check(provider, has_ended)
        if has_ended:
            assert step > 20
            return
    raise AssertionError("the action never ended")


def _nothing(_: FileKeyProvider) -> None:
    pass


def _secrets(provider: FileKeyProvider) -> KeyMaterial:
    return replace(provider.load(), usable_until=None)


def _require_complete(provider: FileKeyProvider) -> KeyRing:
    material = provider.load()
    directory, safe = provider._directory, provider._safe
    names = directory.names()
    for epoch in material.epochs:
        if epoch.keys is not None:
            base = f"epoch-{epoch.number:06d}"
            assert {f"{base}.{safe.suffix}", f"{base}.intake", f"{base}.escrow.age"} <= names
            escrow = open_file((directory.path / f"{base}.escrow.age").read_bytes(), [_OFFLINE])
            assert escrow == safe.open(base, directory.read(f"{base}.{safe.suffix}"))
    assert provider.load_intake().epoch == material.epochs[-1].number
    assert not list(directory.path.glob(".new-*"))
    return KeyRing(material)


def test_creation_killed_anywhere_completes_when_run_again(places, safe, now):
    def check(provider: FileKeyProvider, has_ended: bool) -> None:  # noqa: FBT001  # one caller
        before = None
        try:
            before = _secrets(provider)
        except KeysMissingError:
            assert not has_ended
        provider.create(now=now)
        ring = _require_complete(provider)
        assert ring.current_epoch == 1
        if before is not None:
            assert _secrets(provider) == before

    _every_step(places, safe, _nothing, lambda provider: provider.create(now=now), check)


def test_rotation_killed_anywhere_loses_no_key_and_can_go_on(places, safe, now):
    sealed = {}

    def prepare(provider: FileKeyProvider) -> None:
        provider.create(now=now)
        sealed["key"], sealed["file_key"] = new_key(), FileKey.generate()
        ring = KeyRing(provider.load())
        sealed["wrapped"] = ring.wrap(sealed["key"])
        sealed["header"] = ring.seal_header(sealed["file_key"])

    def check(provider: FileKeyProvider, has_ended: bool) -> None:  # noqa: FBT001  # one caller
        ring = KeyRing(provider.load())
        assert ring.unwrap(*sealed["wrapped"]) == sealed["key"]
        assert ring.open_header(*sealed["header"]) == sealed["file_key"]
        assert ring.current_epoch == 2 or not has_ended
        names = provider._directory.names()
        assert f"epoch-{ring.current_epoch:06d}.escrow.age" in names
        # What intake seals meanwhile opens, whichever epoch it knows.
        intake = provider.load_intake()
        assert ring.open_header(*intake.seal_header(sealed["file_key"])) == sealed["file_key"]
        provider.add_epoch(now=now)
        after = _require_complete(provider)
        assert after.current_epoch == ring.current_epoch + 1
        assert after.unwrap(*sealed["wrapped"]) == sealed["key"]

    _every_step(places, safe, prepare, lambda provider: provider.add_epoch(now=now), check)


def test_destruction_killed_anywhere_completes_when_run_again(places, safe, now):
    sealed = {}

    def prepare(provider: FileKeyProvider) -> None:
        provider.create(now=now)
        provider.add_epoch(now=now)
        sealed["key"] = new_key()
        sealed["wrapped"] = KeyRing(provider.load()).wrap(sealed["key"])

    def check(provider: FileKeyProvider, has_ended: bool) -> None:  # noqa: FBT001  # one caller
        ring = KeyRing(provider.load())
        assert ring.unwrap(*sealed["wrapped"]) == sealed["key"]
        assert ring.epochs[0].state is EpochState.DESTROYED or not has_ended
        provider.destroy_epoch(1, now=now)
        after = _require_complete(provider)
        assert [epoch.state for epoch in after.epochs] == [
            EpochState.DESTROYED,
            EpochState.ACTIVE,
        ]
        names = {f"epoch-000001.{safe.suffix}", "epoch-000001.escrow.age"}
        assert not names & provider._directory.names()

    _every_step(
        places, safe, prepare, lambda provider: provider.destroy_epoch(1, now=now), check
    )


def test_a_move_into_the_token_killed_anywhere_loses_no_key_and_ends_when_run_again(
    places, token_safe, now
):
    secrets = []

    def prepare(provider: FileKeyProvider) -> None:
        provider.create(now=now)
        secrets.append(_secrets(provider))

    def move(provider: FileKeyProvider) -> int:
        return move_keys(provider._directory, PlainSafe(), token_safe)

    def check(provider: FileKeyProvider, has_ended: bool) -> None:  # noqa: FBT001  # one caller
        moved = FileKeyProvider(
            provider._directory.path,
            archive=places[1],
            escrow=[_OFFLINE.recipient],
            safe=token_safe,
        )
        assert not has_ended or not move(provider)
        move(provider)
        assert _secrets(moved) == secrets[-1]
        assert not [name for name in provider._directory.names() if name.endswith(".key")]

    _every_step(places, PlainSafe(), prepare, move, check)


@pytest.mark.parametrize("step", ["fsync", "link", "open"])
def test_an_epoch_that_could_not_be_written_is_not_there(places, safe, now, monkeypatch, step):
    provider = _provider(places, safe)
    provider.create(now=now)
    before = sorted(path.name for path in places[0].iterdir())
    original = getattr(os, step)

    def fail(*arguments: Any, **options: Any) -> Any:
        if step != "open" or arguments[1] & os.O_WRONLY:
            raise OSError(28, "No space left on device")
        return original(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(Exception, match="No space left") as refused:
            provider.add_epoch(now=now)
    assert refused.typename == "KeysRefusedError"
    assert sorted(path.name for path in places[0].iterdir()) == before
    assert provider.add_epoch(now=now).number == 2
