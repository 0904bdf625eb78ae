"""Films: cuts found, frames kept and found again, cores kept busy, memory, and one frame by a seek.

    python benchmarks/films.py FOLDER DATA [--part NAME]... [--set NAME] [--model NAME]... [--cache DIR]
        [--out FILE]

FOLDER is filled with films (see film_sets.py), and with films made of them and of photographs in DATA/NAME. Parts,
all by default:

- cuts: precision and recall of cuts within .13 s in films of single shots in four codecs, and CPU time, beside the
  AdaptiveDetector of PySceneDetect, which only this needs (`pip install scenedetect`), in the same run. Settings
  are chosen with `--set flickr8k-train`, of whose film no shot is in the other.
- keeping: frames kept an hour, and whether the film is first for frames that were not sampled, half way between
  those that were, cropped to 80 %, among all films and 12 of photographs. Its moment is right within 1.5 s of the
  span that the kept frame stands for. For each model the threshold is said at which it keeps about as many.
- efficiency: frames that `Library.index` samples and embeds a second, of what the cores could do if they decoded
  all frames and ran the image tower, and nothing else: as it was, and without what other programs took meanwhile.
  What that costs is measured on all cores at once, before and after: one alone is faster. Beside it the same with
  what sampling costs, which leaves frames out, in place of decoding all.
- memory: the peaks of the process that reads a film of two hours, and of the main one, at 10, 50 and 100 %.
- frame: milliseconds to open a film and decode the frame at a time; asks the films that `cuts` makes, too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import film_sets
import numpy as np
from indexing import cpu_seconds
from machine import report
from memory import family, peak_mb
from platformdirs import user_cache_path

from mmsearch import Library
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.film.keep import Keeper, novel_below
from mmsearch.film.read import FilmFrame, open_film
from mmsearch.film.scale import bmp
from mmsearch.images import decode
from mmsearch.records import Matrix
from mmsearch.samples import sample_folder
from mmsearch.system import n_cores

TOLERANCE_S, MOMENT_S = 0.13, 1.5
N_PHOTOGRAPHS = 40  # in a film with known cuts
N_DISTRACTORS, OF_EACH, SLOW = 12, 12, 10  # films of photographs, of so many each, at so many frames a second
THRESHOLDS = (0.95, 0.9, 0.85, 0.8, 0.7)
BATCH = 8
N_ROUNDS = 3
N_FRAMES = 25  # asked for by their times
SHARES = (10, 50, 100)  # per cent of a film


def samples_of(path: Path) -> list[FilmFrame]:
    """Return what is sampled of a film."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with open_film(handle) as film:
            return list(film.samples())
    finally:
        os.close(handle)


# -- cuts ----------------------------------------------------------------------------------------------


def found_by_mmsearch(path: Path) -> list[float]:
    """Return the times of cuts."""
    return [frame.at for frame in samples_of(path) if frame.is_cut]


def found_by_scenedetect(path: Path) -> list[float]:
    """Return the times of cuts that PySceneDetect finds as it comes."""
    import scenedetect

    manager = scenedetect.SceneManager()
    manager.add_detector(scenedetect.AdaptiveDetector())
    manager.detect_scenes(scenedetect.open_video(str(path), backend="pyav"))
    return [begin.seconds for begin, _ in manager.get_scene_list()][1:]


def matched(found: list[float], truth: list[float]) -> tuple[list[float], list[float]]:
    """Return the times that were found and are no cuts, and the cuts that were not found."""
    false, missed = [], list(truth)
    for at in found:
        near = min(missed, key=lambda cut: abs(cut - at), default=np.inf)
        if abs(near - at) <= TOLERANCE_S:
            missed.remove(near)
        else:
            false.append(at)
    return false, missed


def cuts(given: argparse.Namespace) -> dict[str, Any]:
    """Print precision, recall and CPU time by codec."""
    pictures = film_sets.photographs(given.data / given.set, N_PHOTOGRAPHS)
    shots = film_sets.mixed(given.folder, pictures, is_even=given.set.endswith("test"))
    figures: dict[str, Any] = {}
    for name, (container, codec, options) in film_sets.CODECS.items():
        path = given.folder / "made" / f"cuts-{given.set}-{name}.{container}"
        path, truth = film_sets.film_of(path, shots, codec, options)
        row = {}
        for who, find in (("mmsearch", found_by_mmsearch), ("PySceneDetect", found_by_scenedetect)):
            start = time.process_time()
            found = find(path)
            cpu = time.process_time() - start
            false, missed = matched(found, truth)
            n_right = len(truth) - len(missed)
            row[who] = {"precision": n_right / max(1, len(found)), "recall": n_right / len(truth), "CPU s": cpu,
                        "false": false, "missed": missed}  # fmt: skip
            print(f"{name:5s} {len(truth)} cuts, {who:13s} precision {row[who]['precision']:.3f} recall "
                  f"{row[who]['recall']:.3f} CPU {cpu:.1f} s; false {np.round(false, 2)}, missed "
                  f"{np.round(missed, 2)}", flush=True)  # fmt: skip
        row["times as fast"] = row["PySceneDetect"]["CPU s"] / row["mmsearch"]["CPU s"]
        print(f"{name:5s} {row['times as fast']:.2f} times as fast as PySceneDetect", flush=True)
        figures[name] = row
    return figures


# -- keeping -------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A film: times and vectors of what is sampled of it, and of what is asked for; and how long it is."""

    name: str
    at: list[float]
    vectors: Matrix
    asked_at: list[float]
    asked: Matrix
    seconds: float


def films_to_keep(given: argparse.Namespace) -> dict[str, Path]:
    """Return the films by name, and those of photographs that are beside them."""
    films = {name: given.folder / path for name, path in film_sets.FILMS.items()}
    pictures = film_sets.photographs(given.data / given.set, N_DISTRACTORS * OF_EACH, skip=N_PHOTOGRAPHS)
    rng = np.random.default_rng(5)
    for number in range(N_DISTRACTORS):
        of_this = pictures[number * OF_EACH : (number + 1) * OF_EACH]
        shots = [film_sets.moving(picture, rng, seconds=3) for picture in of_this]
        path = given.folder / "made" / f"distractor-{given.set}-{number}.mp4"
        films[path.stem], _ = film_sets.film_of(path, shots, *film_sets.CODECS["x264"][1:], rate=SLOW)
    return films


def between(path: Path, last: float) -> list[tuple[float, bytes]]:
    """Return frames half way between whole seconds, cropped to 80 %, as BMP files, with their times."""
    asked, second = [], 0
    for at, frame in film_sets.decoded(path):
        if at >= second + 0.5 and at < last:
            pixels = frame.to_ndarray(format="bgr24")
            height, width = pixels.shape[:2]
            asked.append((at, bmp(pixels[height // 10 : height - height // 10, width // 10 : width - width // 10])))
            second = int(at) + 1
    return asked


def embedded(encoder: OnnxEncoder, pictures: list[bytes]) -> Matrix:
    """Return the vectors of pictures."""
    pixels = (decode(picture, encoder.preprocessing).pixels for picture in pictures)
    return np.concatenate([encoder.encode_images(each[None]) for each in pixels])


def kept_of(film: Asked, threshold: float) -> tuple[list[int], list[list[float]]]:
    """Return which samples of a film are kept, and the span of time that each stands for."""
    keeper = Keeper(threshold, film.vectors[:0])
    kept, spans = [], []
    for row, (at, vector) in enumerate(zip(film.at, film.vectors, strict=True)):
        if spans and keeper.is_last_seen:
            spans[-1][1] = at
        if keeper.is_kept(vector, at):
            kept.append(row)
            spans.append([at, at])
    return kept, spans


def n_kept(films: list[Asked], threshold: float) -> int:
    """Return how many frames are kept of films."""
    return sum(len(kept_of(film, threshold)[0]) for film in films)


def found_again(films: list[Asked], threshold: float) -> dict[str, float | list[int]]:
    """Return how many frames are kept an hour, and in what share of the questions the film and moment are right.

    By the name of each film: frames that are kept, questions, and those whose film and moment are right.
    """
    kept = [kept_of(film, threshold) for film in films]
    vectors = np.concatenate([film.vectors[rows] for film, (rows, _) in zip(films, kept, strict=True)])
    owner = np.repeat(np.arange(len(films)), [len(rows) for rows, _ in kept])
    spans = np.array([span for _, of_film in kept for span in of_film])
    figures: dict[str, float | list[int]] = {}
    n_real = len(film_sets.FILMS)
    for label, chosen in (("films", range(n_real)), ("films and photographs", range(len(films)))):
        right, near = [], []
        for number in chosen:
            best = (films[number].asked @ vectors.T).argmax(axis=1)
            at = np.array(films[number].asked_at)
            is_right = owner[best] == number
            away = np.maximum(spans[best, 0] - at, at - spans[best, 1])
            right.append(is_right)
            near.append(is_right & (away <= MOMENT_S))
            n_right, n_near = int(is_right.sum()), int(near[-1].sum())
            figures[films[number].name] = [len(kept[number][0]), len(best), n_right, n_near]
        hours = sum(films[number].seconds for number in chosen) / 3600
        figures |= {
            f"{label}: kept an hour": sum(len(kept[number][0]) for number in chosen) / hours,
            f"{label}: questions": float(sum(map(len, right))),
            f"{label}: film right, %": 100 * float(np.concatenate(right).mean()),
            f"{label}: moment right, %": 100 * float(np.concatenate(near).mean()),
        }
    return figures


def keeping(given: argparse.Namespace) -> dict[str, Any]:
    """Print what is kept and found again by model and threshold."""
    films = films_to_keep(given)
    sampled = {name: samples_of(path) for name, path in films.items()}
    questions = {name: between(path, sampled[name][-1].at) for name, path in films.items()}
    figures: dict[str, Any] = {}
    as_many: int | None = None
    for model in given.model or ["offline", "cnn:gem"]:
        encoder = OnnxEncoder.open(prepare_encoder(model, cache=given.cache))
        start = time.process_time()
        of_model = [
            Asked(name, [frame.at for frame in sampled[name]],
                  embedded(encoder, [frame.picture for frame in sampled[name]]),
                  [at for at, _ in questions[name]], embedded(encoder, [each for _, each in questions[name]]),
                  sampled[name][-1].at)
            for name in films
        ]  # fmt: skip
        n = sum(len(film.at) + len(film.asked_at) for film in of_model)
        print(f"{model}: {n} frames embedded, {1e3 * (time.process_time() - start) / n:.0f} ms each", flush=True)
        usual = novel_below(model)
        n_usual = n_kept(of_model, usual)
        as_many = as_many or n_usual
        like = min(np.arange(0.5, 0.99, 0.01), key=lambda threshold: abs(n_kept(of_model, threshold) - as_many))
        figures[model] = {"usual": usual, "as many as the first model at its own": round(float(like), 2)}
        print(f"{model}: keeps {n_usual} at {usual}, and about {as_many} at {like:.2f}")
        for threshold in sorted({usual, *THRESHOLDS}, reverse=True):
            row = figures[model][f"{threshold:g}"] = found_again(of_model, threshold)
            print(f"{model} {threshold:g} | " + ", ".join(f"{name} {value:.1f}" for name, value in row.items()
                  if isinstance(value, float)), flush=True)  # fmt: skip
    return figures


# -- efficiency ----------------------------------------------------------------------------------------


def long_film(folder: Path, times: int = 5) -> Path:
    """Return a film of some minutes, 1280 x 720, in which cuts have no key frames."""
    shots = film_sets.stretches(folder)
    once, _ = film_sets.film_of(
        folder / "made" / "once-720p.mp4", shots, "libx264", film_sets.ONE_KEY_FRAME_IN_250, (1280, 720)
    )
    return film_sets.again_and_again(folder / "made" / f"long-720p-{times}.mp4", once, times)


def cost_on(core: int, film: Path, folder: Path) -> dict[str, float]:
    """Return the CPU seconds that a sampled frame costs on one core, and how many there are."""
    os.sched_setaffinity(0, {core})
    encoder, pictures, n = OnnxEncoder.open(folder, threads=1, is_indexing=True), [], 0
    start = time.process_time()
    for _ in film_sets.decoded(film):
        pass
    decoded, start = time.process_time() - start, time.process_time()
    handle = os.open(film, os.O_RDONLY)
    with open_film(handle) as opened:
        for n, frame in enumerate(opened.samples(), start=1):
            if n % BATCH == 0:
                pictures.append(frame.picture)
    os.close(handle)
    sampled = time.process_time()
    pixels = [decode(picture, encoder.preprocessing).pixels for picture in pictures]
    fitted = time.process_time()
    batches = [np.stack(pixels[i : i + BATCH]) for i in range(0, len(pixels) - BATCH + 1, BATCH)]
    encoder.encode_images(batches[0])  # loads the tower
    before = time.process_time()
    for batch in batches:
        encoder.encode_images(batch)
    forward = (time.process_time() - before) / (BATCH * len(batches))
    return {"n": n, "decode": decoded / n, "sample": (sampled - start) / n,
            "fit": (fitted - sampled) / len(pixels), "forward": forward}  # fmt: skip


def cost_of(film: Path, folder: Path) -> dict[str, float]:
    """Return what a frame costs where every core does that work at once, as they share caches and memory."""
    cores = sorted(os.sched_getaffinity(0))
    with ProcessPoolExecutor(len(cores), mp_context=get_context("spawn")) as pool:
        costs = list(pool.map(partial(cost_on, film=film, folder=folder), cores))
    return {name: float(np.mean([cost[name] for cost in costs])) for name in costs[0]}


def busy_seconds() -> float:
    """Return how long the cores of this machine have computed."""
    values = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")  # without idle and waiting for disks


def indexed(film: Path, model: str, given: argparse.Namespace) -> dict[str, float]:
    """Return seconds by the clock, of the CPU, and of other programs meanwhile, of indexing one film."""
    library = given.folder / "made" / "library"
    shutil.rmtree(library, ignore_errors=True)
    with Library.open(library, cache=given.cache) as opened:
        opened.index([sample_folder()], model=model, local=False)
        busy, cpu, start = busy_seconds(), cpu_seconds(), time.perf_counter()
        done = opened.index([film])
        wall = time.perf_counter() - start
    if not done.films.n_frames:
        raise SystemExit(f"no frame of {film} was kept: {done}")
    cpu = cpu_seconds() - cpu
    return {"wall": wall, "cpu": cpu, "others": max(0.0, busy_seconds() - busy - cpu)}


def efficiency(given: argparse.Namespace) -> dict[str, Any]:
    """Print how fast a film is indexed, of what decoding and the tower alone allow."""
    film, model = long_film(given.folder), (given.model or ["offline"])[0]
    folder = prepare_encoder(model, cache=given.cache)
    rounds, before = [], cost_of(film, folder)
    for _ in range(N_ROUNDS):
        run, load, after = indexed(film, model, given), os.getloadavg()[0], cost_of(film, folder)
        cost = {name: (before[name] + after[name]) / 2 for name in before}  # it depends on what else runs
        before = after
        least, sampling = (cost["n"] * (cost[name] + cost["forward"]) for name in ("decode", "sample"))
        run |= {
            "x of (decode + forward)": least / (n_cores() * run["wall"]),
            "x without other programs": least / (n_cores() * run["wall"] - run["others"]),
            "(decode + forward) / CPU time": least / run["cpu"],
            "x of (sample + forward)": sampling / (n_cores() * run["wall"]),
            "frames a second": cost["n"] / run["wall"],
            "load": load,
        }
        rounds.append(run | cost)
        print(", ".join(f"{name} {value:.3f}" for name, value in rounds[-1].items()), flush=True)
    best = max(rounds, key=lambda each: each["x of (decode + forward)"])
    return {"best": best, "rounds": rounds}


# -- memory --------------------------------------------------------------------------------------------


def film_process() -> int | None:
    """Return the process that reads films, if it runs."""
    for process in family(os.getpid()):
        try:
            if b"film_worker" in Path(f"/proc/{process}/cmdline").read_bytes():
                return process
        except OSError:
            continue
    return None


def memory(given: argparse.Namespace) -> dict[str, Any]:
    """Print the most memory that was taken until so much of a film of two hours was read."""
    shots = film_sets.stretches(given.folder)
    made = given.folder / "made"
    once, _ = film_sets.film_of(made / "once-90p.mp4", shots, *film_sets.CODECS["x264"][1:], (160, 90), 5)
    times = round(7200 / sum(shot.seconds for shot in shots))
    film, model = film_sets.again_and_again(made / "two-hours.mp4", once, times), (given.model or ["offline"])[0]
    looks: list[dict[str, float]] = []

    def look(stage: str, done: int, total: int) -> None:
        process = film_process() if stage == "films" and done else None
        if process is not None:
            looks.append({"read, %": 100 * done / total, "film process, MB": peak_mb(process),
                          "main process, MB": peak_mb(os.getpid())})  # fmt: skip

    library = made / "library"
    shutil.rmtree(library, ignore_errors=True)
    with Library.open(library, cache=given.cache) as opened:
        opened.index([sample_folder()], model=model, local=False)
        Path("/proc/self/clear_refs").write_text("5")  # peaks count from here
        opened.index([film], on_progress=look)
    figures = {f"{share} %": min(looks, key=lambda each: abs(each["read, %"] - share)) for share in SHARES}
    for values in figures.values():
        print(", ".join(f"{name} {value:.1f}" for name, value in values.items()), flush=True)
    return figures


# -- one frame -----------------------------------------------------------------------------------------


def frame(given: argparse.Namespace) -> dict[str, Any]:
    """Print how long it takes to open a film and decode the frame at a time."""
    made, rng, figures = given.folder / "made", np.random.default_rng(3), {}
    films = {
        "x264, GOP 250, 1280 x 720": long_film(given.folder),
        "VP9, 640 x 360": made / f"cuts-{given.set}-VP9.webm",
        "MPEG, 640 x 480": given.folder / film_sets.FILMS["intro"],
    }
    for name, path in films.items():
        cpu, wall = [], []
        for _ in range(N_FRAMES):
            handle = os.open(path, os.O_RDONLY)
            start, computed = time.perf_counter(), time.process_time()
            with open_film(handle) as film:
                film.frame_at(float(rng.uniform(0, film.facts.seconds)))
            wall.append(1e3 * (time.perf_counter() - start))
            cpu.append(1e3 * (time.process_time() - computed))
            os.close(handle)
        figures[name] = {"CPU ms": [np.median(cpu), max(cpu)], "ms": [np.median(wall), max(wall)]}
        print(f"{name}: CPU median {np.median(cpu):.0f} ms, most {max(cpu):.0f} ms; by the clock "
              f"{np.median(wall):.0f} ms, {max(wall):.0f} ms", flush=True)  # fmt: skip
    return figures


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "cuts": cuts, "keeping": keeping, "efficiency": efficiency, "memory": memory, "frame": frame,
}  # fmt: skip


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", action="append", choices=list(PARTS))
    parser.add_argument("--set", default="flickr8k-test")
    parser.add_argument("--model", action="append")
    parser.add_argument("--cache", type=Path, default=user_cache_path("mmsearch"))
    parser.add_argument("--out")
    given = parser.parse_args()
    film_sets.fetch(given.folder)
    report("films", {name: PARTS[name](given) for name in given.part or PARTS}, given.out)


if __name__ == "__main__":
    main()
