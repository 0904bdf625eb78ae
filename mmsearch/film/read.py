"""READ: an open file that anybody may have made, as the pictures of a film with their times.

Times are those of presentation, in seconds from where the file begins; frames are never counted. What is hostile
costs the process in which this runs: nothing here belongs into that of the user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mmsearch.arguments import MOST_SECONDS
from mmsearch.errors import PictureError
from mmsearch.film import cuts
from mmsearch.film.facts import FilmFacts, facts_of
from mmsearch.film.scale import Scaler
from mmsearch.media.open import frames_of, is_shorter_than_it_says, open_container, refuse_lack_of_memory
from mmsearch.system import memory_left, n_cores

if TYPE_CHECKING:
    from av.container import InputContainer

MOST_PIXELS = 64_000_000
"""Of a frame; larger ones are refused."""
STRETCH_S = 10
"""Seconds of film that are one stretch; `on_stretch` is called when another begins."""
_MANY_PIXELS = 4096 * 2304  # of which a thread each would take too much memory
_MOST_THREADS = 8
_MANY_A_SECOND = 20  # frames, of which cuts are found by half of them
_FAR_APART_S = 0.14  # frames that are left: three at 25 a second
_MANY_GAPS = 2  # in a row: one is a pause
_ASKED_ONCE = ("libdav1d",)  # decoders that cannot be told later to leave no frame out any more
_USUAL_RATE = 25  # frames a second, where neither times nor rate are known
_TICK_S = 6e-4  # times that differ less are the same: they may have been rounded to ms
_LEAP_S = 10.0  # a frame so far ahead counts only if the next ones do not go back again
_MOST_ODD = 10_000  # frames in a row whose times make no sense: nothing comes any more
_APART_S = 1 / 70  # between frames of which colours are counted
_LEAD_S = 2.0  # before the start, where cuts are looked for as they would be from the beginning
_EARLIER_S = (0.0, 10.0)  # before a time, where a frame is sought from which it can be reached
_BEHIND_S = 1.0  # the end, where the last picture is still given
_BYTES_PER_PIXEL, _LITTLE = 6, 32 << 20  # with less memory left decoders fail as if the film were damaged
_PROTECTED = b"encv" + bytes(7) + b"\1", b"drmi" + bytes(7) + b"\1"  # how an MP4 describes encrypted pictures
_ENDS = 8 << 20  # bytes of a file in which it does


class FilmFrame(NamedTuple):
    """A picture of a film: its time in seconds, whether a shot begins with it, and the bytes of a BMP file."""

    at: float
    is_cut: bool
    picture: bytes


class Film:
    """A film that is open; for one thread at a time. Its pictures are asked for once: all, or the one at a moment.

    Made by `open_film`.
    """

    def __init__(self, file: Any, on_stretch: Callable[[int], None]) -> None:
        self._file, self._on_stretch = file, on_stretch
        self._n_damaged = self._n_odd = 0
        self._last, self._stretch, self._is_thinned = 0.0, -1, False
        _refuse_protected(file)
        self._begin()
        first = next(self._decoded(), None)
        if first is None:
            raise PictureError("corrupt", "there is a picture track in this film, and nothing on it can be decoded")
        self._zero, self._is_timed = self._start(first), _own_time(first, self._container) is not None
        self._scaler = Scaler(self._stream.sample_aspect_ratio)
        head = os.pread(file.fileno(), 4096, 0)
        self.facts: FilmFacts = facts_of(
            self._container, self._stream, self._zero, self._scaler.shown_size(first), head
        )

    def close(self) -> None:
        """Give back what decoding takes."""
        self._container.close()

    @property
    def problem(self) -> str:
        """What was wrong with the pictures that were read so far, as the rest of a sentence, or nothing."""
        if self._n_damaged:
            return "parts of it are damaged, or it is cut short; the pictures that could be read are kept"
        if self._last > MOST_SECONDS - STRETCH_S and self._n_odd:
            return f"only its first {MOST_SECONDS // 3600} hours are kept"
        if self._n_odd:
            return "times in it leap or go back; pictures without a time that makes sense are left out"
        return ""

    def samples(self, start: float = 0.0) -> Iterator[FilmFrame]:
        """Yield the first picture of each second, and the first of each shot, in order, from a time on.

        Those that no other needs may be left out; then the next one is the first.
        """
        finder, second, analysed, n_gaps = cuts.CutFinder(), -1, float("inf"), 0
        for at, frame in self._from(max(0.0, start - _LEAD_S) if start else 0.0, is_sampled=True):
            n_gaps = n_gaps + 1 if at - analysed > _FAR_APART_S else 0
            if n_gaps == _MANY_GAPS:  # too few are left to see when a shot begins
                self._thin_out(is_thinned=False)
            is_sample = int(at + _TICK_S) > second
            second = max(second, int(at + _TICK_S))
            if not is_sample and at - analysed < _APART_S:
                continue
            analysed = at
            seen, may_be_cut = finder.look(at, cuts.colours_of(self._scaler.small(frame)))
            if (is_sample or may_be_cut) and at >= start - _TICK_S:
                seen.kept = is_sample, self._scaler.picture(frame)
            yield from _kept(finder.decided())
        yield from _kept(finder.decided(is_end=True))
        if is_shorter_than_it_says(self._file.fileno()):
            self._n_damaged += 1

    def frame_at(self, at: float) -> FilmFrame:
        """Return the picture that is shown at a time; at the time of a sample it is that sample.

        Raises
        ------
        PictureError
            If the film has ended by then.
        """
        shown = self._shown_at(at, is_sampled=True)
        if shown is None or (self._is_thinned and abs(shown[0] - at) > _TICK_S):  # not the time of a sample
            shown = self._shown_at(at)
        if shown is None:
            raise PictureError("corrupt", f"no picture can be decoded at {at:g} s of this film")
        return FilmFrame(shown[0], False, self._scaler.picture(shown[1]))

    def _shown_at(self, at: float, *, is_sampled: bool = False) -> tuple[float, Any] | None:
        """Return the last frame that is not after a time, with its own."""
        shown = None
        for time, frame in self._from(at, is_sampled=is_sampled):
            if shown is not None and time > at + _TICK_S:
                break
            shown = time, frame
        else:
            is_behind = shown is not None and at > max(shown[0], self.facts.seconds or 0.0) + _BEHIND_S
            if is_behind and not self._is_thinned:
                raise PictureError("no_picture", f"there is no picture at {at:g} s of this film: it ends before")
        return shown

    # -- decoding ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Open the container at its beginning."""
        self._file.seek(0)
        self._container: InputContainer = open_container(self._file, partial(PictureError, "not_a_film"))
        self._stream = _picture_track(self._container)
        _require_size(self._stream.codec_context)

    def _start(self, first: Any) -> Fraction:
        """Return the file's own time of what is 0 here: its beginning, or that of its pictures if earlier."""
        starts = Fraction(max(0, self._container.start_time or 0), 1_000_000)
        time = _own_time(first, self._container)
        if time is None:
            return starts
        return time if _is_timed_by_decoding(self._container) else min(starts, time)

    def _from(self, at: float, *, is_sampled: bool = False) -> Iterator[tuple[float, Any]]:
        """Yield frames in order with their times, the first not after a time unless the film begins after it.

        Where only some of them are looked at, those that no other needs may be left out.
        """
        import av

        is_thinned = is_sampled and self._may_be_thinned()
        for earlier in _EARLIER_S:
            if at - earlier <= 0 or not self._is_timed:
                break
            target = int((Fraction(at - earlier) + self._zero) / self._stream.time_base)
            self._thin_out(is_thinned=is_thinned)
            try:
                self._container.seek(target, stream=self._stream)
            except (av.FFmpegError, OSError, OverflowError) as error:  # it is read from its beginning
                refuse_lack_of_memory(error)
                break
            frames = self._in_order(self._timed(self._decoded(is_sought=True), None))
            first = next(frames, None)
            if first is not None and first[0] <= at + _TICK_S:
                yield first
                yield from frames
                return
        self.close()
        self._n_damaged = self._n_odd = 0
        self._begin()
        self._thin_out(is_thinned=is_thinned)
        yield from self._in_order(self._timed(self._decoded(), 0.0))

    def _may_be_thinned(self) -> bool:
        """Return whether enough frames are left, and have their times, where some are left out."""
        is_timed = self._is_timed and not _is_timed_by_decoding(self._container)
        leaves_out = self._stream.codec_context.name not in _ASKED_ONCE
        return is_timed and leaves_out and (self._stream.average_rate or 0) >= _MANY_A_SECOND

    def _thin_out(self, *, is_thinned: bool) -> None:
        """Leave frames out that no other one needs, or no longer: about half, and two fifths of the time."""
        self._is_thinned = is_thinned
        self._stream.codec_context.skip_frame = "NONREF" if is_thinned else "DEFAULT"

    def _decoded(self, *, is_sought: bool = False) -> Iterator[Any]:
        """Yield sound frames as they are decoded; after a leap from the first on that needs no other."""
        is_key = not is_sought
        for frame in frames_of(self._container, self._stream, self._note_damage):
            _require_size(frame)
            if frame.is_corrupt:
                self._n_damaged += 1
            elif is_key or frame.key_frame:
                is_key = True
                yield frame

    def _note_damage(self) -> None:
        context = self._stream.codec_context
        left = memory_left()
        if left is not None and left < max(_LITTLE, _BYTES_PER_PIXEL * context.width * context.height):
            raise MemoryError("decoding a film failed with little memory left")
        self._n_damaged += 1

    def _in_order(self, timed: Iterator[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
        """Yield frames whose times only ever grow; those that leap there and back are left out."""
        waiting: tuple[float, Any] | None = None
        last, n_odd = -1.0, 0
        for time, frame in timed:
            if waiting is None and last < time <= MOST_SECONDS:
                waiting = time, frame
            elif waiting is not None and waiting[0] < time <= MOST_SECONDS:
                last, n_odd = waiting[0], 0
                self._arrive(last)
                yield waiting
                waiting = time, frame
            elif waiting is not None and waiting[0] - last > _LEAP_S and last < time < waiting[0]:
                self._n_odd += 1
                waiting = time, frame
            elif waiting is None or time != waiting[0]:
                n_odd += 1
                self._n_odd += 1
                if n_odd > _MOST_ODD:
                    break
        if waiting is not None:
            self._arrive(waiting[0])
            yield waiting

    def _timed(self, frames: Iterator[Any], begin: float | None) -> Iterator[tuple[float, Any]]:
        """Yield frames with the times that they have, or should have after those before them.

        The first is at `begin` if it does not say it; where that is None, frames are left out until one does.
        """
        step, expected = float(1 / (self._stream.average_rate or _USUAL_RATE)), begin
        for frame in frames:
            time_of = _own_time(frame, self._container)
            if time_of is None and self._is_thinned:
                continue  # nobody knows how many were left out before it
            time = expected if time_of is None else float(time_of - self._zero)
            if time is not None:
                expected = time + step
                yield time, frame

    def _arrive(self, time: float) -> None:
        self._last = time
        if time // STRETCH_S > self._stretch:
            self._stretch = int(time // STRETCH_S)
            self._on_stretch(self._stretch)


@contextmanager
def open_film(handle: int, *, on_stretch: Callable[[int], None] = lambda _: None) -> Iterator[Film]:
    """Open a film, given the descriptor of a regular file, whose position moves.

    `on_stretch` is called with the number of each stretch of `STRETCH_S` that decoding comes to.

    Raises
    ------
    PictureError
        `not_a_film`, `no_picture`, `unsupported`, `too_large` or `corrupt`; also later, while it is read.
    MemoryError
        If it needs more memory than there is; also later.
    """
    with os.fdopen(os.dup(handle), "rb") as file:
        film = Film(file, on_stretch)
        try:
            yield film
        finally:
            film.close()


def _kept(decided: list[tuple[cuts.Seen, bool]]) -> Iterator[FilmFrame]:
    for seen, is_cut in decided:
        if seen.kept is not None:
            is_sample, picture = seen.kept
            if is_sample or is_cut:
                yield FilmFrame(seen.at, is_cut, picture)


def _own_time(frame: Any, container: InputContainer) -> Fraction | None:
    """Return the time that a frame has in its file, in seconds, or None."""
    stamps = (frame.dts,) if _is_timed_by_decoding(container) else (frame.pts, frame.dts)
    return next((stamp * frame.time_base for stamp in stamps if stamp is not None), None)


def _is_timed_by_decoding(container: InputContainer) -> bool:
    """Return whether a file has times of decoding alone, which are those of frames in order but for a delay.

    FFmpeg calls them times of presentation, too.
    """
    return container.format.name == "avi"


def _require_size(picture: Any) -> None:
    """Raise PictureError unless frames of this size, of a frame or a decoder, may be decoded."""
    if picture.width * picture.height > MOST_PIXELS:
        raise PictureError(
            "too_large",
            f"the pictures of this film have {picture.width} x {picture.height} pixels; at most "
            f"{MOST_PIXELS // 1_000_000} megapixels are decoded",
        )


def _picture_track(container: InputContainer) -> Any:
    """Return the first track of pictures that can be decoded, ready for that."""
    from av.stream import Disposition

    if not container.streams.video:
        raise PictureError("no_picture", "there are no pictures in this file; it is a recording of sound, or empty")
    stills = Disposition.attached_pic | Disposition.timed_thumbnails
    tracks = [track for track in container.streams.video if not track.disposition & stills]
    if not tracks:
        raise PictureError("no_picture", "there is a cover picture in this file, and no film")
    for track in tracks:
        context = track.codec_context
        if context is not None:
            many = context.width * context.height > _MANY_PIXELS
            context.thread_type = "AUTO"
            # Two for each core, as half of them have frames that are left out.
            context.thread_count = 1 if many else min(2 * n_cores(), _MOST_THREADS)
            return track
    raise PictureError("unsupported", "the pictures in this film are of a kind that FFmpeg cannot decode here")


def _refuse_protected(file: Any) -> None:
    """Raise PictureError if a film says that it is encrypted; FFmpeg does not tell, and decodes noise."""
    handle, n_bytes = file.fileno(), os.fstat(file.fileno()).st_size
    ends = os.pread(handle, _ENDS, 0), os.pread(handle, _ENDS, max(_ENDS, n_bytes - _ENDS))
    if ends[0][4:8] == b"ftyp" and any(mark in end for mark in _PROTECTED for end in ends):
        raise PictureError("unsupported", "this film is encrypted (DRM); only its seller's programs can play it")
