"""What is behind the mask: the reference in the frame's light, and the surroundings where no face is.

The model `tps` has no network. Its reference photo, warped by `warp.guide`, gets the light and colour of the
frame's visible skin; where a mask reaches past the face, the picture around it is carried in. Networks start
from that. Whatever painted the fill, it then takes on the colours of the skin right beside it, and the film's grain.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from unmask_video.face import FaceCrop, Guide, Mask, Patch
from unmask_video.picture import grid
from unmask_video.runtime import FillNetwork
from unmask_video.tone import (
    LOOK,
    SEEDS,
    diffuse,
    enlarged,
    match_sharpness,
    near,
    relight,
    shrunk,
    skin_like,
    square,
    toned,
    well_inside,
)

Fill = Callable[[FaceCrop, Mask, Guide], Patch]

SPILL = 0.016
"""How far light and blur carry a mask's colour past its edge, in crop sides."""


def by_network(network: FillNetwork) -> Fill:
    """What to paint over a masked face, by a network that takes any of `runtime.INPUTS`."""

    def fill(crop: FaceCrop, mask: Mask, guide: Guide) -> Patch:
        size = crop.image.shape[0]
        patch = tps(crop, mask, guide) if "warped" in network.inputs else None
        hidden = patch.alpha if patch else hole(mask, size)
        given = {"image": crop.image, "hidden": hidden[..., None]}
        if patch:
            given["warped"] = patch.image
        if "reference" in network.inputs:
            given["reference"] = cv2.resize(guide.photo, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
        view = network.view or size
        # Planes can hold colours that no screen shows, and no network has seen.
        shown = {name: shrunk(given[name], view).clip(0, 255).reshape(view, view, -1) for name in network.inputs}
        found = network.run({name: picture.transpose(2, 0, 1)[None] for name, picture in shown.items()})
        found = {name: values.transpose(1, 2, 0) for name, values in found.items()}
        face = found["face"] if "face" in found else moved(given["warped"], found["flow"], found["light"])
        return Patch(face, hidden, crop.crop_to_frame)

    return fill


def moved(warped: np.ndarray, flow: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Each pixel of a picture [S, S, 3] from where a flow [s, s, 2] points, under other light [s, s, 3].

    What `models.swift.Swift` does in the end; OpenCV does it in a sixth of ONNX Runtime's time.
    """
    size = len(warped)
    there = grid(size) + size * cv2.resize(flow, (size, size))
    face = cv2.remap(warped.clip(0, 255), there, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return (face + cv2.resize(light, (size, size))).clip(0, 255)


def tps(crop: FaceCrop, mask: Mask, guide: Guide) -> Patch:
    """What to paint over a masked face, without any network."""
    hidden = hole(mask, crop.image.shape[0])
    skin = well_inside(crop.landmarks, guide.face, hidden)
    photo = match_sharpness(guide.image, crop.image, enlarged(skin, len(hidden)))
    photo = relight(photo, crop.image, skin, near(crop.landmarks[SEEDS, :2] * LOOK / len(hidden), LOOK))
    # What lies right beside the outline may still be lashes or cheek, and would be smeared over the background.
    away = 1 - cv2.dilate(guide.face, square(len(hidden) // 64))
    around = diffuse(crop.image, (1 - hidden) * away)
    own = np.maximum(guide.face, guide.near * skin_like(photo, guide.face))
    image = around + (photo - around) * own[..., None]
    return Patch(image, hidden, crop.crop_to_frame)


def hole(mask: Mask, size: int) -> np.ndarray:
    """The mask widened by its spill and feathered, float32 [size, size] in 0..1."""
    alpha = cv2.resize(mask.alpha, (size, size), interpolation=cv2.INTER_CUBIC)
    reach = max(1, round(SPILL * size))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    wide = cv2.dilate((alpha > 0.4).astype(np.float32), disc)
    soft = cv2.GaussianBlur(wide, (0, 0), reach / 2)
    # Right under the mask nothing of it may shine through; the feather lies wholly in the spill.
    soft = np.clip(soft * 1.25, 0, 1)
    return np.where(soft < 0.02, 0, soft).astype(np.float32)


def painted(fill: Fill, crop: FaceCrop, mask: Mask, guide: Guide) -> Patch:
    """A fill, in tone with the frame."""
    return toned(fill(crop, mask, guide), crop, guide)
