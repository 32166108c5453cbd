"""Moving key files from one safe to another, such as from plain files into a token."""

from service.keys.directory import KeyDirectory
from service.keys.errors import KeysMissingError, KeysRefusedError
from service.keys.safe import Safe, other_suffix


def move_keys(directory: KeyDirectory, source: Safe, target: Safe) -> int:
    """Move every secret of ``directory`` from ``source`` to ``target``; return how many were moved now.

    Order: every file is sealed anew beside the old one; every new one is opened and compared with the old one; only
    then the old ones are removed, overwritten first. Killed at any point and called again it completes what was begun;
    until then each secret lies in at least one of the two, and no key provider uses the directory.

    Raises:
        KeysMissingError: There are no keys.
        KeysRefusedError: Something does not open, or opens to something else. Nothing was removed.
        KeysUnavailableError: The token does not answer. What was sealed so far stays, and nothing was removed.
    """
    with directory.locked():
        old = _stems(directory, other_suffix(target.suffix))
        new = _stems(directory, target.suffix)
        if not old | new:
            raise KeysMissingError(f"{directory.path} has no keys to move.")
        for stem in sorted(old):
            data, name = directory.read(f"{stem}.{source.suffix}"), f"{stem}.{target.suffix}"
            if stem in new and not data.strip(b"\0"):
                # Removing begins with overwriting: it was compared before, and killed then.
                target.open(stem, directory.read(name))
                continue
            text = source.open(stem, data)
            if stem not in new:
                directory.add(name, target.seal(stem, text))
            if target.open(stem, directory.read(name)) != text:
                raise KeysRefusedError(
                    f"{directory.path / name} opens to another secret than {stem}.{source.suffix}. Nothing was"
                    " removed. Restore the directory from its backup."
                )
        for stem in sorted(new - old):
            target.open(stem, directory.read(f"{stem}.{target.suffix}"))
        for stem in sorted(old):
            directory.remove(f"{stem}.{source.suffix}")
    return len(old)


def _stems(directory: KeyDirectory, suffix: str) -> set[str]:
    return {
        name.removesuffix(f".{suffix}")
        for name in directory.names()
        if name.endswith(f".{suffix}")
    }
