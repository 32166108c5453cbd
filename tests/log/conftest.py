"""A log in memory, as files by path, made only with the public functions."""

from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.errors import NotFoundError
from service.log.checkpoint import Checkpoint, log_key, sign_checkpoint
from service.log.merkle import leaf_hash, root_hash
from service.log.tiles import build_bundles, build_tiles

ORIGIN = "log.example.org/taltio"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@dataclass
class MemoryLog:
    entries: list[bytes] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def read(self, path):
        if path not in self.files:
            raise NotFoundError(path)
        return self.files[path]

    def append(self, *entries):
        size = len(self.entries)
        new = [*build_bundles(size, entries, self.read)]
        new += build_tiles(size, [leaf_hash(entry) for entry in entries], self.read)
        self.files |= {tile.path: data for tile, data in new}
        self.entries += entries
        return [tile for tile, _ in new]

    def checkpoint(self, size=None):
        size = len(self.entries) if size is None else size
        root = root_hash([leaf_hash(entry) for entry in self.entries[:size]])
        return sign_checkpoint(Checkpoint(ORIGIN, size, root), SECRET)

    def publish(self):
        self.files["checkpoint"] = self.checkpoint()
        return self


@pytest.fixture(scope="session")
def key():
    return log_key(ORIGIN, SECRET)


@pytest.fixture
def make_log():
    def make(size):
        log = MemoryLog()
        log.append(*(b"entry %d" % i for i in range(size)))
        return log.publish()

    return make


@pytest.fixture(scope="session")
def big_log():
    """Three levels of tiles. Whoever changes it changes a copy."""
    log = MemoryLog()
    log.append(*(b"entry %d" % i for i in range(66_000)))
    return log.publish()


@pytest.fixture(scope="session")
def small_log():
    """Two levels of tiles. Whoever changes it changes a copy."""
    log = MemoryLog()
    log.append(*(b"entry %d" % i for i in range(600)))
    return log.publish()
