"""Makes examples/demo.mp4 and demo-reference.jpg: NASA's portrait of Eileen Collins, set in motion, masked.

    pip install -e ".[dev]"
    python examples/make_demo.py

The portrait (public domain) comes with scikit-image. A mask is drawn on it by training/masks.py, and the
masked picture is moved as her head would turn: the 3-D landmarks are rotated, a thin-plate spline carries
the pixels along, the background stays. A little melody is its sound.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from skimage.data import astronaut

from unmask_video import warp
from unmask_video.face import Face, Patch
from unmask_video.landmarks import onnx_backend
from unmask_video.picture import photo, sample

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from training import masks  # noqa: E402
from training.data import measure_face  # noqa: E402

RATE, SECONDS, SOUND_RATE = 25, 6, 48_000
CROP = (74, 0, 374, 300)
"""The part of the portrait that is filmed: x0, y0, x1, y1."""
SIZE = 640
"""Pixels of the film's sides."""


def main() -> None:
    x0, y0, x1, y1 = CROP
    portrait = cv2.resize(astronaut()[y0:y1, x0:x1], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    landmarks = measure_face(photo(portrait), onnx_backend())
    save_reference(portrait)
    film(worn(portrait, landmarks), landmarks)


def save_reference(portrait: np.ndarray) -> None:
    cv2.imwrite(str(HERE / "demo-reference.jpg"), portrait[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


def worn(portrait: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The portrait with a mask on, uint8 [h, w, 3]."""
    frame = photo(portrait)
    crop = warp.cut(frame, Face(0, landmarks, 1.0), 512)
    bare = crop.image.round().clip(0, 255).astype(np.uint8)
    rng = np.random.default_rng(21)
    shape = masks.MaskShape(top=0.3, cheek=0.35, width=-0.04, jaw=1.03, chin=0.06, stand=0.05)
    alpha = shape.cover(crop.landmarks, 512, rng)
    cloth = np.tile(np.float32([176, 208, 228]), (512, 512, 1))
    y, x = np.mgrid[0:512, 0:512].astype(np.float32) / 512
    pleats = np.sin((y + 0.25 * (x - 0.5) ** 2) * 2 * np.pi * 11) ** 5
    cloth = masks.lit(cloth * (1 + 0.07 * pleats)[..., None], bare, alpha, rng)
    alpha = np.maximum(alpha, masks.straps(crop.landmarks, shape, 512, rng))
    alpha = cv2.GaussianBlur(alpha, (0, 0), 1.2)
    shadow = 1 - 0.3 * cv2.GaussianBlur(alpha, (0, 0), 6)[..., None]
    masked = bare * shadow + (cloth - bare * shadow) * alpha[..., None]
    reach = cv2.GaussianBlur(cv2.dilate(alpha, np.ones((41, 41))), (0, 0), 5)
    pasted = warp.paste(frame, [Patch(masked.astype(np.float32), reach, crop.crop_to_frame)])
    picture = sample(pasted, np.array([[1.0, 0, 0], [0, 1.0, 0]]), portrait.shape[0])
    return picture.round().clip(0, 255).astype(np.uint8)


def moved(picture: np.ndarray, landmarks: np.ndarray, seconds: float) -> np.ndarray:
    """The picture as it looks when the head has turned, and the light has changed, a little."""
    size = picture.shape[0]
    yaw, pitch = 0.16 * np.sin(seconds * 1.3), 0.07 * np.sin(seconds * 1.9 + 1)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    neck = landmarks.mean(0) + [0, 0.35 * size / 3, 0.3 * size / 3]
    drift = np.array([3 * np.sin(seconds * 0.9), 2 * np.sin(seconds * 1.4), 0])
    goal = (landmarks - neck) @ (nod @ turn).T + neck + drift
    edge = np.linspace(0, size, 9)
    fixed = np.array([(x, y) for x in edge for y in edge if x in (0, size) or y in (0, size) or y > 0.8 * size])
    control = np.concatenate([goal[warp.CONTROL, :2], fixed])
    source = np.concatenate([landmarks[warp.CONTROL, :2], fixed])
    where = warp.spline(control, source, size) - np.float32(0.5)
    turned = cv2.remap(picture, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return (turned * (1 + 0.06 * np.sin(seconds * 0.8))).clip(0, 255).astype(np.uint8)


def film(picture: np.ndarray, landmarks: np.ndarray) -> None:
    """Encode the moved pictures and the melody."""
    size = picture.shape[0]
    with av.open(str(HERE / "demo.mp4"), "w", options={"movflags": "faststart"}) as out:
        video = out.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": "slow"})
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        sound = out.add_stream("aac", rate=SOUND_RATE, layout="mono")
        grain = np.random.default_rng(0)
        for k in range(RATE * SECONDS):
            image = moved(picture, landmarks, k / RATE)
            image = (image + grain.normal(0, 1.5, image.shape)).clip(0, 255).astype(np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(video.encode())
        samples = av.AudioFrame.from_ndarray(melody()[None], format="fltp", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
        out.mux(sound.encode(samples))
        out.mux(sound.encode())


def melody() -> np.ndarray:
    """float32 [samples] in -1..1: a rising and falling chord, one note each half second."""
    t = np.arange(SOUND_RATE // 2) / SOUND_RATE
    notes = [220 * 2 ** (k / 12) for k in (0, 4, 7, 12, 16, 19, 24, 19, 16, 12, 7, 4)]
    return np.concatenate([0.2 * np.sin(2 * np.pi * f * t) * np.exp(-3 * t) for f in notes]).astype(np.float32)


if __name__ == "__main__":
    main()
