"""Puts finished networks into `models/weights/` and lists them in `files.json` there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "models" / "weights"


def register(name: str, data: bytes, *, licence: str, origin: str, folder: Path = WEIGHTS) -> dict[str, str]:
    """Write ONNX bytes as `<name>-<sha8>.onnx`, list it, and remove the file that it replaces.

    Returns the new entry: file, sha256, licence, origin.
    """
    listing = folder / "files.json"
    entries = json.loads(listing.read_text("utf-8")) if listing.exists() else {}
    sha256 = hashlib.sha256(data).hexdigest()
    entry = {"file": f"{name}-{sha256[:8]}.onnx", "sha256": sha256, "licence": licence, "origin": origin}
    (folder / entry["file"]).write_bytes(data)
    old = entries.get(name, entry)["file"]
    entries[name] = entry
    # The listing changes in one step, so that a reader always finds what it names.
    fresh = listing.with_suffix(".part")
    fresh.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n", "utf-8")
    fresh.replace(listing)
    if old != entry["file"]:
        (folder / old).unlink(missing_ok=True)
    return entry
