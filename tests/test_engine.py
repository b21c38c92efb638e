"""PyTorch for many threads: the same answers in batches, whatever memory there is. On the CPU device, and on CUDA where it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from faces import Footage, masked, write_footage
from helpers import Film, frames_25

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from unmask_video import BadEnvironment, BadOption, Options, decode, engine, models, runtime, tools, unmask  # noqa: E402
from unmask_video.engine import SIZES, Engine, engine_for  # noqa: E402
from unmask_video.frame import Frame  # noqa: E402
from unmask_video.runtime import FillNetwork, bound, fill_network, session  # noqa: E402

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_CUDA])]


class Sums(torch.nn.Module):
    """Its picture, and its sum; tells how many came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.seen = torch.nn.Parameter(torch.ones(1)), []

    def forward(self, image: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen.append(len(image))
        return image * self.scale + other, image.sum((1, 2, 3))[:, None]


@pytest.fixture
def made() -> Iterator[Callable[..., Engine]]:
    """Engines that are closed in the end."""
    engines = []

    def make(network: torch.nn.Module, **options: object) -> Engine:
        options = {"device": "cpu", "half": False, **options}
        engines.append(Engine(network, ("image", "other"), ("both", "sum"), **options))
        return engines[-1]

    yield make
    for one in engines:
        one.close()
    assert [t.name for t in threading.enumerate() if t in {t for one in engines for t in one.threads}] == []


def given(level: float, size: int = 4) -> dict[str, np.ndarray]:
    return {name: np.full((1, 3, size, size), level * k, np.float32) for k, name in enumerate(("image", "other"), 1)}


def assert_right(found: dict[str, np.ndarray], level: float, size: int = 4) -> None:
    assert found["both"].shape == (1, 3, size, size) and found["sum"].shape == (1, 1)
    assert np.allclose(found["both"], 3 * level) and np.allclose(found["sum"], 3 * size * size * level)
    assert all(values.dtype == np.float32 for values in found.values())


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("device", DEVICES)
def test_each_thread_gets_its_own_answer(slots: int, device: str, made: Callable[..., Engine]) -> None:
    one = made(Sums(), slots=slots, device=device)
    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda k: one.run(given(k)), range(200)))
    for k, answer in enumerate(found):
        assert_right(answer, k)


def wait_for(engine: Engine, count: int) -> None:
    """Until so many crops wait, but not for ever."""
    until = time.monotonic() + 20
    while engine.waiting.qsize() < count and time.monotonic() < until:
        time.sleep(0.01)


def test_what_waits_goes_in_one_batch_of_a_padded_size(made: Callable[..., Engine]) -> None:
    network, begun, first = Sums(), threading.Event(), threading.Event()
    whole, network.forward = network.forward, lambda *x: (begun.set(), first.wait(5), whole(*x))[2]
    one = made(network, slots=1)
    with ThreadPoolExecutor(20) as pool:
        early = pool.submit(one.run, given(0))
        assert begun.wait(20), "the first is alone"
        late = [pool.submit(one.run, given(k)) for k in range(1, 12)]
        wait_for(one, 11)
        first.set()
        assert_right(early.result(), 0)
        for k, answer in enumerate(late, 1):
            assert_right(answer.result(), k)
    assert network.seen == [1, 16] and set(network.seen) <= set(SIZES)


def test_crops_of_other_sizes_go_in_other_batches(made: Callable[..., Engine]) -> None:
    one = made(Sums(), slots=1)
    with ThreadPoolExecutor(12) as pool:
        answers = {(k, size): pool.submit(one.run, given(k, size)) for k in range(20) for size in (4, 8)}
    for (k, size), answer in answers.items():
        assert_right(answer.result(), k, size)


def test_too_little_memory_halves_the_batch(made: Callable[..., Engine], caplog: pytest.LogCaptureFixture) -> None:
    network, begun, go = Sums(), threading.Event(), threading.Event()
    whole = network.forward

    def forward(image: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, ...]:
        begun.set()
        go.wait(5)
        if len(image) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(image, other)

    network.forward = forward
    one = made(network, slots=1)
    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(one.run, given(0))]
        assert begun.wait(20), "the first is alone"
        answers += [pool.submit(one.run, given(k)) for k in range(1, 10)]
        wait_for(one, 9)
        go.set()
        for k, answer in enumerate(answers):
            assert_right(answer.result(), k)
    assert one.most <= 2 and "too little memory" in caplog.text


def test_one_crop_too_many_is_an_error_and_the_engine_lives(made: Callable[..., Engine]) -> None:
    network = Sums()
    whole, network.forward = network.forward, lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    one = made(network)
    with pytest.raises(BadEnvironment, match="out of memory.*another provider"):
        one.run(given(1))
    network.forward = whole
    assert_right(one.run(given(2)), 2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA works here")
def test_what_is_asked_for_and_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadEnvironment, match="does not reach cuda here.*another provider"):
        fill_network("swift", ("torch", "cpu"))
    with pytest.raises(BadOption, match="PyTorch cannot run"):
        fill_network("own.onnx", ("torch",))


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The provider torch on the CPU."""
    monkeypatch.setattr(runtime, "engine_for", lambda model: engine_for(model, "cpu"))
    monkeypatch.setattr(tools, "BATCHED", 4)
    yield
    engine_for("swift", "cpu").close()
    engine_for.cache_clear()



def pictures(network: FillNetwork) -> dict[str, np.ndarray]:
    rng, given = np.random.default_rng(3), {}
    for name in network.inputs:
        shape = (1, runtime.INPUTS[name], network.view, network.view)
        given[name] = rng.uniform(0, 1 if name == "hidden" else 255, shape).astype(np.float32)
    return given


def test_pytorch_and_onnx_runtime_agree(by_torch: None) -> None:
    here, there = fill_network("swift", ("torch",)), fill_network("swift")
    assert (here.inputs, here.outputs, here.size, here.view) == (there.inputs, there.outputs, there.size, there.view)
    a, b = (network.run(pictures(network)) for network in (here, there))
    assert np.abs(a["flow"] - b["flow"]).max() * 255 < 1 and np.abs(a["light"] - b["light"]).max() < 1
    assert np.ptp(a["light"]) > 1


def test_half_precision_is_near_enough() -> None:
    network = fill_network("swift")
    one = engine_for("swift", "cpu")
    half = Engine(one.network, one.inputs, one.outputs, device="cpu", half=True)
    try:
        a, b = half.run(pictures(network)), network.run(pictures(network))
        assert np.abs(a["light"][0] - b["light"]).max() < 2 and np.abs(a["flow"][0] - b["flow"]).max() * 256 < 2
    finally:
        half.close()
        one.close()
        engine_for.cache_clear()


def whole(path: Path) -> list[Frame]:
    with decode.open_video(path) as video:
        return list(video.frames())


def test_a_film_by_pytorch_is_the_film_by_onnx_runtime(by_torch: None, tmp_path: Path) -> None:
    write_footage(tmp_path / "in.mp4", Footage(masked()[0]), Film(size=(256, 256), pts=frames_25(12)))
    films = []
    for name in ("cpu", "torch"):
        report = unmask(tmp_path / "in.mp4", tmp_path / f"{name}.mkv", options=Options(execution_providers=(name,), crf=0))
        assert report.filled >= 11
        films.append(whole(tmp_path / f"{name}.mkv"))
    for a, b in zip(*films, strict=True):
        assert max(np.abs(p.astype(int) - q).max() for p, q in zip(a.planes, b.planes, strict=True)) <= 3


def test_bound_inputs_and_outputs_are_the_same() -> None:
    network = fill_network("swift")
    given = pictures(network)
    wanted = network.run(given)
    found = bound(session("swift"), network.outputs, given)
    assert all((found[name][0] == wanted[name]).all() for name in network.outputs)


def test_the_view_is_that_of_the_network() -> None:
    from unmask_video.models.swift import VIEW

    assert engine.VIEW == VIEW and "swift" in models.MODELS
