"""What a run of `index` will do: the folders compared with the catalog. Nothing is decoded or written here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mmsearch.arguments import paths_of
from mmsearch.errors import LibraryNotFoundError, PictureError, QueryError
from mmsearch.frames import file_of, is_frame
from mmsearch.images import (
    EXCLUDED,
    Found,
    FoundFile,
    PassedOver,
    Unreachable,
    file_digest,
    find_files,
    has_heif,
    is_in_bundle,
    passed_over_text,
)
from mmsearch.images.find import is_below, nearest_above
from mmsearch.images.kinds import FILM
from mmsearch.ingest.beside import Beside
from mmsearch.ingest.plan_films import FilmsPlan, plan_films, reads_films
from mmsearch.names import shell_word
from mmsearch.records import READING, BadPicture, ImageRecord, IngestReport, PathLike
from mmsearch.store.base import LibraryStore, OnProgress
from mmsearch.store.changes import (
    BY_CHANCE,
    MAX_RUNS,
    TRANSIENT,
    UNSEEN,
    KnownBad,
    KnownFile,
    RejectedFile,
    StoredFile,
    TouchedFile,
    read_before_text,
)
from mmsearch.store.films import LibraryFilms
from mmsearch.system import is_gone

_NAMED = 5  # folders named in an error


@dataclass
class Plan:
    """What a run will do, found by comparing the folders with the catalog."""

    to_embed: list[FoundFile] = field(default_factory=list)
    changed: set[bytes] = field(default_factory=set)  # those of to_embed that are known with other contents
    copies: list[StoredFile] = field(default_factory=list)  # contents known, another path
    moved: list[TouchedFile] = field(default_factory=list)
    touched: list[TouchedFile] = field(default_factory=list)  # they look different, and have the same contents
    gone: list[int] = field(default_factory=list)
    forgotten: list[bytes] = field(default_factory=list)
    rejected: list[RejectedFile] = field(default_factory=list)
    to_annotate: list[bytes] = field(default_factory=list)  # paths of pictures that are not embedded
    tries: dict[bytes, int] = field(default_factory=dict)  # of those of to_embed that were rejected before
    n_unchanged: int = 0
    n_known_bad: int = 0
    n_read_anew: int = 0  # of those of changed, with the contents that are known
    n_read_before: int = 0  # of those unchanged, by an earlier version
    roots: Sequence[bytes] = ()
    beside: Beside | None = None  # the pictures; None for a library that keeps no annotations
    films: FilmsPlan = field(default_factory=FilmsPlan)
    films_of: LibraryFilms | None = None  # those whose frames are among to_embed, where another library has them
    passed_over: Counter[str] = field(default_factory=Counter)
    notices: list[str] = field(default_factory=list)

    def all_notices(self) -> tuple[str, ...]:
        """Return what is worth saying besides the counts."""
        notices = [passed_over_text(self.passed_over)] if self.passed_over else []
        if self.n_read_anew:
            are, them = ("is as it was", "it") if self.n_read_anew == 1 else ("are as they were", "them")
            notices.append(
                f"{self.n_read_anew} of the changed pictures {are}, but an earlier version read {them} in another "
                "way"
            )
        if self.n_read_before:
            folders = " ".join(shell_word(os.fsdecode(root)) for root in self.roots)
            notices.append(read_before_text(self.n_read_before, folders))
        return (*notices, *self.notices)


@dataclass(frozen=True)
class ScanOptions:
    """How a run looks at files.

    Parameters
    ----------
    follow_links : bool
        Go through symbolic links.
    is_recheck : bool
        Try rejected files again, and compare the contents of all others with their hashes.
    is_limit_raised : bool
        Larger pictures are taken than by the run before, so that those it refused are tried again.
    exclude : tuple of str
        Patterns of what is left out, as for `find_files`.
    """

    follow_links: bool = False
    is_recheck: bool = False
    is_limit_raised: bool = False
    exclude: tuple[str, ...] = ()

    def tries_again(self, bad: KnownBad) -> bool:
        """Return whether a rejected file that looks as before is tried again."""
        if self.is_recheck or bad.code in TRANSIENT:
            return True
        if bad.code == "too_large":
            return self.is_limit_raised
        # A format that could not be read may be one that can by now.
        is_chance = bad.code in BY_CHANCE or (bad.code == "unsupported" and has_heif())
        return is_chance and bad.n_tries < MAX_RUNS


def contents_of(path: bytes) -> bytes | None:
    """Return the sha256 of a file; None if it cannot be read."""
    try:
        return file_digest(path)
    except PictureError:
        return None  # the worker will say why


class _Known:
    """What the catalog knows of the roots; an empty one for a library that does not exist yet."""

    def __init__(self, store: LibraryStore | None, roots: Sequence[bytes]) -> None:
        self.store = store
        self.roots = set(store.roots()) if store else set()
        self.files: dict[bytes, KnownFile] = {}
        self.frames: dict[bytes, KnownFile] = {}  # the first of each film, by its path
        self.bad: dict[bytes, KnownBad] = {}
        for root in roots if store else ():
            assert store is not None
            for file in store.known_files(root):
                if is_frame(file.path):
                    self.frames.setdefault(file_of(file.path), file._replace(path=file_of(file.path)))
                else:
                    self.files[file.path] = file
            self.bad |= {bad.path: bad for bad in store.bad_files(root)}
        self.moved: set[int] = set()  # ids of pictures whose new place was found
        self._may_know: dict[int, bool] = {}  # by size

    def may_know(self, size: int) -> bool:
        """Return whether a file of this size may be a copy of a known one, or one that was moved here."""
        if size not in self._may_know:
            paths = self.store.paths_of_size(size) if self.store else []
            self._may_know[size] = any(path in self.files or self.has_left(path) for path in paths)
        return self._may_know[size]

    def has_left(self, path: bytes) -> bool:
        """Return whether there is no such file any more, nor a bundle that it came from.

        Where several machines share a library, what is not on this one may be on another.
        """
        is_shared = self.store is not None and self.store.as_folder is None
        return not is_shared and is_gone(path) and not is_in_bundle(path)

    def reading_of(self, image: ImageRecord) -> int:
        return self.store.reading_of(image.image_id) if self.store else READING

    def with_hash(self, content_hash: bytes) -> list[ImageRecord]:
        return self.store.images_with_hash(content_hash) if self.store else []


def absolute_roots(paths: PathLike | Iterable[PathLike], *, is_none_enough: bool = False) -> list[bytes]:
    """Return one absolute path or several as bytes; links stay as they are."""
    roots = [os.path.abspath(path) for path in paths_of(paths, "paths")]
    if not roots and not is_none_enough:
        raise QueryError("no folder was given; name at least one folder or picture")
    impossible = next((root for root in roots if b"\0" in root), None)
    if impossible is not None:
        raise QueryError(f"{os.fsdecode(impossible)!r} names no file or folder, as it holds a NUL; correct it")
    return roots


def require_pictures(
    entries: Iterable[Found],
    roots: Sequence[bytes],
    *,
    so: str = "so no library was made",
    with_films: bool = False,
) -> None:
    """Raise LibraryNotFoundError, which ends with what follows, unless there is a picture to begin with.

    `entries` are what is at or below the roots; no more of them is asked for than it takes. Films may be such.
    """
    passed_over: Counter[str] = Counter()
    reasons = []
    for entry in entries:
        if isinstance(entry, FoundFile):
            return
        if isinstance(entry, PassedOver) and with_films and entry.kind == FILM:
            return
        if isinstance(entry, Unreachable):
            reasons.append(f"{os.fsdecode(entry.path)}: {entry.message}")
        else:
            passed_over[entry.kind] += 1
    reasons += filter(None, [passed_over_text(passed_over)])
    named = _first_few(", ", [os.fsdecode(root) for root in roots])
    because = f" ({_first_few('; ', reasons)})" if reasons else ""
    raise LibraryNotFoundError(f"no picture was found at or below {named}{because}, {so}")


def _first_few(between: str, names: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    more = f"{between}and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return between.join(names[:_NAMED]) + more


def make_plan(
    store: LibraryStore | None,
    roots: Sequence[bytes],
    options: ScanOptions = ScanOptions(),
    *,
    beside: Beside | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Plan:
    """Compare what is on disk below the roots with the catalog; reads files only where that may tell something.

    Parameters
    ----------
    store : LibraryStore or None
        The library, or None if it does not exist yet.
    roots : sequence of bytes
        Absolute paths of folders and files.
    options : ScanOptions
        How closely to look.
    beside : Beside or None
        What stands beside the pictures; None for a library that keeps no annotations.
    on_progress : callable
        Given (`scan`, files seen, 0).
    """
    known, plan = _Known(store, roots), Plan(roots=roots, beside=beside)
    seen: set[bytes] = set()
    protected: set[bytes] = set()  # what could not be looked at is not gone
    candidates: list[FoundFile] = []
    passed_over: list[PassedOver] = []
    for entry in find_files(roots, follow_links=options.follow_links, exclude=options.exclude):
        if isinstance(entry, Unreachable):
            protected.add(entry.path)
            plan.rejected.append(RejectedFile(entry.path, UNSEEN, entry.code, entry.message))
            if entry.code == "vanished" and entry.path in known.bad:
                plan.forgotten.append(entry.path)
        elif isinstance(entry, PassedOver):
            plan.passed_over[entry.kind] += 1
            passed_over.append(entry)
        else:
            seen.add(entry.path)
            if len(seen) % 1000 == 0:
                on_progress("scan", len(seen), 0)
            if not _is_settled(entry, known, plan, options):
                candidates.append(entry)
    on_progress("scan", len(seen), len(seen))
    protected |= _kept(passed_over, known.roots, roots)
    gone = {path for path in known.files if path not in seen and not is_below(path, protected)}
    gone = {path for path in gone if not is_in_bundle(path)}
    plan.forgotten += [path for path in known.bad if path not in seen and not is_below(path, protected)]
    for candidate in candidates:
        _place(candidate, known, plan, gone, is_recheck=options.is_recheck)
    films = [entry.path for entry in passed_over if entry.kind == FILM]
    at_hand = seen.union(films, (entry.path for entry in passed_over if entry.kind == EXCLUDED))
    _name_empty_roots(known, plan, at_hand, gone)
    read = _plan_films(store, plan, known.frames, films, at_hand, protected, options)
    gone |= known.files.keys() & read  # what was a picture there
    plan.gone = [known.files[path].image_id for path in sorted(gone)]
    if beside is not None:
        plan.to_annotate = _to_annotate(plan, known.files, seen, is_all=options.is_recheck)
    return plan


def _plan_films(
    store: LibraryStore | None, plan: Plan, known: Mapping[bytes, KnownFile], films: list[bytes],
    at_hand: set[bytes], protected: set[bytes], options: ScanOptions,
) -> set[bytes]:  # fmt: skip
    """Decide what becomes of the films below the roots, and return those that are read here.

    Nothing becomes of those of a root that has nothing left at all.
    """
    if not reads_films(store):
        if films and store is not None and store.as_folder is None:
            plan.notices.append(f"{store.address} stands at an address, where films are not kept yet")
        return set()
    del plan.passed_over[FILM]
    empty = {root for root in plan.roots if not any(is_below(path, {root}) for path in at_hand)}
    folder = None if store is None else store.as_folder
    plan.films = plan_films(folder, plan.roots, films, protected | empty, is_recheck=options.is_recheck)
    plan.films.to_annotate = _films_to_annotate(plan, known, films, is_all=options.is_recheck)
    return set(films)


def _is_settled(candidate: FoundFile, known: _Known, plan: Plan, options: ScanOptions) -> bool:
    """Take note of a file that looks as it did, and return whether that is all."""
    file, bad = known.files.get(candidate.path), known.bad.get(candidate.path)
    if file is not None and candidate.look.is_as(file.look) and not options.is_recheck:
        _keep(file, plan)
        if bad is not None:  # it could not be looked at for a while
            plan.forgotten.append(candidate.path)
        if file.look.ctime_ns is None:
            plan.touched.append(_touched(file.image_id, candidate))
        return True
    if bad is None or not candidate.look.is_as(bad.look):
        return False
    if options.tries_again(bad):
        if bad.code not in TRANSIENT:
            plan.tries[candidate.path] = bad.n_tries
        return False
    plan.n_known_bad += 1
    return True


def _to_annotate(plan: Plan, known: Mapping[bytes, KnownFile], seen: set[bytes], *, is_all: bool) -> list[bytes]:
    """Return the pictures that are not embedded, all or those whose annotations may be others by now."""
    anew = [file.path for file in plan.copies] + [file.path for file in plan.moved]
    others = (seen & known.keys()).difference(anew, (file.path for file in plan.to_embed))
    beside = plan.beside
    return anew + [path for path in sorted(others) if is_all or not (beside and beside.is_as_noted(known[path]))]


def _films_to_annotate(
    plan: Plan, known: Mapping[bytes, KnownFile], paths: Iterable[bytes], *, is_all: bool
) -> list[bytes]:
    """Return the films that stay, all or those whose annotations may be others by now."""
    beside, films = plan.beside, plan.films
    if beside is None:
        return []
    anew = {film.path for film in films.moved if film.path not in known}
    others = (known.keys() & set(paths)) - films.changed
    return sorted(anew.union(path for path in others if is_all or not beside.is_as_noted(known[path])))


def _touched(image_id: int, file: FoundFile) -> TouchedFile:
    return TouchedFile(image_id, file.path, file.look)


def _keep(file: KnownFile, plan: Plan) -> None:
    """Count a picture that stays as it is."""
    plan.n_unchanged += 1
    plan.n_read_before += file.reading < READING


def _place(candidate: FoundFile, known: _Known, plan: Plan, gone: set[bytes], *, is_recheck: bool) -> None:
    """Decide what one new or altered file is: the same, moved, a copy, changed or new."""
    known_file = known.files.get(candidate.path)
    is_worth_reading = known_file is not None or known.may_know(candidate.look.size)
    content_hash = contents_of(candidate.path) if is_worth_reading else None
    if known_file is not None and content_hash == known_file.content_hash:
        if known_file.reading < READING and is_recheck:
            plan.to_embed.append(candidate)
            plan.changed.add(candidate.path)
            plan.n_read_anew += 1
        else:
            plan.touched.append(_touched(known_file.image_id, candidate))
            _keep(known_file, plan)
        return
    twins = known.with_hash(content_hash) if content_hash is not None else []
    origin = _origin(twins, known, gone) if known_file is None else None
    if origin is not None:
        gone.discard(os.fsencode(origin.path))
        known.moved.add(origin.image_id)
        plan.moved.append(_touched(origin.image_id, candidate))
        return
    twin = max(twins, key=known.reading_of, default=None)
    is_to_be_read_anew = twin is not None and is_recheck and known.reading_of(twin) < READING
    if twin is not None and content_hash is not None and not is_to_be_read_anew:
        plan.copies.append(
            StoredFile(
                candidate.path, candidate.look, content_hash, twin.width, twin.height, twin.format, twin.taken_at,
                known.reading_of(twin), row=twin.row,
            )
        )  # fmt: skip
    else:
        plan.to_embed.append(candidate)
    if known_file is not None:
        plan.changed.add(candidate.path)


def _origin(twins: Sequence[ImageRecord], known: _Known, gone: set[bytes]) -> ImageRecord | None:
    """Return the picture that was moved, of those with the same contents: one whose file is gone."""
    for twin in twins:
        path = os.fsencode(twin.path)
        if twin.image_id not in known.moved and (path in gone or known.has_left(path)):
            return twin
    return None


def _kept(passed_over: Sequence[PassedOver], known_roots: set[bytes], roots: Sequence[bytes]) -> set[bytes]:
    """Return the places that are not gone although this run passes them over.

    They are files that were read once, where a package for them is missing, and folders that were named in another
    run and are left out in this one, with what lies around them or alone.
    """
    unread = {entry.path for entry in passed_over if not entry.is_folder and entry.kind != EXCLUDED}
    left_out = {entry.path for entry in passed_over if entry.is_folder}
    places = left_out.union(roots)
    return unread | {root for root in known_roots if nearest_above(root, places) in left_out}


def _name_empty_roots(known: _Known, plan: Plan, seen: set[bytes], gone: set[bytes]) -> None:
    """Keep the pictures of a root that has none left at all: it may be a drive that is not mounted."""
    for root in plan.roots:
        missing = {path for path in gone if is_below(path, [root])}
        if missing and not any(is_below(path, [root]) for path in seen):
            gone -= missing
            plan.notices.append(_missing_text(root, len(missing)))


def name_missing_roots(store: LibraryStore, roots: Sequence[bytes]) -> list[str]:
    """Return a sentence for every folder that was indexed once, is not there, and has pictures in the library."""
    missing: dict[bytes, int] = {}
    for root in sorted({*store.roots(), *roots}):  # a folder before those below it
        if is_gone(root, follow_links=True) and not is_below(root, missing) and (n := store.count_below(root)):
            missing[root] = n
    return [_missing_text(root, n) for root, n in missing.items()]


def _missing_text(root: bytes, n: int) -> str:
    name = os.fsdecode(root)
    return (
        f"none of the {n} pictures of {name} is there, so they stay in the library (is a drive not mounted?); "
        f"`mmsearch rm {name}` forgets them"
    )


def dry_run(plan: Plan) -> IngestReport:
    """Return what carrying out the plan would do, as far as it is known without decoding."""
    candidates = [file.path for file in plan.to_embed] + [file.path for file in plan.copies]
    n_changed = sum(path in plan.changed for path in candidates)
    return IngestReport(
        new=len(candidates) - n_changed,
        changed=n_changed,
        moved=len(plan.moved),
        gone=len(plan.gone),
        unchanged=plan.n_unchanged,
        bad=tuple(BadPicture(os.fsdecode(bad.path), bad.code, bad.message) for bad in plan.rejected),
        known_bad=plan.n_known_bad,
        dry_run=True,
        notices=plan.all_notices(),
        films=None if plan.films.is_empty else plan.films.report(),
    )
