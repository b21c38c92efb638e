"""What a face is, in one frame, over time, on a reference photo, and cut out for a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

import cv2
import numpy as np

from unmask_video.frame import Frame
from unmask_video.geometry import apply, fit_pose, invert, scaled
from unmask_video.picture import Picture, sample

OUTLINE = [
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
]  # fmt: skip
"""FaceMesh indices around the face, from the forehead's middle clockwise as the viewer sees it."""

with files("unmask_video").joinpath("canonical_face.npy").open("rb") as _file:
    CANONICAL = np.load(_file).astype(np.float64)
"""float64 [468, 3]: the mean bare face, height 1, x to the viewer's right, y down, made by `training/data.py`."""

UPPER = np.flatnonzero(CANONICAL[:, 1] < -0.07)
"""Points that a worn mask leaves free: from the lower eyelids upwards."""

EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
"""FaceMesh's points around the person's right and left eye."""
PROFILE = 0.25
"""Eyes nearer to each other than this, in heights of the box, make a profile, where FaceMesh has no hold."""
EYES_APART = 0.13
"""How far FaceMesh's eyes and the detector's may lie apart, in heights of the detected box."""
SPAN = 1.75
"""Side of a crop in face heights."""
LOOK = 128
"""Pixels along the sides of a crop at which it is looked at: what is finer is no light."""
CENTRE = np.array([0.0, 0.06, 0.0])
"""Middle of a crop on the canonical face: a little low, for masks reach below the chin."""

Pose = tuple[float, np.ndarray, np.ndarray]
"""Scale, rotation [3, 3] and place [3] of the canonical face."""


@dataclass(frozen=True, eq=False)
class Detection:
    """A face found in one frame, before anybody knows whose it is."""

    box: np.ndarray
    """float64 [4], x0 y0 x1 y1 in frame pixels, half open."""
    points: np.ndarray
    """float64 [5, 2]: right eye, left eye, nose tip, right and left mouth corner, frame pixels."""
    score: float
    """0..1."""


def in_profile(detection: Detection) -> bool:
    """True if the eyes are too close to each other to tell much."""
    return bool(np.linalg.norm(detection.points[0] - detection.points[1]) < PROFILE * (detection.box[3] - detection.box[1]))


def agree(landmarks: np.ndarray, detection: Detection) -> bool:
    """True if FaceMesh's eyes are where the detector's are, and far enough apart to tell."""
    height = detection.box[3] - detection.box[1]
    if in_profile(detection):
        return False
    eyes = np.stack([landmarks[list(ring), :2].mean(0) for ring in EYES])
    apart = np.linalg.norm(eyes - detection.points[:2], axis=1).max()
    return bool(apart < EYES_APART * height)


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one frame."""

    track_id: int
    landmarks: np.ndarray
    """float64 [468, 3]: FaceMesh points, x and y in frame pixels, z in the same unit, towards the camera negative."""
    score: float
    """FaceMesh's belief that there is a face, 0..1."""

    def __post_init__(self) -> None:
        if self.landmarks.shape != (468, 3):
            raise ValueError(f"landmarks must be [468, 3], got {self.landmarks.shape}")

    @property
    def box(self) -> np.ndarray:
        """float64 [4]: the smallest box around the landmarks."""
        return np.concatenate([self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)])

    @cached_property
    def pose(self) -> Pose:
        return pose_of(self.landmarks)

    def crop(self, size: int) -> np.ndarray:
        """Affine [2, 3] from pixels of its upright crop of `size` px to frame pixels, see `align`."""
        return crop_of(self.pose, size)

    @cached_property
    def direction(self) -> np.ndarray:
        """Where it looks, see the function of that name."""
        return direction_of(self.pose)


@dataclass(frozen=True, eq=False)
class Reference:
    """A photo of one person."""

    name: str
    """The file's name, for messages."""
    image: np.ndarray
    """uint8 [S, S, 3] RGB: the face, aligned as `align` does."""
    landmarks: np.ndarray
    """float64 [468, 3] in pixels of `image`."""
    identity: np.ndarray
    """float32 [D]: the upper face, see `identify.identity`."""
    person: str = ""
    """Who it is, if the user said so."""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"image must be uint8 [S, S, 3], got {self.image.dtype} {self.image.shape}")

    @cached_property
    def direction(self) -> np.ndarray:
        """Where the face looks, see the function of that name; asked for in every frame that is filled."""
        return direction(self.landmarks)

    @cached_property
    def picture(self) -> Picture:
        """The image, kept at the sizes that were asked for."""
        return Picture(self.image)


@dataclass(frozen=True, eq=False)
class Mask:
    """What hides a face."""

    alpha: np.ndarray
    """float32 [S, S] in 0..1 over the face's crop (see `align`): 1 is mask."""
    belief: float
    """That the face is masked at all, 0..1."""
    present: bool
    """Decided over time: fill this face."""
    share: float = 1.0
    """How far the filling shows, 0..1: less where the mask is being put on or taken off."""


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """A face's place in a frame, upright and of one size; it is cut out as far as it is asked for."""

    frame: Frame
    size: int
    """Pixels along its sides, S."""
    crop_to_frame: np.ndarray
    """float64 [2, 3]: crop pixels to frame pixels."""
    landmarks: np.ndarray
    """float64 [468, 3] in crop pixels."""

    @cached_property
    def image(self) -> np.ndarray:
        """float32 [S, S, 3] RGB in 0..255."""
        return sample(self.frame, self.crop_to_frame, self.size)

    @cached_property
    def look(self) -> np.ndarray:
        """float32 [LOOK, LOOK, 3]: the same at a glance."""
        return sample(self.frame, self.glanced, LOOK)

    @property
    def glanced(self) -> np.ndarray:
        """float64 [2, 3]: pixels of `look` to frame pixels."""
        return scaled(self.crop_to_frame, self.size / LOOK, 1.0)

    def part(self, rows: slice, columns: slice) -> np.ndarray:
        """float32 [h, w, 3]: some of the image."""
        start = self.crop_to_frame[:, :2] @ [columns.start, rows.start] + self.crop_to_frame[:, 2]
        size = columns.stop - columns.start, rows.stop - rows.start
        return sample(self.frame, np.column_stack([self.crop_to_frame[:, :2], start]), size)


@dataclass(frozen=True, eq=False)
class Guide:
    """A reference photo brought onto a face's crop, told at `LOOK` places along its sides."""

    reference: Reference
    where: np.ndarray
    """float32 [LOOK, LOOK, 2]: where in the photo each place comes from, in its sides, x first."""
    look: np.ndarray
    """float32 [LOOK, LOOK, 3] RGB in 0..255: the photo, warped so."""
    face: np.ndarray
    """float32 [LOOK, LOOK] in 0..1: inside of the face's outline."""
    near: np.ndarray
    """float32 [LOOK, LOOK] in 0..1: about the face, on the sides turned to the camera, where ears and neck are."""


@dataclass(frozen=True, eq=False)
class Patch:
    """What is painted over a face: all of its crop, or the part that covers anything."""

    image: np.ndarray
    """float32 [h, w, 3] RGB in 0..255."""
    alpha: np.ndarray
    """float32 [h, w], 0: the frame stays, 1: `image` replaces it."""
    crop_to_frame: np.ndarray
    """float64 [2, 3]: crop pixels to frame pixels."""
    skin: np.ndarray | None = None
    """float32 [s, s] in 0..1 over the whole crop: where the frame shows skin, whose grain `image` shall have; None: no grain."""
    corner: tuple[int, int] = (0, 0)
    """Crop pixels x, y at which it begins."""
    size: int = 0
    """Pixels along the crop's sides; may be left out if `image` is all of it."""

    def __post_init__(self) -> None:
        if not self.size:
            object.__setattr__(self, "size", len(self.image))

    @property
    def to_frame(self) -> np.ndarray:
        """float64 [2, 3]: its own pixels to frame pixels."""
        axes = self.crop_to_frame[:, :2]
        return np.column_stack([axes, axes @ self.corner + self.crop_to_frame[:, 2]])

    def over(self, crop: np.ndarray) -> np.ndarray:
        """A crop's picture float32 [S, S, 3] with it painted over."""
        (x, y), (h, w) = self.corner, self.alpha.shape
        done = crop.copy()
        done[y : y + h, x : x + w] += (self.image - crop[y : y + h, x : x + w]) * self.alpha[..., None]
        return done


Filled = tuple[Frame, list[tuple[int, FaceCrop, Patch]]]
"""A frame and, of each filled face, its track, its crop and its patch."""


def pose_of(landmarks: np.ndarray) -> Pose:
    """Of landmarks [468, 3], told by the upper face, which a mask leaves free."""
    return fit_pose(CANONICAL[UPPER], landmarks[UPPER])


def direction(landmarks: np.ndarray) -> np.ndarray:
    """Where the face looks if its picture is turned upright, float64 [3], length 1; z is 1 towards the camera."""
    return direction_of(pose_of(landmarks))


def direction_of(pose: Pose) -> np.ndarray:
    _, rotation, _ = pose
    roll = _roll(rotation)
    upright = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return upright @ rotation[:, 2]


def _roll(rotation: np.ndarray) -> float:
    """Radians by which a pose [3, 3] is turned within the picture."""
    return float(np.arctan2(rotation[1, 0] - rotation[0, 1], rotation[0, 0] + rotation[1, 1]))


def align(landmarks: np.ndarray, size: int, *, span: float = SPAN, centre: np.ndarray = CENTRE) -> np.ndarray:
    """Affine [2, 3] from pixels of an upright crop of `size` px to where landmarks [468, 3] live.

    The crop is scaled by the 3-D pose of the upper face; so it does not shrink when the head turns, and does not follow
    what FaceMesh guesses behind a mask.
    """
    return crop_of(pose_of(landmarks), size, span=span, centre=centre)


def crop_of(pose: Pose, size: int, *, span: float = SPAN, centre: np.ndarray = CENTRE) -> np.ndarray:
    scale, rotation, move = pose
    roll = _roll(rotation)
    middle = (scale * rotation @ centre + move)[:2]
    axes = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) * scale * span / size
    return np.hstack([axes, (middle - axes @ [size / 2, size / 2])[:, None]])


@cache
def mean_face() -> Reference:
    """Everybody's face and nobody's: what a network starts from where there is no photo; made by `training/data.py`."""
    data = files("unmask_video").joinpath("mean_face.png").read_bytes()
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    landmarks = apply(invert(align(CANONICAL, image.shape[0])), CANONICAL)
    return Reference("the mean face", image, landmarks, np.zeros(192, np.float32))
