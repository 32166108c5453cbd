"""Writes what a lock installs as a CycloneDX 1.6 bill of materials, on standard output: names, versions, hashes.

    python tools/sbom.py requirements.lock > sbom.json

The lock says everything that a bill says, with the hashes that are checked at each installation; nothing is asked of
anybody. The same locks give the same bill.
"""

import hashlib
import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]


def components_of(lock: str) -> list[dict[str, Any]]:
    """Return the components that a lock names."""
    text = re.sub(r"(?m)^\s*#.*\n?", "", lock).replace("\\\n", " ")
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, version = line.split()[0].split("==")
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
        # A package has one hash for each file that it may be installed from.
        files = [
            {
                "type": "distribution",
                "url": purl,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
            for digest in re.findall(r"--hash=sha256:([0-9a-f]{64})", line)
        ]
        found.append(
            {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": version,
                "purl": purl,
                "externalReferences": files,
            }
        )
    return found


def bill_of(locks: list[Path]) -> dict[str, Any]:
    """Return the bill of materials of the program with what ``locks`` install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [lock.read_text(encoding="utf-8") for lock in locks]
    found = {one["purl"]: one for text in texts for one in components_of(text)}
    components = dict(sorted(found.items()))
    itself = f"pkg:generic/{project['name']}@{project['version']}"
    digest = hashlib.sha256("\0".join([itself, *texts]).encode()).digest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": itself,
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": list(components.values()),
        "dependencies": [{"ref": itself, "dependsOn": list(components)}],
    }


if __name__ == "__main__":
    json.dump(bill_of([Path(name) for name in sys.argv[1:]]), sys.stdout, indent=2)
    sys.stdout.write("\n")
