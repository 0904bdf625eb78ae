"""Excerpts of music found again after what happens to them on their way: accuracy, false accepts, speed.

    python benchmarks/sound.py FOLDER [--most N] [--questions N] [--tracks N] [--large N] [--out FILE]

FOLDER is filled with packages of games from Debian's archive, by `apt-get download`, and unpacked: their music, and
the speech of fillets-ng-data. What is there already is not fetched again. Every fourth recording stays out of the
library, and asks for what is not there; recordings without music behind them, with fingerprints as frequent as the
real ones', fill the library up to `--tracks`. Music that is there twice is not asked for. Thresholds are chosen on
one half of the recordings that stay out, a quarter above the most votes that any of them has, and false accepts
counted on the other. Look-ups are also timed in a library of `--large`.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from machine import report
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from mmsearch.array_file import arrays_in_pieces
from mmsearch.evaluation.metrics.uncertainty import wilson_interval
from mmsearch.sound.attempts import ATTEMPTS, LENGTHS_S, USUAL, Attempt, verdict
from mmsearch.sound.decode import Hearing, samples_of
from mmsearch.sound.inverted_file import SILENCE, Segment, build_segment
from mmsearch.sound.pairs import Prints, join_prints, pair_up
from mmsearch.sound.peaks import find_peaks
from mmsearch.sound.spectrogram import HOP, RATE
from mmsearch.sound.vote import vote

PACKAGES = {  # and the licences that the copyright file of each names for music, or for all
    "asc-music": "GPL-2+",
    "btanks-data": "GPL-2+, LGPL-2.1+",
    "extremetuxracer-data": "GPL-2+",
    "flare-game": "CC-BY-SA-3.0+",
    "freedroidrpg-data": "GPL-2+, CC0-1.0",
    "frozen-bubble-data": "GPL-2",
    "hedgewars-data": "GPL-2, GFDL-1.3",
    "lincity-ng-data": "GPL-2+",
    "marsshooter-data": "CC-BY-SA-3.0, CC-BY-3.0",
    "megaglest-data": "CC-BY-SA-3.0",
    "naev-data": "public domain, CC-BY-3.0, CC-BY-SA-3.0, GPL-3",
    "singularity-music": "CC-BY-SA",
    "supertux-data": "GPL-2+, CC-BY-SA",
    "trackballs-data": "GPL-2+, Ethymonics Free Music Licence",
    "warzone2100-music": "GPL-2+, CC-BY-SA-3.0, CC0",
    "wesnoth-1.16-music": "GPL-2",
    "xmoto-data": "GPL-2+",
}
SPEECH = "fillets-ng-data"  # GPL-2
ENDINGS = (".ogg", ".mp3", ".opus", ".flac")
LEAST_BYTES = 700_000  # shorter ones are noises of a game
LENGTHS = (5, 10)
MARGIN = 1.25  # of thresholds above the votes of those who chose them
SAME = 200  # votes of a minute, ten times those of strangers: the same music under another name
FULL = 24_000  # samples a second of what is changed
LARGE_SECONDS = 250  # of a recording in the large library

Samples = np.ndarray
Way = Callable[[Samples, np.random.Generator], Samples]


def fetch(folder: Path) -> None:
    """Download and unpack the packages that are not there yet."""
    for package in (*PACKAGES, SPEECH):
        if (folder / package).is_dir():
            continue
        with TemporaryDirectory(dir=folder) as there:
            subprocess.run(["apt-get", "download", package], cwd=there, check=True)
            (archive,) = Path(there).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", archive, folder / package], check=True)


def recordings_in(folder: Path, most: int) -> list[Path]:
    """Return the music of the packages, at most so many of each."""
    chosen = []
    for package in PACKAGES:
        files = (path for path in (folder / package).rglob("*") if path.suffix.lower() in ENDINGS)
        chosen += sorted(path for path in files if path.stat().st_size >= LEAST_BYTES)[:most]
    return chosen


def heard(path: Path, rate: int, start: float = 0, seconds: float | None = None) -> Samples:
    """Return the samples of a file at a rate."""
    handle = os.open(path, os.O_RDONLY)
    try:
        long = None if seconds is None else seconds * rate / RATE
        return np.concatenate(list(samples_of(handle, Hearing(), start=start, seconds=long, speed=rate / RATE)))
    finally:
        os.close(handle)


def duration_of(path: Path) -> float:
    """Return how long a recording says it is, in seconds."""
    with av.open(str(path)) as container:
        return container.duration / av.time_base


# -- what happens to an excerpt ------------------------------------------------------------------------


def mixed(samples: Samples, noise: Samples, decibels: float) -> Samples:
    """Return samples under noise that is so much softer."""
    share = np.mean(samples**2) / np.mean(noise**2) / 10 ** (decibels / 10)
    return (samples + noise * np.sqrt(share)).astype(np.float32)


def pink(n: int, rng: np.random.Generator) -> Samples:
    """Return noise that is as loud in every octave."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    return np.fft.irfft(spectrum, n)


@cache
def speech(folder: Path) -> Samples:
    """Return people who speak, one after another, as loud as each other."""
    files = sorted(path for path in (folder / SPEECH).rglob("*.ogg") if "/sound/" in str(path))
    spoken = [heard(path, FULL) for path in files[:: max(1, len(files) // 150)]]
    loud = [(each, np.sqrt(np.mean(each**2))) for each in spoken if len(each)]
    return np.concatenate([each / power for each, power in loud if power > 1e-4])


def voices(n: int, rng: np.random.Generator, folder: Path) -> Samples:
    """Return six people who speak at once."""
    said = speech(folder)
    return sum(said[at : at + n] for at in rng.integers(0, len(said) - n, 6))


def in_a_room(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return samples as a telephone in the room hears them: half a second of echo, 300 to 3,400 Hz."""
    times = np.arange(round(0.6 * FULL)) / FULL
    echo = rng.standard_normal(len(times)) * 10 ** (-6 * times)
    echo[: round(0.002 * FULL)] = 0
    echo /= np.sqrt(np.sum(echo**2))
    echo[0] = 1
    band = butter(4, [300, 3400], "band", fs=FULL, output="sos")
    return sosfilt(band, fftconvolve(samples, echo)[: len(samples)]).astype(np.float32)


def coded(samples: Samples, codec: str, container: str) -> Samples:
    """Return what 32 kbit/s leave of samples."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=FULL, layout="mono")
        stream.bit_rate = 32_000
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.codec_context.format, "mono", FULL, frame_size=size)
        whole = av.AudioFrame.from_ndarray((samples / max(1, np.abs(samples).max()))[None], "fltp", "mono")
        whole.sample_rate, whole.pts = FULL, 0
        for frame in [*resampler.resample(whole), *resampler.resample(None)]:
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with TemporaryDirectory() as folder:
        (Path(folder) / "coded").write_bytes(buffer.getvalue())
        return heard(Path(folder) / "coded", FULL)


def faster(samples: Samples, percent: int) -> Samples:
    """Return samples as from a record that turns too fast."""
    return resample_poly(samples, 100, 100 + percent).astype(np.float32)


def in_less_time(samples: Samples, percent: int) -> Samples:
    """Return samples played in less time at the same pitch, as FFmpeg's `atempo` does it."""
    graph = av.filter.Graph()
    ends = graph.add_abuffer(sample_rate=FULL, format="flt", layout="mono"), graph.add("abuffersink")
    tempo = graph.add("atempo", str(1 + percent / 100))
    ends[0].link_to(tempo)
    tempo.link_to(ends[1])
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), "flt", "mono")
    frame.sample_rate, frame.pts = FULL, 0
    graph.push(frame)
    graph.push(None)
    parts = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray().reshape(-1))
        except (av.BlockingIOError, av.EOFError):
            return np.concatenate(parts).astype(np.float32)


def ways(folder: Path) -> dict[str, Way]:
    """Return what may happen to an excerpt, by name."""
    return {
        "clean": lambda x, g: x,
        "pink noise 3 dB": lambda x, g: mixed(x, pink(len(x), g), 3),
        "pink noise 0 dB": lambda x, g: mixed(x, pink(len(x), g), 0),
        "voices 3 dB": lambda x, g: mixed(x, voices(len(x), g, folder), 3),
        "room, telephone": in_a_room,
        "room, voices 10 dB": lambda x, g: in_a_room(mixed(x, voices(len(x), g, folder), 10), g),
        "MP3 32k": lambda x, g: coded(x, "libmp3lame", "mp3"),
        "Opus 32k": lambda x, g: coded(x, "libopus", "ogg"),
        "tempo +3 %": lambda x, g: in_less_time(x, 3),
        "speed +1 %": lambda x, g: faster(x, 1),
        "speed +3 %": lambda x, g: faster(x, 3),
    }


OF_STRANGERS = ("clean", "voices 3 dB", "room, voices 10 dB")

# -- asking --------------------------------------------------------------------------------------------


def prints_of(samples: Samples, attempt: Attempt) -> Prints:
    """Return the fingerprints of an excerpt at `FULL`, as `mmsearch sound search` makes them."""
    ratio = Fraction(round(RATE * attempt.speed), FULL).limit_denominator(1000)
    at_rate = resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)
    return join_prints(
        [
            pair_up(find_peaks([later], per_second=attempt.per_second), fan=attempt.fan)
            for later in (at_rate, at_rate[HOP // 2 :])
        ]
    )


def best_votes(segment: Segment, samples: Samples, attempts: Iterable[Attempt]) -> list[tuple[int, int, float]]:
    """Return the best recording of each attempt: its votes, its id and the place in seconds."""
    found = []
    for attempt in attempts:
        votes = vote(segment, prints_of(samples, attempt), k=1, alive=np.ones(len(segment.ids), bool))
        found.append((votes[0].votes, votes[0].track_id, votes[0].frame * HOP / RATE) if votes else (0, -1, 0.0))
    return found


def excerpt(path: Path, length: float, rng: np.random.Generator, seconds: float) -> tuple[Samples, float]:
    """Return a part of a recording that is not silent, with some more behind it, and where it is."""
    for _ in range(20):
        at = float(rng.uniform(0, max(0.0, seconds - length - 1)))
        samples = heard(path, FULL, at, length)
        if len(samples) >= length * FULL * 0.98 and np.sqrt(np.mean(samples**2)) > 3e-3:
            break
    return samples, at


def filled(real: list[tuple[int, int, int, Prints]], n_tracks: int, rng: np.random.Generator) -> Segment:
    """Return a library of real recordings, and of others whose fingerprints are as frequent as theirs."""
    hashes = np.concatenate([prints.hashes for *_, prints in real])
    n_frames = round(LARGE_SECONDS * RATE / HOP)
    per_track = round(len(hashes) * n_frames / sum(track[2] for track in real))
    made = []
    for number in range(max(0, n_tracks - len(real))):
        frames = rng.integers(0, n_frames, per_track).astype(np.uint32)
        made.append((1_000_000 + number, 0, n_frames, Prints(rng.choice(hashes, per_track), frames)))
    return build_segment([*real, *made])


def large(segment: Segment, n_tracks: int, path: Path, rng: np.random.Generator) -> Segment:
    """Return a library of so many recordings in a file, with as many of each hash as a smaller one has in share."""
    counts = np.diff(segment.offsets)
    n_frames = round(LARGE_SECONDS * RATE / HOP)
    scale = n_tracks * len(segment.times) / len(segment.ids) / counts.sum()
    offsets = np.concatenate([[0], np.cumsum(np.rint(counts * scale).astype(np.int64))])
    lengths = np.full(n_tracks, n_frames, np.int64)
    starts = SILENCE + np.arange(n_tracks, dtype=np.int64) * (n_frames + SILENCE)
    arrays = {"hashes": segment.hashes, "offsets": offsets, "ids": np.arange(n_tracks), "starts": starts,
              "lengths": lengths, "checksums": np.zeros(n_tracks, np.int64)}  # fmt: skip
    described = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    described["times"] = (np.dtype(np.uint32), (int(offsets[-1]),))
    with arrays_in_pieces(path, "sounds", {}, described) as put:
        for start in range(0, int(offsets[-1]), 1 << 24):
            n = min(1 << 24, int(offsets[-1]) - start)
            put("times", start, rng.integers(SILENCE, int(starts[-1]), n, dtype=np.uint32))
        for name, array in arrays.items():
            put(name, 0, array)
    return Segment.open(path)


def timed(segment: Segment, questions: list[Samples], attempts: Iterable[Attempt] = (USUAL,)) -> list[float]:
    """Return the seconds that some attempts take for each question, fingerprints and look-up, decoding apart."""
    seconds = []
    for samples in questions:
        start = time.perf_counter()
        best_votes(segment, samples, attempts)
        seconds.append(time.perf_counter() - start)
    return seconds


def chosen_thresholds(strangers: list[list[int]]) -> list[int]:
    """Return for each attempt the votes of a match: more, by a margin, than anything had that should have none."""
    return [int(np.ceil(MARGIN * max(votes))) for votes in zip(*strangers, strict=True)]


def most_of(strangers: list[list[int]], share: float) -> list[int]:
    """Return for each attempt the votes that so large a share of what should have none does not exceed."""
    return [int(np.quantile(votes, share)) for votes in zip(*strangers, strict=True)]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=100, help="Recordings of a package.")
    parser.add_argument("--questions", type=int, default=120, help="Recordings that are asked for.")
    parser.add_argument("--tracks", type=int, default=1000)
    parser.add_argument("--large", type=int, default=10_000)
    parser.add_argument("--out")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    fetch(given.folder)
    rng, paths = np.random.default_rng(11), recordings_in(given.folder, given.most)
    real, lengths, outside, computing, decoding = [], {}, [], 0.0, 0.0
    for number, path in enumerate(paths):
        if number % 4 == 3:
            outside.append(path)
            continue
        start = time.process_time()
        samples = heard(path, RATE)
        between = time.process_time()
        peaks = find_peaks([samples])
        real.append((number, 0, peaks.n_frames, pair_up(peaks)))
        computing += time.process_time() - between
        decoding += between - start
        lengths[number] = len(samples) / RATE
    total = sum(lengths.values())
    print(f"{len(real)} recordings, {total / 3600:.1f} h; {total / computing:.0f} x real time, decoding "
          f"{total / decoding:.0f} x; {sum(len(p.hashes) for *_, p in real) / total:.1f} fingerprints a second",
          flush=True)  # fmt: skip
    segment = filled(real, given.tracks, rng)
    figures = {"n_real": len(real), "hours": total / 3600, "fingerprinting": total / computing,
               "decoding": total / decoding}  # fmt: skip
    figures |= accuracy(segment, paths, outside, lengths, given, rng)
    asked = [excerpt(paths[number], 10, rng, lengths[number])[0] for number in list(lengths)[:20]]
    figures[f"seconds at {given.tracks}"] = timed(segment, asked)
    figures[f"seconds at {given.tracks}, all attempts"] = timed(segment, asked, ATTEMPTS)
    with TemporaryDirectory(dir=given.folder) as there:
        if given.large:
            big = large(segment, given.large, Path(there) / "large.bin", rng)
            timed(big, asked[:2])
            figures[f"seconds at {given.large}"] = timed(big, asked)
    for name, seconds in figures.items():
        if name.startswith("seconds"):
            print(
                f"10 s question, {name}: median {1e3 * np.median(seconds):.0f} ms, most {1e3 * max(seconds):.0f} ms"
            )
    report("sound", figures, given.out)


def strangers_of(
    segment: Segment, paths: list[Path], outside: list[Path], folder: Path, rng: np.random.Generator
) -> dict[tuple[float, int], list[list[int]]]:
    """Return, by length of excerpt and half, the most votes of each attempt for what is not in the library."""
    changes, strangers = ways(folder), defaultdict(list)
    for position, path in enumerate(outside):
        minute = excerpt(path, max(LENGTHS_S), rng, duration_of(path))[0]
        ((votes, track, _),) = best_votes(segment, minute, [USUAL])
        if votes > SAME:
            print(f"{path.name} is no stranger: {paths[track].name} has {votes} of its votes")
            continue
        for name in OF_STRANGERS:
            whole = changes[name](excerpt(path, max(LENGTHS_S), rng, duration_of(path))[0], rng)
            for length in LENGTHS_S:
                votes = best_votes(segment, whole[: round(length) * FULL], ATTEMPTS)
                strangers[length, position % 2].append([n for n, *_ in votes])
    return strangers


def accuracy(
    segment: Segment, paths: list[Path], outside: list[Path], lengths: dict[int, float],
    given: argparse.Namespace, rng: np.random.Generator,
) -> dict[str, object]:  # fmt: skip
    """Ask for what is there and for what is not, and print how often the answer is right."""
    changes, figures = ways(given.folder), {}
    strangers = strangers_of(segment, paths, outside, given.folder, rng)
    for length in LENGTHS_S:
        choosing, others = strangers[length, 0], strangers[length, 1]
        thresholds = chosen_thresholds(choosing)
        false = [any(n >= least for n, least in zip(votes, thresholds, strict=True)) for votes in others]
        known = [{verdict(n, attempt, length) for n, attempt in zip(votes, ATTEMPTS, strict=True)}
                 for votes in others]  # fmt: skip
        matches = ["match" in verdicts for verdicts in known]
        low, high = wilson_interval(np.mean(matches), len(matches))
        figures[f"strangers at {length:g} s"] = [choosing, others]
        print(f"{length:g} s: {len(choosing)} strangers have at most {most_of(choosing, 1)} votes, nine tenths "
              f"{most_of(choosing, 0.9)}: thresholds {thresholds}; of {len(others)} others these accept "
              f"{sum(false)}, those of mmsearch {sum(matches)} ({100 * low:.1f} to {100 * high:.1f} %), "
              f"{sum('perhaps' in verdicts for verdicts in known)} perhaps", flush=True)  # fmt: skip
    alone = [number for number in lengths if is_alone(segment, paths[number], number, lengths[number], rng)]
    inside = alone[:: max(1, len(alone) // given.questions)][: given.questions]
    print(
        f"{len(lengths) - len(alone)} recordings share their music with others, and are not asked for", flush=True
    )
    results = defaultdict(list)
    for number in inside:
        plain, at = excerpt(paths[number], max(LENGTHS) * 1.05, rng, lengths[number])
        for name, change in changes.items():
            whole = change(plain, rng)
            for length in LENGTHS:
                results[name, length].append(asked_for(segment, whole[: length * FULL], number, at, length))
    for name in changes:
        cells = []
        for length in LENGTHS:
            right, near, accepted = np.mean(results[name, length], axis=0) * 100
            cells.append(f"{length} s: {right:5.1f} {near:5.1f} {accepted:5.1f}")
            figures[f"{name}, {length} s"] = [right, near, accepted]
        print(f"{name:20s} | {' | '.join(cells)}", flush=True)
    print(f"of {len(inside)}: right first, place within .25 s, right and a match, in %")
    return figures


def is_alone(segment: Segment, path: Path, number: int, seconds: float, rng: np.random.Generator) -> bool:
    """Return whether the music of a recording is in the library once: each of two would be a right answer."""
    minute = excerpt(path, max(LENGTHS_S), rng, seconds)[0]
    votes = vote(segment, prints_of(minute, USUAL), k=2, alive=np.ones(len(segment.ids), bool))
    return all(each.votes <= SAME for each in votes if each.track_id != number)


def asked_for(segment: Segment, samples: Samples, number: int, at: float, length: int) -> tuple[bool, bool, bool]:
    """Return whether the right recording is first, and its place near, and it is a match."""
    best = (0.0, -1, 0.0, False)
    for attempt in ATTEMPTS:
        ((votes, track, place),) = best_votes(segment, samples, [attempt])
        is_match = votes >= attempt.least("match", length)
        surety = votes / attempt.least("perhaps", length)
        best = max(best, (surety, track, place, is_match), key=lambda each: (each[3], each[0]))
        if is_match:
            break
    is_right = best[1] == number
    return is_right, is_right and abs(best[2] - at) < 0.25, is_right and best[3]


if __name__ == "__main__":
    main()
