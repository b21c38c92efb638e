"""Networks whose answers about a film are kept in a journal: a run that goes on after a stop asks none of them twice.

An answer's name is the question: which network, which picture, and the bytes of what else it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import cv2
import numpy as np

from unmask_video.face import Detection, Face, Mask
from unmask_video.frame import Frame
from unmask_video.journal import Arrays, Journal
from unmask_video.landmarks import Measure

QUICK = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def name_of(kind: str, frame: Frame, *given: np.ndarray) -> str:
    digest = blake2b(b"".join(np.ascontiguousarray(values).tobytes() for values in given), digest_size=12)
    return f"{kind}/{frame.pts}/{digest.hexdigest()}"


def detections(kind: str, detect: Callable[..., list[Detection]], journal: Journal) -> Callable[..., list[Detection]]:
    def remembered(frame: Frame, *box: np.ndarray) -> list[Detection]:
        def answer() -> Arrays:
            found = detect(frame, *box)
            rows = [np.concatenate([one.box, one.points.ravel(), [one.score]]) for one in found]
            return {"rows": np.array(rows, np.float64).reshape(-1, 15)}

        rows = journal.remember(name_of(kind, frame, *box), answer)["rows"]
        return [Detection(row[:4], row[4:14].reshape(5, 2), float(row[14])) for row in rows]

    return remembered


def measured(measure: Measure, journal: Journal) -> Measure:
    def remembered(frame: Frame, regions: list[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        def answer() -> Arrays:
            found = measure(frame, regions)
            return {"points": np.array([points for points, _ in found]), "scores": np.array([score for _, score in found])}

        if not regions:
            return []
        found = journal.remember(name_of("measure", frame, *regions), answer)
        return list(zip(found["points"], found["scores"].tolist(), strict=True))

    return remembered


def masks(kind: str, segment: Callable[[Frame, Face], Mask], journal: Journal) -> Callable[[Frame, Face], Mask]:
    """Masks in steps of 1/255, kept or not: a thirtieth of the room."""

    def remembered(frame: Frame, face: Face) -> Mask:
        def answer() -> Arrays:
            mask = segment(frame, face)
            alpha = (mask.alpha * 255).round().clip(0, 255).astype(np.uint8)
            _, packed = cv2.imencode(".png", alpha, QUICK)
            return {"alpha": packed, "belief": np.array(mask.belief)}

        found = journal.remember(name_of(kind, frame, face.landmarks), answer)
        alpha = cv2.imdecode(found["alpha"], cv2.IMREAD_UNCHANGED).astype(np.float32) / 255
        return Mask(alpha, float(found["belief"]), False)

    return remembered


def vectors(identity: Callable[[Frame, np.ndarray], np.ndarray], journal: Journal) -> Callable[[Frame, np.ndarray], np.ndarray]:
    def remembered(frame: Frame, landmarks: np.ndarray) -> np.ndarray:
        name = name_of("identity", frame, landmarks)
        return journal.remember(name, lambda: {"vector": identity(frame, landmarks)})["vector"]

    return remembered
