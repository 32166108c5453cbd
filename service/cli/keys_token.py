"""``taltio keys init|move``: a token's key, and the way of the archive's keys to it and back."""

import argparse

from service.config import Config
from service.key_safes import key_directory, safe_of, token_of
from service.keys.move import move_keys
from service.keys.safe import WRAPPED
from service.wiring import key_provider


async def make_token_key(config: Config, _: argparse.Namespace) -> int:
    """Make the key on the token that is to wrap the archive's keys, or show that it is there and fit."""
    directory = key_directory(config)
    directory.make()
    # Beside wrapped files a new key would only hide that this is another token than the one that wrapped them.
    is_in_use = any(name.endswith(f".{WRAPPED}") for name in directory.names())
    facts = token_of(config).begin_by_hand(make=not is_in_use)
    keys = config.keys
    where = f"the token {keys.pkcs11_token!r} ({facts.model}, serial number {facts.serial})"
    verb = "was made" if facts.is_new else "is there and fit"
    print(f"The key {keys.pkcs11_key!r} {verb} on {where}. Its id is {facts.key_id}.")
    if is_in_use:
        epochs = len(key_provider(config).load().epochs)
        print(f"It opens the keys in {directory.path}: {epochs} epochs.")
    else:
        print(
            "It never leaves the token. Back the token up now with its own tools, or let the archive's keys be sealed\n"
            "to an offline recipient as well ([keys] escrow_recipient): a lost token takes the archive with it."
        )
    return 0


async def move(config: Config, options: argparse.Namespace) -> int:
    """Move the archive's keys into the token, or out of it; finish what was interrupted."""
    target = options.to
    source = "file" if target == "pkcs11" else "pkcs11"
    directory = key_directory(config)
    moved = move_keys(directory, safe_of(config, source), safe_of(config, target))
    print(f"{moved} key files were moved; nothing of them is left in {directory.path}.")
    print(f'Set [keys] provider = "{target}" and start the service again.')
    if target == "pkcs11":
        print(
            "Copies that were made before, such as backups of that directory, still open everything without the\n"
            "token: destroy them, or run taltio keys rotate and then taltio keys destroy for each earlier epoch. The\n"
            "index master and the key that signs the log stay the same. On flash memory and copy-on-write file\n"
            "systems, what was overwritten may stay readable: discard the free blocks (fstrim)."
        )
    else:
        print(
            "From now on whoever can read these files opens the archive: keep their backups apart from it."
        )
    return 0
