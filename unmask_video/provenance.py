"""Where a film comes from, told with it: a line in its tags, a file beside it, and content credentials (C2PA)."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unmask_video import __version__
from unmask_video.errors import BadEnvironment, BadOption, CannotEncode
from unmask_video.journal import fingerprint, write_whole
from unmask_video.models import FILES, MODELS
from unmask_video.options import Options
from unmask_video.remux import MARK

NOTE = "a reconstruction, not evidence of what anybody looked like or said"
LINE = f"{MARK} {__version__} paints in what face masks hide: {NOTE}"
"""In a film's tags."""
PLACES = ("comment", "description", "synopsis")
"""Tags that may hold it; the first that the film has not."""
SIGNED = {".mp4": "video/mp4", ".mov": "video/quicktime"}
"""Containers that can hold content credentials."""
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a picture of which a part was made by a network."""


def mark(tags: dict[str, str]) -> dict[str, str]:
    """A film's tags with the line among them; as they are if all its places are taken."""
    taken = {key.lower() for key in tags}
    free = [place for place in PLACES if place not in taken]
    return tags | ({free[0]: LINE} if free else {})


def beside(target: Path) -> Path:
    """The file that tells of a film."""
    return target.with_name(f"{target.name}.json")


def write_beside(
    target: Path, source: Path, *, report: dict[str, Any], references: dict[str, str], options: Options
) -> None:  # fmt: skip
    """The file beside a film that was changed.

    Args:
        target: that film.
        source: what it was made of.
        report: `Report.to_json`.
        references: photos' names and sha256.

    Raises:
        CannotEncode: it could not be written.
    """
    networks = {name: entry.sha256 for name, entry in FILES.items() if name not in MODELS or name == options.model}
    if Path(options.model).suffix == ".onnx":
        networks[options.model] = sha256_of(Path(options.model))
    told = {
        "tool": "unmask-video", "version": __version__, "made": datetime.now(UTC).isoformat(timespec="seconds"), "note": NOTE,
        "source": source.name, "source_fingerprint": fingerprint(source), "target": target.name, "references": references,
        "model": options.model, "networks": networks,
        "frames": report["frames"], "faces_filled": report["filled"], "faces_left_masked": sum(report["kept"].values()),
        "people": [
            {key: person[key] for key in ("index", "name", "filled", "masked", "reference", "likeness", "first", "last")}
            for person in report["people"] if person["masked"]
        ],
    }  # fmt: skip
    write_whole(beside(target), json.dumps(told, indent=1).encode())


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- content credentials --------------------------------------------------------------------------


def check_keys(keys: tuple[str, str], target: Path) -> None:
    """Raises BadOption, BadEnvironment where a film could not be signed."""
    if target.suffix.lower() not in SIGNED:
        raise BadOption(f"{target.suffix} cannot hold content credentials; choose {' or '.join(SIGNED)}, or leave --c2pa out")
    _signer(keys).close()


def sign(film: Path, source: Path, keys: tuple[str, str]) -> None:
    """Put content credentials into a film, in its place. Raises CannotEncode."""
    import c2pa

    kind = SIGNED.get(source.suffix.lower())
    edited = {"action": "c2pa.edited", "digitalSourceType": SOURCE_TYPE, "parameters": {"description": NOTE}}
    manifest = {
        "claim_generator_info": [{"name": "unmask-video", "version": __version__}], "title": film.name,
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [edited]}}],
    }  # fmt: skip
    signed = film.with_name(f"signed-{film.name}")
    try:
        with c2pa.Builder(json.dumps(manifest)) as builder, _signer(keys) as signer, source.open("rb") as parent:
            if kind:  # other containers hold no credentials that could be gone on from
                builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
                builder.add_ingredient(json.dumps({"title": source.name, "relationship": "parentOf"}), kind, parent)
            else:
                made = c2pa.C2paDigitalSourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
                builder.set_intent(c2pa.C2paBuilderIntent.CREATE, made)
            builder.sign_file(film, signed, signer)
        signed.replace(film)
    except (c2pa.C2paError, OSError) as error:
        raise CannotEncode(f"{film} could not be signed ({error}); look after the certificate, or leave --c2pa out") from None
    finally:
        signed.unlink(missing_ok=True)


def _signer(keys: tuple[str, str]) -> Any:
    """Of a certificate, followed by those that vouch for it, and its key, both in PEM."""
    try:
        import c2pa
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise BadEnvironment('content credentials need c2pa-python; pip install "unmask-video[c2pa]"') from None
    try:
        certificate, secret = (Path(key).read_bytes() for key in keys)
        key = load_pem_private_key(secret, None)
        kinds = {ec.EllipticCurvePrivateKey: "es", ed25519.Ed25519PrivateKey: "ed25519", rsa.RSAPrivateKey: "ps256"}
        name = next(name for kind, name in kinds.items() if isinstance(key, kind))
        name += {256: "256", 384: "384", 521: "512"}[key.key_size] if name == "es" else ""
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(name.encode(), certificate, secret, None))
    except (OSError, ValueError, TypeError, StopIteration, KeyError, c2pa.C2paError) as error:
        what = f"{keys[0]} and {keys[1]} ({error})"
        raise BadOption(f"c2pa cannot sign with {what}; give a certificate and its key in PEM") from None
