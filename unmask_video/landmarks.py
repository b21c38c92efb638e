"""468 landmarks of a face: MediaPipe FaceMesh (Kartynnik et al., arXiv 1907.06724).

Two backends with one face: `onnx` (the ported network in ONNX Runtime) and `mediapipe` (the package
itself, `pip install "unmask-video[mediapipe]"`). Both look at a square region around the face.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unmask_video.errors import BadEnvironment
from unmask_video.face import CANONICAL, EYES, Detection
from unmask_video.frame import Frame
from unmask_video.geometry import apply
from unmask_video.picture import sample
from unmask_video.runtime import session

SIZE = 192
"""Pixels of the network's picture."""
MARGIN = 1.5
"""Region's side in longer sides of the landmarks' box; MediaPipe's own number."""
RIGHT_EYE, LEFT_EYE = 33, 263
"""Outer corners of the person's own right and left eye."""

FIVE = (*EYES, (4,), (61,), (291,))
"""FaceMesh's points for the detector's five: eyes, nose tip, mouth's corners."""

Measure = Callable[[Frame, list[np.ndarray]], list[tuple[np.ndarray, float]]]
"""(frame, regions) -> (landmarks float64 [468, 3] in frame pixels, score 0..1) of each."""


def region_of_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Affine [2, 3] from the unit square to the region around landmarks [468, 2 or 3]."""
    points = landmarks[:, :2]
    return _region(points, points[LEFT_EYE] - points[RIGHT_EYE], MARGIN)


def region_of_detection(found: Detection) -> np.ndarray:
    """Affine [2, 3] from the unit square to the region around a detected face."""
    corners = found.box[[0, 1, 2, 1, 0, 3, 2, 3]].reshape(4, 2)
    return _region(corners, found.points[1] - found.points[0], MARGIN)


def landmarks_of_detection(found: Detection) -> np.ndarray:
    """The mean face [468, 3] under the pose of the detector's five points.

    For profiles, where FaceMesh fails. Scaled orthography (DeMenthon and Davis 1995): an affine fit, then
    the nearest rotation.
    """
    model = np.stack([CANONICAL[list(ring)].mean(0) for ring in FIVE])
    middle, seen = model.mean(0), found.points.mean(0)
    affine = np.linalg.lstsq(model - middle, found.points - seen, rcond=None)[0].T
    u, s, vt = np.linalg.svd(affine, full_matrices=False)
    rows, scale = u @ vt, s.mean()
    rotation = np.vstack([rows, np.cross(rows[0], rows[1])])
    placed = scale * (CANONICAL - middle) @ rotation.T
    return placed + [*seen, 0.0]


def _region(points: np.ndarray, eyes: np.ndarray, margin: float) -> np.ndarray:
    """A square around the points, turned so that the eyes lie level."""
    low, high = points.min(0), points.max(0)
    side = (high - low).max() * margin
    right = side * eyes / max(np.hypot(*eyes), 1e-6)
    axes = np.array([[right[0], -right[1]], [right[1], right[0]]])
    return np.hstack([axes, ((low + high) / 2 - axes @ [0.5, 0.5])[:, None]])


def onnx_backend(providers: tuple[str, ...] = ("cpu",), network_name: str = "facemesh") -> Measure:
    """FaceMesh in ONNX Runtime, all faces of a frame in one batch; `facemesh_published` tells the same, but later."""
    network = session(network_name, providers)
    name = network.get_inputs()[0].name

    def measure(frame: Frame, regions: list[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        if not regions:
            return []
        crops = [_to_pixels(region, SIZE) for region in regions]
        pictures = np.stack([sample(frame, crop, SIZE) for crop in crops]) / 255.0
        points, logits = network.run(None, {name: pictures.astype(np.float32)})
        points = points.reshape(-1, 468, 3).astype(np.float64)
        scores = 1 / (1 + np.exp(-logits.ravel().astype(np.float64)))
        return [(apply(c, p), float(s)) for c, p, s in zip(crops, points, scores, strict=True)]

    return measure


GRAPH = """
input_stream: "image" input_stream: "roi" output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image" input_stream: "ROI:roi" output_stream: "LANDMARKS:landmarks"
}
"""
"""MediaPipe's own subgraph without its detector, which does not find masked faces."""


def mediapipe_backend() -> Measure:
    """FaceMesh as the mediapipe package (0.10.14 to 0.10.21) runs it."""
    try:
        import mediapipe
        from mediapipe.framework.formats import rect_pb2
        from mediapipe.python import packet_creator, packet_getter
        from mediapipe.python._framework_bindings import calculator_graph, resource_util
    except ImportError as error:
        raise BadEnvironment(
            f'the landmarks backend mediapipe is not installed ({error}); pip install "unmask-video[mediapipe]",'
            " or use --landmarks onnx"
        ) from None
    resource_util.set_resource_dir(str(Path(mediapipe.__file__).parents[1]))
    graph = calculator_graph.CalculatorGraph(graph_config=GRAPH)
    got: list[np.ndarray] = []
    graph.observe_output_stream("landmarks", lambda _, packet: got.append(_points(packet_getter.get_proto(packet))))
    graph.start_run()
    whole = rect_pb2.NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0, rotation=0.0)
    clock = itertools.count()

    def measure(frame: Frame, regions: list[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        found = []
        for region in regions:
            crop = _to_pixels(region, SIZE)
            picture = sample(frame, crop, SIZE).clip(0, 255).astype(np.uint8)
            image = packet_creator.create_image_frame(image_format=mediapipe.ImageFormat.SRGB, data=picture)
            tick = next(clock)
            got.clear()
            graph.add_packet_to_input_stream("image", image.at(tick))
            graph.add_packet_to_input_stream("roi", packet_creator.create_proto(whole).at(tick))
            graph.wait_until_idle()
            # MediaPipe gives no landmarks where it believes that there is no face.
            points = got[0] * SIZE if got else np.zeros((468, 3))
            found.append((apply(crop, points), float(bool(got))))
        return found

    return measure


def _points(landmarks: Any) -> np.ndarray:
    """A NormalizedLandmarkList as float64 [468, 3]."""
    return np.array([[p.x, p.y, p.z] for p in landmarks.landmark])


def _to_pixels(region: np.ndarray, size: int) -> np.ndarray:
    """The region's map from pixels of a crop of `size` px."""
    return np.hstack([region[:, :2] / size, region[:, 2:]])
