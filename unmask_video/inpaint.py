"""What is behind the mask: the reference in the frame's light, and the surroundings where no face is.

The model `tps` has no network. Its reference photo, warped by `warp.guide`, gets the light and colour of the
frame's visible skin; where a mask reaches past the face, the picture around it is carried in. Networks start
from that. Whatever painted the fill, it then takes on the colours of the skin right beside it, and the film's grain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from unmask_video.face import LOOK, FaceCrop, Guide, Mask
from unmask_video.painting import Painting, enlarged, shrunk
from unmask_video.runtime import FillNetwork
from unmask_video.tone import SEEDS, diffuse, near, relight, seam_colours, skin_like, softness, square, visible_skin, well_inside

Fill = Callable[[FaceCrop, Mask, Guide], Painting]

SPILL = 0.016
"""How far light and blur carry a mask's colour past its edge, in crop sides."""
FINEST = 256
"""Pixels of the crop beyond which a hole's edge has no more to tell."""


def by_network(network: FillNetwork) -> Fill:
    """What to paint over a masked face, by a network that takes any of `runtime.INPUTS`."""

    def fill(crop: FaceCrop, mask: Mask, guide: Guide) -> Painting:
        size = crop.size
        painting = tps(crop, mask, guide) if "warped" in network.inputs else None
        hidden = painting.hidden if painting else hole(mask, size)
        view = network.view or size
        glance = network.view is not None and view <= LOOK
        given = {
            "image": lambda: crop.look if glance else crop.image,
            "hidden": lambda: hidden,
            "warped": lambda: painting.look if glance else painting.at(size),
            "reference": lambda: guide.reference.image,
        }
        # Planes can hold colours that no screen shows, and no network has seen.
        shown = {name: shrunk(given[name](), view).clip(0, 255).reshape(view, view, -1) for name in network.inputs}
        found = network.run({name: picture.astype(np.float32).transpose(2, 0, 1)[None] for name, picture in shown.items()})
        found = {name: values.transpose(1, 2, 0) for name, values in found.items()}
        if "face" in found:
            return Painting.plain(found["face"], hidden, crop.crop_to_frame)
        return painting.moved(found["flow"], found["light"])

    return fill


def tps(crop: FaceCrop, mask: Mask, guide: Guide) -> Painting:
    """What to paint over a masked face, without any network."""
    hidden = hole(mask, crop.size)
    skin = well_inside(crop.landmarks, guide.face, hidden)
    blur = softness(crop, guide, skin)
    look = cv2.GaussianBlur(guide.look, (0, 0), small) if (small := blur * LOOK) > 0.2 else guide.look
    gain, rest = relight(look, crop.look, skin, near(crop.landmarks[SEEDS, :2] * LOOK / len(hidden), LOOK))
    look = look * gain + rest
    # What lies right beside the outline may still be lashes or cheek, and would be smeared over the background.
    away = 1 - cv2.dilate(guide.face, square(LOOK // 64))
    around = diffuse(crop.look, (1 - shrunk(hidden)) * away)
    own = np.maximum(guide.face, guide.near * skin_like(look, guide.face))[..., None]
    rest = around + (rest - around) * own
    look = around + (look - around) * own
    return Painting(guide.reference.picture, guide.where, gain * own, rest, look, hidden, crop.crop_to_frame, blur, skin)


def hole(mask: Mask, size: int) -> np.ndarray:
    """The mask widened by its spill and feathered, float32 [size, size] in 0..1."""
    fine = min(size, FINEST)
    alpha = cv2.resize(mask.alpha, (fine, fine), interpolation=cv2.INTER_CUBIC)
    reach = max(1, round(SPILL * fine))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    wide = cv2.dilate((alpha > 0.4).astype(np.uint8), disc).astype(np.float32)
    # Right under the mask nothing of it may shine through; the feather lies wholly in the spill.
    soft = cv2.min(1.25 * cv2.GaussianBlur(wide, (0, 0), reach / 2), 1.0)
    return enlarged(cv2.threshold(soft, 0.02, 0, cv2.THRESH_TOZERO)[1], size)


def painted(fill: Fill, crop: FaceCrop, mask: Mask, guide: Guide) -> Painting:
    """A fill in tone with the frame: with the colours of the skin beside it, and told whose grain it shall have."""
    painting = fill(crop, mask, guide)
    place = crop.landmarks, guide.face, painting.hidden
    beside = visible_skin(*place, margin=LOOK // 64, gap=0)
    # A fill may leave what colours can be, which would be taken for light that the frame lacks.
    look, own = painting.look.clip(0, 255), (shrunk(painting.hidden) > 0.98) * guide.face
    rest = painting.rest + seam_colours(crop.look, beside, look, own)
    return replace(painting, rest=rest, skin=well_inside(*place) if painting.skin is None else painting.skin)
