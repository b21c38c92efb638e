"""What is told with a film of how it was made."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from faces import Footage, masked, portrait, write_footage, write_photo
from helpers import Film, frames_25

from unmask_video import BadOption, CannotEncode, Options, cli, provenance, unmask
from unmask_video.provenance import LINE
from unmask_video.verify import verify

FILM = Film(size=(256, 256), pts=frames_25(8), options={"crf": "16", "preset": "ultrafast"})
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_photo(tmp_path / "face.png", portrait())
    write_footage(tmp_path / "in.mp4", Footage(masked()[0]), FILM)
    return tmp_path


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "T")])


def certificate(key: Key, issuer_key: Key, subject: str, authority: bool) -> x509.Certificate:
    serial, now = x509.random_serial_number(), datetime.now(UTC)
    made = x509.CertificateBuilder(named("Root"), named(subject), key.public_key(), serial)
    made = made.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(9))
    made = made.add_extension(x509.BasicConstraints(authority, None), True)
    use = x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
    made = made.add_extension(use, True)
    made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    if not authority:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), True)
    return made.sign(issuer_key, hashes.SHA256())


def keys(folder: Path, key: Key) -> tuple[str, str]:
    """A certificate for the key, with the one that vouches for it, and the key."""
    root = ec.generate_private_key(ec.SECP256R1())
    chain = [certificate(key, root, "Editor", False), certificate(root, root, "Root", True)]
    (folder / "cert.pem").write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_line_in_the_tags_tells_what_was_done_and_once(suffix: str, folder: Path) -> None:
    unmask(folder / "in.mp4", folder / f"out{suffix}", reference=folder / "face.png")
    unmask(folder / f"out{suffix}", folder / f"again{suffix}", reference=folder / "face.png", options=Options(crf=30))
    for name in ("out", "again"):
        with av.open(str(folder / f"{name}{suffix}")) as film:
            assert [key.lower() for key, value in film.metadata.items() if value == LINE] == ["comment"]
    assert "not evidence" in LINE


def test_the_film_s_own_tags_stay() -> None:
    assert provenance.mark({"Comment": "mine"}) == {"Comment": "mine", "description": LINE}
    full = dict.fromkeys(provenance.PLACES, "mine")
    assert provenance.mark(full) == full


def test_a_file_beside_the_film_tells_from_what_it_was_made(folder: Path) -> None:
    words = [str(folder / "in.mp4"), str(folder / "out.mp4"), "-r", f"Anna={folder / 'face.png'}", "--sidecar"]
    assert cli.exit_code(words) == 0
    told = json.loads((folder / "out.mp4.json").read_bytes())
    assert told["references"] == {"face.png": hashlib.sha256((folder / "face.png").read_bytes()).hexdigest()}
    assert (told["frames"], told["faces_filled"], told["model"]) == (8, 8, "swift")
    assert told["people"][0]["name"] == "Anna" and "not evidence" in told["note"] and "swift" in told["networks"]
    assert "unveilify" not in told["networks"]
    write_footage(folder / "bare.mp4", Footage(portrait()), FILM)
    assert unmask(folder / "bare.mp4", folder / "copy.mp4", options=Options(sidecar=True)).copied
    assert not (folder / "copy.mp4.json").exists()


@pytest.mark.parametrize("key", [
    ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate(),
    rsa.generate_private_key(65537, 2048),
], ids=["es256", "es384", "ed25519", "ps256"])  # fmt: skip
def test_content_credentials_are_valid_and_change_nothing_else(key: Key, folder: Path) -> None:
    import c2pa

    signed = Options(c2pa=keys(folder, key))
    unmask(folder / "in.mp4", folder / "out.mp4", reference=folder / "face.png", options=signed)
    found = json.loads(c2pa.Reader(str(folder / "out.mp4")).json())
    assert found["validation_state"] == "Valid"
    (manifest,) = [one for one in found["manifests"].values() if one["title"] != "in.mp4"]
    actions = [action for one in manifest["assertions"] if "actions" in one["label"] for action in one["data"]["actions"]]
    assert [action["action"] for action in actions] == ["c2pa.opened", "c2pa.edited"]
    assert "Algorithmic" in actions[1]["digitalSourceType"] and manifest["ingredients"][0]["title"] == "in.mp4"
    assert not [one for one in verify(folder / "in.mp4", folder / "out.mp4") if one.verdict == "FAULT"]
    film = bytearray((folder / "out.mp4").read_bytes())
    film[len(film) - 2000] ^= 1
    (folder / "forged.mp4").write_bytes(film)
    assert json.loads(c2pa.Reader(str(folder / "forged.mp4")).json())["validation_state"] == "Invalid"


def test_a_film_of_another_container_is_signed_as_made_here(folder: Path) -> None:
    import c2pa

    write_footage(folder / "in.mkv", Footage(masked()[0]), FILM)
    signed = Options(c2pa=keys(folder, ec.generate_private_key(ec.SECP256R1())))
    unmask(folder / "in.mkv", folder / "out.mov", reference=folder / "face.png", options=signed)
    assert json.loads(c2pa.Reader(str(folder / "out.mov")).json())["validation_state"] == "Valid"


def test_what_cannot_be_signed_is_told_before_the_work(folder: Path) -> None:
    good = keys(folder, ec.generate_private_key(ec.SECP256R1()))
    for target, pair, words in (
        ("out.mkv", good, r"\.mkv cannot hold content credentials; choose \.mp4 or \.mov"),
        ("out.mp4", (good[0], str(folder / "none.pem")), "none.pem.*give a certificate and its key in PEM"),
        ("out.mp4", (good[1], good[0]), "give a certificate and its key in PEM"),
    ):
        with pytest.raises(BadOption, match=words):
            unmask(folder / "in.mp4", folder / target, reference=folder / "face.png", options=Options(c2pa=pair))


def test_a_certificate_that_is_no_signer_s_is_told_and_no_film_is_left(folder: Path) -> None:
    import c2pa

    own = keys(folder, ec.generate_private_key(ec.SECP256R1()))
    other = keys(folder, ec.generate_private_key(ec.SECP256R1()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "check_keys", lambda *_: None)
        broken = lambda *_: (_ for _ in ()).throw(c2pa.C2paError("no"))  # noqa: E731
        patch.setattr(c2pa.Builder, "sign_file", broken)
        with pytest.raises(CannotEncode, match="could not be signed .*leave --c2pa out"):
            unmask(folder / "in.mp4", folder / "out.mp4", reference=folder / "face.png", options=Options(c2pa=own))
    assert not (folder / "out.mp4").exists()
    unmask(folder / "in.mp4", folder / "out.mp4", reference=folder / "face.png", options=Options(c2pa=other))
