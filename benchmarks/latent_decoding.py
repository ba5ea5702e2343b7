"""Time to decode latents: portable path, compiled loops, the range decoder alone, and one latent at a time.

    python -m benchmarks.latent_decoding

Ten slices of each job; networks and file parsing are not in the times. Every way decodes the same symbols and gives
the same latents (checked), in turns, and the best of ROUNDS is kept: seconds of the clock, and of the processor where
threads make no difference. "One latent at a time" is what codecs with float networks do: gather the context of one
latent of one sample, run the float32 network on it, decode one symbol of a Laplace distribution; timed on ONE_BY_ONE
latents of a stream that it encoded itself, with numpy and, where it is installed, with torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import constriction
import numpy as np
from threadpoolctl import threadpool_limits

import rducodec
from benchmarks.report import write_result
from rducodec.entropy import tables
from rducodec.entropy.context import context_offsets
from rducodec.entropy.latents import decode_latents, encode_latents
from rducodec.entropy.plain_coder import Decoder
from rducodec.entropy.range_coder import RangeDecoder, RangeEncoder
from rducodec.reader import MAX_GROUP_SAMPLES

NUM_SLICES = 10
ROUNDS = 15
ONE_BY_ONE = 1500  # latents
BATCH = 1024  # symbols in a call of the range decoder alone
FAR = 1 / 1000  # of the latents are 16 to 63, so that escapes occur
JOBS = {  # side, samples a slice, context, depth, nanoseconds a latent that two cores may take
    "16x2, 64 of 32x32": (32, 64, 16, 2, 100),
    "16x4, 64 of 32x32": (32, 64, 16, 4, 160),
    "32x4, 64 of 32x32": (32, 64, 32, 4, 300),
    "16x2, 1 of 128x128": (128, 1, 16, 2, 1373),  # 0.3 seconds for ten slices
}
SLOWER_AT_LEAST = 150  # times that one latent at a time takes


class Job:
    """Slices of one shape: latents, networks, and the payload of each."""

    def __init__(self, side: int, num_samples: int, context: int, depth: int) -> None:
        self.config = rducodec.LatentConfig(3, side, side, 6, context, depth)
        self.num_samples = num_samples
        rng = np.random.default_rng([side, num_samples, context, depth])
        self.networks = [self._network(rng) for _ in range(NUM_SLICES)]
        self.latents = [[self._grid(rng, h, w) for h, w in self.config.grid_shapes()] for _ in range(NUM_SLICES)]
        encoders = [RangeEncoder() for _ in range(NUM_SLICES)]
        encode_latents(encoders, self.networks, self.latents, self.config)
        self.payloads = [encoder.finish() for encoder in encoders]
        self.count = NUM_SLICES * num_samples * self.config.num_latents()

    def _network(self, rng: np.random.Generator) -> list[rducodec.QuantizedTensor]:
        """Small random weights around Laplace scales of exp(3.6 - 4), as trained ones are."""
        values = [rng.normal(scale=0.1, size=shape) for shape in self.config.entropy_shapes()]
        values[-1] = np.array([0, 3.6])
        return [rducodec.QuantizedTensor(np.rint(v * 256).astype(np.int32), 8) for v in values]

    def _grid(self, rng: np.random.Generator, h: int, w: int) -> np.ndarray:
        grid = np.rint(rng.laplace(scale=0.6, size=(self.num_samples, h, w)))
        far = rng.random(grid.shape) < FAR
        grid[far] = rng.integers(16, 64, int(far.sum()))
        return grid.astype(np.int16)

    def decode(self, new: Callable[[bytes], Decoder], members: range) -> None:
        """Decode these slices side by side and check them."""
        decoders = [new(self.payloads[index]) for index in members]
        networks = [self.networks[index] for index in members]
        for index, grids in zip(
            members, decode_latents(decoders, networks, self.num_samples, self.config), strict=True
        ):
            assert all(np.array_equal(a, b) for a, b in zip(grids, self.latents[index], strict=True))
        for decoder in decoders:
            decoder.finish()


class Recorder(Decoder):
    """A range decoder that keeps the tables and symbols that passed."""

    def __init__(self, payload: bytes) -> None:
        self._decoder = RangeDecoder(payload)
        self.calls: list[tuple[np.ndarray, np.ndarray]] = []

    def decode(self, rows: np.ndarray) -> np.ndarray:
        symbols = self._decoder.decode(rows)
        if rows.shape[1] == tables.ALPHABET:
            self.calls.append((rows.copy(), symbols))
        return symbols

    def finish(self) -> None:
        self._decoder.finish()


def side_by_side(job: Job) -> list[range]:
    """Groups of slices as the reader makes them for the portable path."""
    size = max(1, MAX_GROUP_SAMPLES // job.num_samples)
    return [range(begin, min(begin + size, NUM_SLICES)) for begin in range(0, NUM_SLICES, size)]


def ways(job: Job, pools: dict[int, ThreadPoolExecutor]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and action of each way to decode all slices."""
    choices: dict[str, tuple[Callable[[bytes], Decoder], list[range]]] = {"portable": (RangeDecoder, side_by_side(job))}
    try:
        from rducodec.entropy.compiled import CompiledDecoder

        choices["compiled"] = (CompiledDecoder, [range(i, i + 1) for i in range(NUM_SLICES)])
    except ImportError:
        print("numba is not installed: no compiled loops")
    for name, (new, groups) in choices.items():
        for threads, pool in pools.items():

            def decode(new: Any = new, groups: Any = groups, pool: Any = pool) -> None:
                list(pool.map(lambda members: job.decode(new, members), groups))

            yield f"{name}, {threads} thread{'s' * (threads > 1)}", decode
    recorders: list[Recorder] = []
    job.decode(lambda payload: recorders.append(Recorder(payload)) or recorders[-1], range(NUM_SLICES))
    rows, symbols = (
        np.concatenate([call[part] for recorder in recorders for call in recorder.calls]) for part in (0, 1)
    )
    encoder = RangeEncoder()
    encoder.encode(symbols, rows)
    payload = encoder.finish()

    def alone() -> None:
        decoder = RangeDecoder(payload)
        found = [decoder.decode(rows[begin : begin + BATCH]) for begin in range(0, len(rows), BATCH)]
        assert np.array_equal(np.concatenate(found), symbols)

    yield "range decoder alone", alone


def numpy_network(layers: list[np.ndarray]) -> Callable[[np.ndarray], tuple[float, float]]:
    """Mean and log-scale of one latent from its context, float32 in numpy."""

    def predict(context: np.ndarray) -> tuple[float, float]:
        x = context
        for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
            x = np.maximum(weight @ x + bias + x, 0)
        mean, log_scale = (layers[-2] @ x + layers[-1]).tolist()
        return mean, log_scale

    return predict


def torch_network(layers: list[np.ndarray]) -> Callable[[np.ndarray], tuple[float, float]]:
    """The same in torch."""
    import torch

    tensors = [torch.from_numpy(layer) for layer in layers]

    def predict(context: np.ndarray) -> tuple[float, float]:
        with torch.no_grad():
            x = torch.from_numpy(context)
            for weight, bias in zip(tensors[:-2:2], tensors[1:-2:2], strict=True):
                x = torch.relu(torch.nn.functional.linear(x, weight, bias) + x)
            mean, log_scale = torch.nn.functional.linear(x, tensors[-2], tensors[-1]).tolist()
        return mean, log_scale

    return predict


def one_by_one(job: Job, network: Callable[[list[np.ndarray]], Callable[[np.ndarray], tuple[float, float]]]) -> float:
    """Nanoseconds a latent, one latent of one sample at a time in raster order; the stream is its own."""
    predict = network([tensor.dequantize().astype(np.float32) for tensor in job.networks[0]])
    offsets = context_offsets(job.config.context_size)
    border = 4  # of zeros around a grid, as far as contexts reach
    down, right = (np.array([offset[axis] for offset in offsets]) + border for axis in (0, 1))
    places = [
        (sample, k, y, x)
        for sample in range(job.num_samples)
        for k, (h, w) in enumerate(job.config.grid_shapes())
        for y in range(h)
        for x in range(w)
    ][:ONE_BY_ONE]

    def walk(code: Callable[[Any, int], int]) -> None:
        canvases: dict[tuple[int, int], np.ndarray] = {}
        for sample, k, y, x in places:
            if (sample, k) not in canvases:
                h, w = job.config.grid_shapes()[k]
                canvases[sample, k] = np.zeros((h + 2 * border, w + 2 * border), np.float32)
            canvas = canvases[sample, k]
            mean, log_scale = predict(canvas[y + down, x + right])
            scale = min(max(np.exp(log_scale - 4), 1e-2), 150)
            model = constriction.stream.model.QuantizedLaplace(-128, 127, mean, scale)
            place = sample, k, y, x
            canvas[y + border, x + border] = code(model, int(job.latents[0][k][place[0], y, x]))

    encoder = constriction.stream.queue.RangeEncoder()

    def encode(model: Any, latent: int) -> int:
        encoder.encode(latent, model)
        return latent

    walk(encode)
    best = np.inf
    for _ in range(ROUNDS):
        decoder = constriction.stream.queue.RangeDecoder(encoder.get_compressed())
        found = []

        def decode(model: Any, _: int, decoder: Any = decoder, found: Any = found) -> int:
            found.append(decoder.decode(model))
            return found[-1]

        begin = time.process_time()
        walk(decode)
        best = min(best, time.process_time() - begin)
        assert found == [int(job.latents[0][k][sample, y, x]) for sample, k, y, x in places]
    return 1e9 * best / len(places)


def measure(job: Job, pools: dict[int, ThreadPoolExecutor]) -> dict[str, float]:
    """Nanoseconds a latent of every way."""
    actions = dict(ways(job, pools))
    clock = dict.fromkeys(actions, np.inf)
    processor = dict.fromkeys(actions, np.inf)
    for _ in range(ROUNDS):
        for name, action in actions.items():
            begin, begin_processor = time.perf_counter(), time.process_time()
            action()
            processor[name] = min(processor[name], time.process_time() - begin_processor)
            clock[name] = min(clock[name], time.perf_counter() - begin)
    result = {}
    for name in actions:
        result[name] = 1e9 * clock[name] / job.count
        result[f"{name}, processor time"] = 1e9 * processor[name] / job.count
    result["one latent at a time, numpy, processor time"] = one_by_one(job, numpy_network)
    with suppress(ImportError):
        result["one latent at a time, torch, processor time"] = one_by_one(job, torch_network)
    return result


def main() -> None:
    """Run all jobs, print the table, write the result."""
    rows = {}
    with threadpool_limits(1), ThreadPoolExecutor(1) as single, ThreadPoolExecutor(2) as pair:
        for name, (side, num_samples, context, depth, allowed) in JOBS.items():
            job = Job(side, num_samples, context, depth)
            times = measure(job, {1: single, 2: pair})
            bits = 8 * sum(len(payload) for payload in job.payloads) / job.count
            print(f"{name}: {job.count} latents, {bits:.2f} bits each")
            rows[name] = {"latents": job.count, "bits_per_latent": bits, "nanoseconds_per_latent": times}
            fast = times.get("compiled, 2 threads", times["portable, 2 threads"])
            for way, nanoseconds in times.items():
                print(f"  {way:46} {nanoseconds:9.1f} ns  {nanoseconds / fast:8.2f}")
            slower = times["one latent at a time, numpy, processor time"] / fast
            rows[name] |= {"allowed": allowed, "one_latent_at_a_time_ratio": slower}
            print(f"  two threads: {fast:.0f} ns, at most {allowed}; {fast * job.count / 1e9:.3f} s")
            print(f"  one latent at a time: {slower:.0f} times, at least {SLOWER_AT_LEAST}")
    write_result("latent_decoding", {"rows": rows})


if __name__ == "__main__":
    main()
