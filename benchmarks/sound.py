"""Excerpts of music found again after what happens to them on their way: accuracy, false accepts, speed.

    python benchmarks/sound.py FOLDER [--most N] [--questions N] [--tracks N] [--large N] [--out FILE]

FOLDER is filled with packages of games from Debian's archive, by `apt-get download`, and unpacked: their music, and
the speech of fillets-ng-data. What is there already is not fetched again. Every fourth recording stays out of the
library, and asks for what is not there; the others, played backwards and moved in pitch, fill the library up to
`--tracks`. Music that is there twice is not asked for. What stays out is told in two halves, one to choose by and
one to report. Look-ups are also timed in a library of `--large`.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import av
import numpy as np
from machine import report
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from mmsearch.array_file import arrays_in_pieces
from mmsearch.evaluation.metrics.uncertainty import wilson_interval
from mmsearch.sound.alignment import N_PLACES, N_RECORDINGS, Alignment, align
from mmsearch.sound.attempts import ATTEMPTS, LENGTHS_S, USUAL, Attempt, Verdict, verdict
from mmsearch.sound.decode import Hearing, samples_of
from mmsearch.sound.inverted_file import SILENCE, Segment, build_segment
from mmsearch.sound.pairs import pair_up
from mmsearch.sound.peaks import Peaks, find_peaks
from mmsearch.sound.question import Question, ask
from mmsearch.sound.spectrogram import FIRST_BIN, HOP, LAST_BIN, RATE
from mmsearch.sound.vote import Vote, vote

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
SAME = 200  # votes of a minute, ten times those of strangers: the same music under another name
FULL = 24_000  # samples a second of what is changed
MOVED = 5  # bins, of what fills the library the first time, twice as many the second
LARGE_SECONDS = 250  # of a recording in the large library

Samples = np.ndarray
Way = Callable[[Samples, np.random.Generator], Samples]


class Recordings(NamedTuple):
    """A library: the inverted file, and the constellations by id."""

    segment: Segment
    peaks: Mapping[int, Peaks]

    def votes(self, question: Question, k: int, n_places: int = 1) -> list[Vote]:
        """Return the best places of the recordings with most votes."""
        alive = np.ones(len(self.segment.ids), bool)
        return vote(self.segment, question.prints, k=k, alive=alive, n_places=n_places)


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


def question_of(samples: Samples, attempt: Attempt) -> Question:
    """Return what an attempt of `mmsearch sound search` looks for an excerpt at `FULL` by."""
    ratio = Fraction(round(RATE * attempt.speed), FULL).limit_denominator(1000)
    at_rate = resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)
    return ask(at_rate, per_second=attempt.per_second, fan=attempt.fan)


def surest(library: Recordings, samples: Samples, attempts: Iterable[Attempt]) -> list[Alignment]:
    """Return the surest recording of each attempt."""
    found = []
    for attempt in attempts:
        question = question_of(samples, attempt)
        aligned = align(library.votes(question, N_RECORDINGS, N_PLACES), question, library.peaks)
        found.append(aligned[0] if aligned else Alignment(-1, 0.0, 0.0, 0))
    return found


def excerpt(path: Path, length: float, rng: np.random.Generator, seconds: float) -> tuple[Samples, float]:
    """Return a part of a recording that is not silent, with some more behind it, and where it is."""
    for _ in range(20):
        at = float(rng.uniform(0, max(0.0, seconds - length - 1)))
        samples = heard(path, FULL, at, length)
        if len(samples) >= length * FULL * 0.98 and np.sqrt(np.mean(samples**2)) > 3e-3:
            break
    return samples, at


def backwards(peaks: Peaks, n_bins: int) -> Peaks:
    """Return a recording played backwards, moved in pitch."""
    frames, bins = peaks.n_frames - 1 - peaks.frames, (peaks.bins + n_bins) % (LAST_BIN - FIRST_BIN)
    order = np.lexsort((bins, frames))
    return Peaks(frames[order], bins[order], peaks.n_frames)


def filled(real: dict[int, Peaks], n_tracks: int) -> Recordings:
    """Return a library of real recordings, and of others that sound like music and are none of them."""
    peaks, originals = dict(real), list(real.values())
    for number in range(max(0, n_tracks - len(real))):
        round_, which = divmod(number, len(real))
        peaks[1_000_000 + number] = backwards(originals[which], MOVED * (round_ + 1))
    return Recordings(build_segment((n, 0, each.n_frames, pair_up(each)) for n, each in peaks.items()), peaks)


def large(library: Recordings, n_tracks: int, path: Path, rng: np.random.Generator) -> Recordings:
    """Return a library of so many recordings in a file, with as many of each hash as a smaller one has in share."""
    segment, known = library.segment, list(library.peaks.values())
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
    return Recordings(Segment.open(path), {number: known[number % len(known)] for number in range(n_tracks)})


def timed(library: Recordings, questions: list[Samples], attempts: Iterable[Attempt] = (USUAL,)) -> list[float]:
    """Return the seconds that some attempts take for each question, fingerprints and look-up, decoding apart."""
    seconds = []
    for samples in questions:
        start = time.perf_counter()
        surest(library, samples, attempts)
        seconds.append(time.perf_counter() - start)
    return seconds


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
    real, lengths, outside, n_prints, computing, decoding = {}, {}, [], 0, 0.0, 0.0
    for number, path in enumerate(paths):
        if number % 4 == 3:
            outside.append(path)
            continue
        start = time.process_time()
        samples = heard(path, RATE)
        between = time.process_time()
        real[number] = find_peaks([samples])
        n_prints += len(pair_up(real[number]).hashes)
        computing += time.process_time() - between
        decoding += between - start
        lengths[number] = len(samples) / RATE
    total = sum(lengths.values())
    print(f"{len(real)} recordings, {total / 3600:.1f} h; {total / computing:.0f} x real time, decoding "
          f"{total / decoding:.0f} x; {n_prints / total:.1f} fingerprints a second", flush=True)  # fmt: skip
    library = filled(real, given.tracks)
    figures = {"n_real": len(real), "hours": total / 3600, "fingerprinting": total / computing,
               "decoding": total / decoding}  # fmt: skip
    figures |= accuracy(library, paths, outside, lengths, given, rng)
    asked = [excerpt(paths[number], 10, rng, lengths[number])[0] for number in list(lengths)[:20]]
    figures[f"seconds at {given.tracks}"] = timed(library, asked)
    figures[f"seconds at {given.tracks}, all attempts"] = timed(library, asked, ATTEMPTS)
    with TemporaryDirectory(dir=given.folder) as there:
        if given.large:
            big = large(library, given.large, Path(there) / "large.bin", rng)
            timed(big, asked[:2])
            figures[f"seconds at {given.large}"] = timed(big, asked)
    for name, seconds in figures.items():
        if name.startswith("seconds"):
            print(
                f"10 s question, {name}: median {1e3 * np.median(seconds):.0f} ms, most {1e3 * max(seconds):.0f} ms"
            )
    report("sound", figures, given.out)


def strangers_of(
    library: Recordings, paths: list[Path], outside: list[Path], folder: Path, rng: np.random.Generator
) -> dict[tuple[float, int], list[tuple[float, list[Verdict | None]]]]:
    """Return, by length and half, the highest score and all verdicts for excerpts of what is not in the library."""
    changes, strangers = ways(folder), defaultdict(list)
    for position, path in enumerate(outside):
        minute = excerpt(path, max(LENGTHS_S), rng, duration_of(path))[0]
        (best,) = library.votes(question_of(minute, USUAL), 1)
        if best.votes > SAME:
            print(f"{path.name} is no stranger: {paths[best.track_id].name} has {best.votes} of its votes")
            continue
        for name in OF_STRANGERS:
            whole = changes[name](excerpt(path, max(LENGTHS_S), rng, duration_of(path))[0], rng)
            for length in LENGTHS_S:
                found = surest(library, whole[: round(length) * FULL], ATTEMPTS)
                verdicts = [verdict(each.score, each.votes, attempt, length)
                            for each, attempt in zip(found, ATTEMPTS, strict=True)]  # fmt: skip
                strangers[length, position % 2].append((max(each.score for each in found), verdicts))
    return strangers


def accuracy(
    library: Recordings, paths: list[Path], outside: list[Path], lengths: dict[int, float],
    given: argparse.Namespace, rng: np.random.Generator,
) -> dict[str, object]:  # fmt: skip
    """Ask for what is there and for what is not, and print how often the answer is right."""
    changes, figures = ways(given.folder), {}
    strangers = strangers_of(library, paths, outside, given.folder, rng)
    for (length, half), known in sorted(strangers.items()):
        scores = [score for score, _ in known]
        n_matches = sum("match" in verdicts for _, verdicts in known)
        n_perhaps = sum("match" not in verdicts and "perhaps" in verdicts for _, verdicts in known)
        low, high = wilson_interval(n_matches / len(known), len(known))
        figures[f"strangers at {length:g} s, half {half}"] = known
        print(f"{length:g} s, half {half}: {len(known)} strangers score at most {max(scores):.1f}, nine tenths "
              f"{np.quantile(scores, 0.9):.1f}; {n_matches} are a match ({100 * low:.1f} to {100 * high:.1f} %), "
              f"{n_perhaps} perhaps", flush=True)  # fmt: skip
    alone = [number for number in lengths if is_alone(library, paths[number], number, lengths[number], rng)]
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
                results[name, length].append(asked_for(library, whole[: length * FULL], number, at, length))
    for name in changes:
        cells = []
        for length in LENGTHS:
            right, near, accepted = np.mean(results[name, length], axis=0) * 100
            cells.append(f"{length} s: {right:5.1f} {near:5.1f} {accepted:5.1f}")
            figures[f"{name}, {length} s"] = [right, near, accepted]
        print(f"{name:20s} | {' | '.join(cells)}", flush=True)
    print(f"of {len(inside)}: right first, place within .25 s, right and a match, in %")
    return figures


def is_alone(library: Recordings, path: Path, number: int, seconds: float, rng: np.random.Generator) -> bool:
    """Return whether the music of a recording is in the library once: each of two would be a right answer."""
    minute = excerpt(path, max(LENGTHS_S), rng, seconds)[0]
    votes = library.votes(question_of(minute, USUAL), 2)
    return all(each.votes <= SAME for each in votes if each.track_id != number)


def asked_for(
    library: Recordings, samples: Samples, number: int, at: float, length: int
) -> tuple[bool, bool, bool]:
    """Return whether the right recording is first, and its place near, and it is a match."""
    best = (False, 0.0, -1, 0.0)
    for attempt in ATTEMPTS:
        (found,) = surest(library, samples, [attempt])
        is_match = verdict(found.score, found.votes, attempt, length) == "match"
        best = max(best, (is_match, found.score, found.track_id, found.frame * HOP / RATE))
        if is_match:
            break
    is_right = best[2] == number
    return is_right, is_right and abs(best[3] - at) < 0.25, is_right and best[0]


if __name__ == "__main__":
    main()
