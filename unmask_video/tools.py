"""The networks that the options ask for, ready to be called, as the stages want them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from unmask_video import detect, identify, inpaint, landmarks, memory, reference, segment, track, turns, warp
from unmask_video.ahead import cores
from unmask_video.face import Detection, Face, Mask, mean_face
from unmask_video.frame import Frame
from unmask_video.journal import Journal
from unmask_video.options import Options
from unmask_video.people import Cast
from unmask_video.reference import Views
from unmask_video.runtime import fill_network

MOST_WORKERS = 8
"""Most threads that paint, or search; each has two frames in hand."""
BATCHED = 16
"""Threads that paint where a graphics card takes what they ask for in batches; most of them wait."""


@dataclass(frozen=True)
class Tools:
    """The networks, ready to be called."""

    detect: Callable[[Frame], list[Detection]]
    detect_near: Callable[[Frame, np.ndarray], list[Detection]]
    measure: landmarks.Measure
    segment: Callable[[Frame, Face], Mask]
    is_masked: Callable[[Frame, Face], Mask]
    """Our own networks whatever was chosen, the cheapest first: k-means takes every face for masked."""
    identity: Callable[[Frame, np.ndarray], np.ndarray]
    fill: inpaint.Fill
    size: Callable[[Face], int]
    """Pixels of the crop in which a face is filled."""
    rest: float
    """Seconds for which a painted face rests, see `turns`: none if a network gives whole pictures, whose mean is a blur."""
    look_ahead: bool
    """Frames may wait for later ones."""
    workers: int
    """Threads that paint, or search."""
    most: int
    """Faces in a frame."""
    let_go: Callable[[], None] = lambda: None
    """Gives back what looks for faces keep, when many of them are done."""
    every: Callable[[], int] = lambda: track.EVERY
    """Frames from one look for faces to the next, at present."""
    seen: dict[int, list[Detection]] = field(default_factory=dict)
    """What was seen in the search, by pts, for the frames that are looked at again."""
    crowds: list[str] = field(default_factory=list)
    """A warning, if more faces were seen."""

    @staticmethod
    def make(options: Options) -> Tools:
        providers = options.execution_providers
        backend = landmarks.mediapipe_backend() if options.landmarks == "mediapipe" else landmarks.onnx_backend(providers)
        network = None if options.model == "tps" else fill_network(options.model, providers)
        return Tools(
            detect=partial(detect.detect, providers=providers),
            detect_near=partial(detect.detect_near, providers=providers),
            measure=backend,
            let_go=partial(detect.let_go, providers),
            segment=segment.SEGMENTERS[options.segmenter](providers),
            is_masked=segment.sentry(providers),
            identity=partial(identify.identity, providers=providers),
            fill=inpaint.by_network(network) if network else inpaint.tps,
            size=(lambda _: network.size) if network and network.size else warp.size_for,
            workers=BATCHED if providers[0] == "torch" and network else min(cores(), MOST_WORKERS),
            look_ahead=options.look_ahead,
            most=options.max_faces,
            rest=0.0 if network and "face" in network.outputs else turns.REST if options.look_ahead else turns.BLIND_REST,
        )

    def remembered(self, journal: Journal) -> Tools:
        """The same, whose answers about the film are kept in a journal, or taken from it."""
        return replace(
            self,
            detect=memory.detections("detect", self.detect, journal),
            detect_near=memory.detections("near", self.detect_near, journal),
            measure=memory.measured(self.measure, journal),
            segment=memory.masks("segment", self.segment, journal),
            is_masked=memory.masks("masked", self.is_masked, journal),
            identity=memory.vectors(self.identity, journal),
        )

    def linker(self) -> track.Linker:
        def look(frame: Frame) -> list[Detection]:
            known = self.seen.pop(frame.pts, None)
            return self.best(self.detect(frame) if known is None else known)

        return track.Linker(
            look, self.detect_near, self.measure, landmarks.region_of_landmarks, landmarks.region_of_detection,
            landmarks.landmarks_of_detection, every=self.every,
        )  # fmt: skip

    def see(self, frame: Frame) -> list[Detection]:
        """What is in a frame, remembered for when it is looked at again."""
        self.seen[frame.pts] = self.best(self.detect(frame))
        return self.seen[frame.pts]

    def best(self, found: list[Detection]) -> list[Detection]:
        """As many as may be in a frame."""
        if len(found) > self.most and not self.crowds:
            self.crowds.append(f"more than {self.most} faces are in a frame, and the least clear stay masked; see --max-faces")
        return found[: self.most]

    def settle(self, frame: Frame, found: Detection, *, rounds: int = 2) -> tuple[np.ndarray, float]:
        return self.linker().settle(frame, found, rounds=rounds)

    def photos(self, names: Sequence[str]) -> list[Views]:
        """The people on the photos that the user gave."""
        load = partial(reference.load, detect=self.detect, settle=self.settle, identity=self.identity)
        return reference.group([load(name) for name in names])

    def cast(self, given: list[Views], mined: list[Views], options: Options) -> Cast:
        """Who may be in the film: those of the photos, or where none was given, those whom the film shows bare."""
        least = identify.SAME_PERSON if given else identify.SAME_IN_FILM
        return Cast(
            reference.join(given, mined) if given else mined, identity=self.identity,
            assign=partial(identify.assign, least=least), chosen=options.face_index, fill_unmatched=options.unmatched == "fill",
            never=options.never,
            stand_in=None if given or options.model == "tps" else mean_face(),
        )  # fmt: skip
