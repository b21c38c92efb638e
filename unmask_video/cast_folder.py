"""A folder that says who is who: a folder for each person, with photos and a `person.toml`.

    cast/anna/1.jpg         photos that show her bare face; `unmask-video` takes PHOTO#2 for the second face, here there is one
    cast/anna/person.toml   name = "Anna"
                            consent = "yes"      # or "no", "unknown"
                            faces = "fill"       # or "keep": her mask stays

Without a `person.toml` the folder's name is the person's. Who does not consent is never filled.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np

from unmask_video.errors import BadOption
from unmask_video.journal import write_whole

PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
CONSENT = ("yes", "no", "unknown")
FACES = ("fill", "keep")
FILE, MASKED, SEEN = "person.toml", "masked", "seen.json"


@dataclass(frozen=True)
class Person:
    """One folder of a cast."""

    name: str
    consent: str
    """One of `CONSENT`."""
    faces: str
    """One of `FACES`."""
    photos: tuple[Path, ...]
    folder: str
    """The folder's own name."""

    @property
    def may_be_filled(self) -> bool:
        return self.consent != "no" and self.faces == "fill"


def load(folder: Path) -> list[Person]:
    """The people of a cast, by name; folders without photos are left out.

    Raises BadOption where the folder is none, or says what cannot be.
    """
    if not folder.is_dir():
        raise BadOption(f"the cast {folder} is not a folder; give one that holds a folder of photos for each person")
    people = [person for place in _folders(folder) if (person := _person(place)).photos]
    for name in {person.name for person in people}:
        if len(same := [person for person in people if person.name == name]) > 1:
            folders = " and ".join(str(person.photos[0].parent) for person in same)
            raise BadOption(f"{folders} are both called {name!r}; put the photos of one person into one folder")
    if not people:
        raise BadOption(f"the cast {folder} holds no photos; put a folder of photos for each person there")
    return sorted(people, key=lambda person: person.name)


def has_photos(cast: Path) -> bool:
    """Whether anybody is in it yet."""
    return any(_person(place).photos for place in _folders(cast))


def _folders(cast: Path) -> list[Path]:
    return [one for one in sorted(cast.iterdir()) if one.is_dir() and not one.name.startswith(".")]


def _person(folder: Path) -> Person:
    told = _told(folder / FILE)
    name = told.get("name", folder.name)
    if not isinstance(name, str) or not name or any(mark in name for mark in "/\\=#") or not name.isprintable():
        raise BadOption(f"the name in {folder / FILE} cannot be {name!r}; use letters, digits and blanks")
    photos = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTOS and path.is_file()))
    consent, faces = _choice(folder, told, "consent", CONSENT, "unknown"), _choice(folder, told, "faces", FACES, "fill")
    return Person(name, consent, faces, photos, folder.name)


def _told(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadOption(f"{path} cannot be read ({' '.join(str(error).split())}); mend or delete it") from None


def _choice(folder: Path, told: dict[str, object], key: str, allowed: tuple[str, ...], default: str) -> str:
    value = told.get(key, default)
    if value not in allowed:
        raise BadOption(f"{key} in {folder / FILE} cannot be {value!r}; choose one of {', '.join(allowed)}")
    return str(value)


def forget_unknown(cast: Path) -> None:
    """Delete the folders of those whom an earlier scan saw only masked, as it wrote them: they are found again."""
    for place in _folders(cast):
        inside = {path.relative_to(place).as_posix() for path in place.rglob("*")}
        ours = all(one in (FILE, MASKED) or (one.startswith(f"{MASKED}/film-") and one.endswith(".jpg")) for one in inside)
        if ours and FILE in inside and (place / FILE).read_text("utf-8", "replace") == _unnamed(place.name):
            shutil.rmtree(place)


def _unnamed(name: str) -> str:
    """What a new `person.toml` says."""
    told = [f'name = "{name}"', 'consent = "unknown"  # or "yes", "no": who does not consent is never filled']
    return "\n".join([*told, 'faces = "fill"  # or "keep"', ""])


def write(folder: Path, name: str, views: list[np.ndarray], masked: list[np.ndarray]) -> Path:
    """A new person's folder, with photos uint8 [h, w, 3] RGB, and for people to see what the person looks like masked.

    Nothing that is there is touched; a known person's folder gets what is new.
    """
    place = next((place for place in _folders(folder) if _person(place).name == name), folder / name)
    place.mkdir(parents=True, exist_ok=True)
    if not (place / FILE).exists():
        (place / FILE).write_text(_unnamed(name), "utf-8")
    for kind, pictures in ((place, views), (place / MASKED, masked)):
        for picture in pictures:
            data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
            kind.mkdir(exist_ok=True)
            path = kind / f"film-{sha256(data).hexdigest()[:8]}.jpg"
            if not path.exists():
                path.write_bytes(data)
    return place


def write_seen(cast: Path, seen: dict[str, list[str]]) -> None:
    """Whose folders were found in which film."""
    write_whole(cast / SEEN, json.dumps(seen, indent=1).encode())


def in_film(people: list[Person], cast: Path, film: str) -> list[Person]:
    """Those whom a scan saw there, and all who are not to be filled, wherever they are; everybody, if it saw no such film.

    The fewer strangers there are, the fewer can be taken for somebody else.
    """
    try:
        seen = json.loads((cast / SEEN).read_bytes())
        here = set(seen.get(film, [person.folder for person in people]))
    except (OSError, ValueError, AttributeError, TypeError):
        return people
    return [person for person in people if person.folder in here or not person.may_be_filled]


def words(people: list[Person]) -> list[str]:
    """The people as options of `unmask-video`."""
    given = [f"--reference={person.name}={photo.resolve()}" for person in people for photo in person.photos]
    return given + [f"--never={person.name}" for person in people if not person.may_be_filled]
