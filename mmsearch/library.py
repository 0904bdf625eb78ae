"""The Python interface: one class over a library, wherever it stands. The command line only calls this.

>>> from mmsearch import Library, Query
>>> library = Library.open("/tmp/no-such-library")
>>> library.search("two dogs in the snow")
Traceback (most recent call last):
mmsearch.errors.LibraryNotFoundError: ...
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mmsearch.annotations import Annotation, Kind
from mmsearch.arguments import (
    CPU,
    SAME,
    AskedViews,
    Collapse,
    Device,
    Duplicates,
    Expand,
    Keep,
    Mode,
    PartsMost,
    Precision,
    Rerank,
    WordsUse,
    as_count,
    as_flag,
    as_id,
    as_number,
    as_path,
    as_text,
    ids_of,
    is_whole,
    one_of,
    several,
    texts_of,
    unfit,
)
from mmsearch.encoders.prompts import DEFAULT_TEMPLATES, fill_templates
from mmsearch.errors import (
    EncoderError,
    FingerprintError,
    MmsearchError,
    QueryError,
    VocabularyError,
)
from mmsearch.frames import file_of, is_frame
from mmsearch.names import quoted
from mmsearch.places import place_of
from mmsearch.predicates import FilterLike, filters_of
from mmsearch.query.encode import TEXTS_TOGETHER, as_term
from mmsearch.query.encoder import Encoder
from mmsearch.query.listing import pictures_of, vectors_of
from mmsearch.query.searcher import Searcher
from mmsearch.records import (
    BackupReport,
    Classification,
    DuplicateReport,
    Example,
    Fault,
    GivenLabel,
    Identification,
    ImageRecord,
    IngestReport,
    LabelSet,
    LibraryStatus,
    LibraryVectors,
    Matrix,
    Order,
    PathLike,
    PicturePage,
    PictureParts,
    Query,
    RestoreReport,
    Retagged,
    SearchOptions,
    SearchResult,
    SidecarsReport,
    Term,
    Unusable,
    VerifyReport,
    as_query,
    examples_of,
)
from mmsearch.store.base import LibraryStore, OnProgress, Place, folder_of, in_folder, is_given

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from mmsearch.encoders.calibration import Calibration
    from mmsearch.encoders.classifier import Classifier
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.encoders.zeroshot import Answer
    from mmsearch.ingest.people import People
    from mmsearch.processes.decoder import PictureDecoder
    from mmsearch.processes.film_reader import FilmReader
    from mmsearch.sounds import OpenSounds, Sounds
    from mmsearch.store.facets import Facet, Facets
    from mmsearch.store.indexes import GraphSettings
    from mmsearch.store.words import PublishedWords

    AnswersOf: TypeAlias = Callable[[Matrix, Sequence[PictureParts] | None], tuple[list[Answer], tuple[str, ...]]]
    """Gives unit vectors float32 (n, dim) of pictures, and their parts if wanted, labels and sentences on these."""

_ANNOTATIONS = "tags and captions of one's own"

# The write path, classification and checks are imported where they are used: a search from the shell must
# not pay for them.


def _quiet(*_: Any) -> None:
    """Report nothing."""


class Library:
    """What `index` made of pictures, in a folder or at an address; opened with `Library.open`.

    Reading and writing may go on in several processes at once, one of them writing. One object belongs
    to one thread. Where several values may be given, one may be; an argument of a type that means nothing is an
    ArgumentError, which is a TypeError.

    It has the length of its pictures, and is iterated over them, in the order in which they came into it.

    Examples
    --------
    Made of vectors that are there already, which takes no encoder; most libraries are made by `index`.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     library = Library.open(folder)
    ...     report = library.add_vectors(
    ...         ["/cups/red.jpg", "/cups/blue.jpg", "/hats/red.jpg", "/hats/blue.jpg"],
    ...         [[1, 0, 0.1], [1, 0, -0.1], [0, 1, 0.1], [0, 1, -0.1]],
    ...         model="three features",
    ...     )
    ...     report.new, len(library), [image.path for image in library][:2]
    ...
    ...     cup = library.search(Query(vector=[1, 0.1, 0.2]), k=2)[0]
    ...     cup.path, library.picture(cup.image_id).path
    ...     both = [Query(vector=[0, 1, 0], where="name = red.jpg"), Query(images=cup.image_id)]
    ...     [result[0].path for result in library.search_many(both)]
    ...     type(library.search_each("a cup")[0]).__name__  # an error in the place of an answer
    ...
    ...     library.pictures("folder = /hats", order="path").n, library.facets().n
    ...     ids, paths, matrix = library.vectors("folder = /hats")
    ...     paths, matrix.shape
    ...     [answer.best for answer in library.identify(cup.image_id, is_itself_left_out=True)]
    ...     library.label_sets(), library.labels_of(cup.image_id)  # there are none yet
    ...
    ...     library.tag("/cups", ["china", "mine"]), library.untag("/cups/blue.jpg", "mine")
    ...     library.caption("/cups/red.jpg", "a cup of china")
    ...     [said.text for said in library.annotations_of(1)][:3]
    ...     library.tags_of("/cups"), [(facet.label, facet.n) for facet in library.tags()]
    ...
    ...     library.remove("/hats"), library.forget_queries()
    ...     library.tune(0.99)
    ...     library.graph_settings().recall_target, library.status().n_images, library.verify().problems
    ...     with library.sibling() as other:  # for another thread
    ...         other.reader().n_pictures
    ...     library.close()
    (4, 4, ['/cups/red.jpg', '/cups/blue.jpg'])
    ('/cups/red.jpg', '/cups/red.jpg')
    ['/hats/red.jpg', '/cups/red.jpg']
    'NoEncoderError'
    (2, 4)
    (['/hats/red.jpg', '/hats/blue.jpg'], (2, 3))
    ['cups']
    ((), ())
    (['/cups/blue.jpg', '/cups/red.jpg'], ['/cups/blue.jpg'])
    ['china', 'mine', 'a cup of china']
    ({'/cups/blue.jpg': ('china',), '/cups/red.jpg': ('china', 'mine')}, [('china', 2), ('mine', 1)])
    (2, 0)
    (0.99, 2, ())
    2
    """

    def __init__(
        self,
        place: Place,
        *,
        cache: Path | None,
        use_graph: bool = True,
        is_asked_once: bool = False,
        device: Device = CPU,
    ) -> None:
        self.place = place
        """Where the library stands."""
        self._installed = place.encoder(cache)
        self._installed.device = device
        self._use_graph, self._is_asked_once = use_graph, is_asked_once
        self._store: LibraryStore | None = None
        self._searcher: Searcher | None = None
        self._decoder: PictureDecoder | None = None
        self._film_reader: FilmReader | None = None
        self._sounds: OpenSounds | None = None
        self._check: Callable[[], None] = _quiet
        self._known_words: tuple[str, Matrix] | None = None  # fingerprint of the encoder, and their vectors

    @classmethod
    def open(
        cls,
        path: PathLike,
        *,
        cache: PathLike | None = None,
        use_graph: bool = True,
        device: Device = CPU,
    ) -> Library:
        """Return the library at `path`; it need not exist before the first `index`.

        Parameters
        ----------
        path : str or path
            The library folder, not a folder of pictures; or an address such as `milvus://host:19530/NAME`.
        cache : path or None
            Where exported encoders are kept for other libraries; default the user's cache folder.
        use_graph : bool
            False answers every search by an exact scan. True takes the index, cells or a graph, by which queries of
            the kind go (see `status`); it is loaded for the first such query, once for all threads.
        device : str
            Where what is searched for is embedded: `cpu`, `cuda`, or `auto`, which is `cuda` where that can be had.
            A GPU pays for itself in a process that lives long.
        """
        kept = None if cache is None else Path(os.fsdecode(as_path(cache, "cache")))
        one_of(device, "device", Device)
        return cls(place_of(path, kept), cache=kept, use_graph=use_graph, device=device)

    def __repr__(self) -> str:
        """Return where the library is; it need not be there."""
        return f"Library({self.address!r})"

    def __len__(self) -> int:
        """Return the number of pictures in the library, a film being one."""
        return self.reader().count_passing()

    def __bool__(self) -> bool:
        """Return True: a library without pictures is one too."""
        return True

    def __iter__(self) -> Iterator[ImageRecord]:
        """Yield the pictures of the library, in the order in which they came into it."""
        return pictures_of(self.reader())

    @property
    def address(self) -> str:
        """What people call the library: its folder, or its address without secrets."""
        return self.place.address

    @property
    def folder(self) -> Path:
        """The library's folder.

        Raises
        ------
        UnsupportedError
            If it stands at an address.
        """
        return folder_of(self.place, "files in a folder")

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release files; the next call opens them again."""
        if self._store is not None:
            self._store.close()
        if self._decoder is not None:
            self._decoder.close()
        if self._film_reader is not None:
            self._film_reader.close()
        if self._sounds is not None:
            self._sounds.close()
        self._store = self._searcher = self._decoder = self._film_reader = None

    def sibling(self) -> Library:
        """Return another object over the same library, for another thread; the encoder is loaded once for both."""
        other = Library(self.place, cache=None, use_graph=self._use_graph)
        if self.reader().has_vectors and not is_given(self.reader()):
            self.installed_encoder()
        self._installed.keep_in_memory()
        other._installed = self._installed
        return other

    @contextmanager
    def interruptible(self, check: Callable[[], None]) -> Iterator[None]:
        """Let long questions be given up: `check` is called between their steps, and what it raises ends them.

        That is for several queries, for classification and for pictures that are decoded; `index` and `tune` have
        `on_progress`.
        """
        self._check = check
        try:
            yield
        finally:
            self._check = _quiet

    # -- write path ----------------------------------------------------------------------------------

    def index(
        self,
        paths: PathLike | Iterable[PathLike],
        *,
        model: PathLike | None = None,
        is_dry_run: bool = False,
        follow_links: bool = False,
        is_recheck: bool = False,
        exclude: str | Iterable[str] | None = None,
        max_megapixels: float | None = None,
        settings: GraphSettings | None = None,
        local: bool | None = None,
        vocabulary: PathLike | None = None,
        remember: bool | None = None,
        re_embed: bool | None = None,
        precision: Precision | None = None,
        device: Device = "auto",
        views: AskedViews | None = None,
        parts: PartsMost | None = None,
        faces: bool | None = None,
        on_progress: OnProgress = _quiet,
        notify: Callable[[str], None] = _quiet,
    ) -> IngestReport:
        """Bring the library up to date with folders and pictures.

        Parameters
        ----------
        paths : path, or several
            Folders, searched through, and pictures. What is known below them and no longer there leaves
            the library; an unreadable or missing folder deletes nothing.
        model, is_dry_run, follow_links, is_recheck, exclude, max_megapixels, settings, local, vocabulary
            How that is done: see `mmsearch.ingest.update.IngestOptions`, which has the others too.
        on_progress : callable
            Given (stage, done, total), as by `scan`, `embed`, `vocabulary`, `words`, `parts`, `graph`, `calibrate`.
        notify : callable
            Given sentences worth showing, such as which encoder was chosen.

        Raises
        ------
        LibraryLockedError, LibraryLostError
            If another process writes to the library; if it was removed, moved or replaced meanwhile.
        LibraryNotFoundError
            If there is no library and no picture to make one of.
        FingerprintError, LibraryIncompleteError
            If the library has vectors of another encoder, precision or views; if they could not be made anew.
        EncoderError, ModelNotFoundError, VocabularyError
            If the encoder, what finds faces, or OpenCV cannot be had, another precision agrees too little with
            fp32, or the vocabulary is of another extractor or the library has another.
        QueryError
            If no path is given and nothing is asked of all pictures, or an option cannot be followed.
        StorageError
            If the disk refuses; everything reported before is stored.
        """
        from mmsearch.ingest.update import IngestOptions, bring_up_to_date

        options = IngestOptions(
            model, is_dry_run, follow_links, is_recheck, exclude, max_megapixels, settings, local, vocabulary,
            remember, re_embed, precision, device, views, parts, faces,
        )  # fmt: skip
        return bring_up_to_date(self.place, self._installed, paths, options, on_progress=on_progress, notify=notify)

    def export(
        self, folder: PathLike, *, on_progress: OnProgress = _quiet, notify: Callable[[str], None] = _quiet
    ) -> IngestReport:
        """Write all pictures of the library with their vectors as shards: Parquet files for other machines.

        Parameters
        ----------
        folder : path
            Where they are written. Finished shards there stay as they are, and what they hold is not written again.
        on_progress : callable
            Given (`export`, pictures looked at, pictures).
        notify : callable
            Given sentences worth showing.

        Raises
        ------
        NoEncoderError
            If the library has no vectors.
        FingerprintError, ShardError
            If there are shards of another encoder, or other Parquet files.
        LibraryLockedError
            If another process writes there.
        LibraryDamagedError
            If a vector of the library is lost or damaged.
        StorageError
            If the disk refuses.
        """
        from mmsearch.shards.export import export_shards, require_vectors
        from mmsearch.shards.format import ShardFacts

        require_vectors(self.reader())
        out = Path(os.fsdecode(as_path(folder, "folder"))).absolute()
        facts = ShardFacts.of(self.installed_encoder())
        return export_shards(self.reader(), facts, out, on_progress=on_progress, notify=notify)

    def export_sidecars(self, folder: PathLike, *, on_progress: OnProgress = _quiet) -> SidecarsReport:
        """Write what `tag` and `caption` were given as XMP sidecars, for other programs.

        Parameters
        ----------
        folder : path
            Where they are written, in folders like those of the pictures: `a.jpg.xmp` for `a.jpg`. Each says all
            that is known of its picture. Those that mmsearch wrote are replaced; those of this library are removed
            where a picture has no tag or caption of yours any more. Nothing else is, nor what was changed since.
        on_progress : callable
            Given (`export`, sidecars, sidecars of all).

        Returns
        -------
        SidecarsReport

        Raises
        ------
        OutputError
            If a sidecar of another program is there, or one that was changed since mmsearch wrote it.
        UnsupportedError
            If the library stands at an address.
        StorageError
            If the disk refuses.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Library.open(f"{folder}/library") as library:
        ...     report = library.add_vectors(["/photos/a.jpg", "/photos/b.jpg"], [[1, 0], [0, 1]], model="mine")
        ...     tagged = library.tag("/photos", "wedding")
        ...     library.export_sidecars(f"{folder}/xmp").n_written  # a.jpg.xmp and b.jpg.xmp
        2
        """
        from mmsearch.sidecars import write_sidecars

        out = Path(os.fsdecode(as_path(folder, "folder"))).absolute()
        store = in_folder(self.reader(), _ANNOTATIONS)
        with store.reading():
            return write_sidecars(store, out, on_progress)

    def load(
        self,
        folder: PathLike,
        *,
        model: PathLike | None = None,
        images: PathLike | None = None,
        on_progress: OnProgress = _quiet,
        notify: Callable[[str], None] = _quiet,
    ) -> IngestReport:
        """Bring the pictures of shards into the library, which is made if it is not there.

        A path that the library has with other contents gets those of the shards, as if it had been indexed again;
        files need not be on this machine.

        Parameters
        ----------
        folder : path
            With shards that `export` or `mmsearch embed` wrote, or with what clip-retrieval did: `img_emb` and
            `metadata`.
        model : str, path or None
            What the encoder of a new library is called on this machine, if not as where the shards were made. What
            clip-retrieval wrote does not say what made it, so that it must be named; its name is believed.
        images : path or None
            Where the pictures are whose paths in the metadata of clip-retrieval do not begin with /; None is
            `folder`.
        on_progress : callable
            Given (stage, done, total) with stage `load`, `graph` or `calibrate`; what is done is on disk.
        notify : callable
            Given sentences worth showing.

        Returns
        -------
        IngestReport
            With all shards and rows in `bad` that cannot be used.

        Raises
        ------
        ShardError
            If no shard can be used.
        FingerprintError
            If the library, or the model of that name, is of another encoder.
        EncoderError
            If the encoder cannot be had.
        LibraryLockedError, LibraryLostError
            If another process writes to the library; if it was removed, moved or replaced meanwhile.
        StorageError
            If the disk refuses; everything reported before is stored.
        """
        from mmsearch.ingest.load import load_shards

        shards = Path(os.fsdecode(as_path(folder, "folder"))).absolute()
        name = None if model is None else os.fsdecode(as_path(model, "model"))
        pictures = None if images is None else Path(os.fsdecode(as_path(images, "images"))).absolute()
        return load_shards(
            self.place, self._installed, shards, model=name, images=pictures, on_progress=on_progress, notify=notify
        )  # fmt: skip

    def backup(
        self, path: PathLike, *, vectors: bool = True, is_forced: bool = False, on_progress: OnProgress = _quiet
    ) -> BackupReport:
        """Write what cannot be made again of the library into one file, as it is at one moment.

        That is all but indexes, visual words, thumbnails, remembered queries, and encoders that can be had
        anywhere. Others may search and write meanwhile.

        Parameters
        ----------
        path : path
            Of the file, which nobody but its user may read.
        vectors : bool
            False leaves out the vectors: pictures come back, with labels, when `index` embeds them.
        is_forced : bool
            Replace a file that is there, but no picture.
        on_progress : callable
            Given (`backup`, MiB written, MiB to be written).

        Raises
        ------
        OutputError
            If there is a file that must not be replaced.
        QueryError
            If vectors are to be left out that nothing makes again.
        UnsupportedError
            If the library stands at an address.
        LibraryDamagedError
            If the catalog or a vector is damaged or lost.
        StorageError
            If the disk refuses; nothing has the name then.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Library.open(f"{folder}/library") as library:
        ...     report = library.add_vectors(["/old/a.jpg", "/old/b.jpg"], [[1, 0], [0, 1]], model="mine")
        ...     library.backup(f"{folder}/library.backup").n_pictures
        2
        """
        from mmsearch.output import BACKUP, OutputFile
        from mmsearch.store.backup import write_backup

        folder_of(self.place, "backups")
        with_vectors, target = as_flag(vectors, "vectors"), Path(os.fsdecode(as_path(path, "path"))).absolute()
        file = OutputFile(target, BACKUP, is_forced=as_flag(is_forced, "is_forced"))
        file.check()
        store = in_folder(self.reader(), "backups")
        return file.write(
            lambda whole: replace(
                write_backup(store, whole, with_vectors=with_vectors, on_progress=on_progress), path=str(file.path)
            )
        )

    def restore(
        self,
        path: PathLike,
        *,
        move: Mapping[Any, PathLike] | None = None,
        on_progress: OnProgress = _quiet,
        notify: Callable[[str], None] = _quiet,
    ) -> RestoreReport:
        """Make the library of a backup, where there is none yet, or none that ever held a picture.

        Parameters
        ----------
        path : path
            A file that `backup` wrote.
        move : mapping of path to path, optional
            New places of folders and pictures, by those of before; of several that hold a path the longest counts.
        on_progress : callable
            Given (`restore`, MiB read, MiB to be read).
        notify : callable
            Given sentences worth showing, such as that an encoder is made again.

        Raises
        ------
        BackupError, LibraryVersionError
            If the file is no whole backup of a library, or one of a newer mmsearch.
        QueryError
            If there is a library, nothing is at an old path, two pictures would have one path, or the library would
            lie among its pictures.
        UnsupportedError
            If the library would stand at an address.
        LibraryLockedError
            If another process writes there.
        StorageError
            If the disk refuses; there is no library then.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Library.open(f"{folder}/new") as library:
        ...     with Library.open(f"{folder}/old") as old:
        ...         added = old.add_vectors(["/old/a.jpg", "/old/b.jpg"], [[1, 0], [0, 1]], model="mine")
        ...         report = old.backup(f"{folder}/library.backup")
        ...     library.restore(f"{folder}/library.backup", move={"/old": "/new"}).n_moved
        ...     [image.path for image in library]
        2
        ['/new/a.jpg', '/new/b.jpg']
        """
        from mmsearch.store.moves import Moves
        from mmsearch.store.restore import restore

        if not isinstance(move, Mapping | None):
            raise unfit("move", move, "a mapping of old paths to new ones")
        moves = Moves.of({as_path(old, "move"): as_path(new, "move") for old, new in (move or {}).items()})
        file = Path(os.fsdecode(as_path(path, "path"))).absolute()
        self.close()
        report = restore(self.place, file, moves, on_progress=on_progress)
        return replace(report, notices=(*report.notices, *self._without_encoder(notify)))

    def _without_encoder(self, notify: Callable[[str], None]) -> tuple[str, ...]:
        """Install the encoder of a restored library, or say why it has none."""
        with self.place.writer() as store:
            if store.has_vectors and not is_given(store):
                try:
                    self._installed.for_writing(store, None, notify)
                except (EncoderError, FingerprintError) as error:
                    return (f"the library has no encoder yet: {error}",)
        return ()

    def add_vectors(
        self,
        paths: PathLike | Iterable[PathLike],
        vectors: ArrayLike,
        *,
        model: str,
        fingerprint: str | None = None,
        on_progress: OnProgress = _quiet,
        notify: Callable[[str], None] = _quiet,
    ) -> IngestReport:
        """Add pictures with vectors of your own to the library, which is made if it is not there.

        It is then searched by vectors of the same model (`Query(vector=...)`) and by its own pictures; texts and
        other pictures would need an encoder, which it has none of. A path that the library has with other contents,
        or another vector, gets those given; of a path that is given twice the last counts. Files are not decoded,
        and need not be on this machine.

        Parameters
        ----------
        paths : path, or several
            Of the n pictures.
        vectors : array of real numbers, shape (n, dim)
            In the order of the paths; of any length, kept at unit length as float16.
        model : str
            What made the vectors, in your words. Vectors of two models never meet in a library.
        fingerprint : str or None
            Something that changes when the vectors of the model would; None believes its name. That of the
            library's encoder (`library.encoder.fingerprint`) adds vectors that it made to those of `index`.
        on_progress, notify : callable
            As for `index`, with the stages `load`, `graph` and `calibrate`; what is done is on disk.

        Returns
        -------
        IngestReport
            With every row in `bad` that cannot be used, such as a vector without a direction.

        Raises
        ------
        ArgumentError, QueryError
            If the vectors are no matrix of real numbers, or not as many as the paths.
        FingerprintError, DimensionError
            If the library has vectors of another model, fingerprint or width.
        UnsupportedError
            If it stands at an address.
        LibraryLockedError, LibraryLostError, StorageError
            As of `index`.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Library.open(folder) as library:
        ...     library.add_vectors(["/photos/a.jpg", "/photos/b.jpg"], [[1, 0], [0, 1]], model="mine").new
        ...     library.search(Query(vector=[0.1, 2]), k=1)[0].path
        2
        '/photos/b.jpg'
        """
        from mmsearch.ingest.given import GivenVectors, add_vectors

        given = GivenVectors.of(paths, vectors, model=model, fingerprint=fingerprint)
        return add_vectors(self.place, self._installed, given, on_progress=on_progress, notify=notify)

    def remove(self, paths: PathLike | Iterable[PathLike], *, on_removed: Callable[[str], object] = _quiet) -> int:
        """Forget one picture or folder, or several, with all below; returns how many. Files are never deleted.

        `on_removed` is given the path of each, by path, once all are forgotten.
        """
        from mmsearch.ingest.plan import absolute_roots

        roots = absolute_roots(paths)
        with self.place.writer() as store:
            known = {file.image_id: file.path for root in roots for file in store.known_files(root)}
            forgotten = set(map(file_of, known.values()))
            store.remove_images(sorted(image_id for image_id, path in known.items() if not is_frame(path)))
            if store.as_folder is not None:
                forgotten |= store.as_folder.films.remove(roots)
        for path in sorted(forgotten):
            on_removed(os.fsdecode(path))
        return len(forgotten)

    def tag(self, paths: PathLike | Iterable[PathLike], tags: str | Iterable[str]) -> list[str]:
        """Give tags to pictures, which keep them when they are renamed, changed or indexed again.

        Parameters
        ----------
        paths : path or several
            Pictures of the library, or folders: all pictures at or below them.
        tags : str or several
            Levels are written as in `Places > France`.

        Returns
        -------
        list of str
            Paths of the pictures, sorted.

        Raises
        ------
        QueryError
            If a path holds no picture of the library, or a tag has no letter and no digit.
        UnsupportedError
            If the library stands at an address.

        """
        names = texts_of(tags, "tags")
        with self.place.writer() as store:
            pictures = _pictures_below(store, paths)
            annotations = in_folder(store, _ANNOTATIONS).annotations
            annotations.type(list(pictures), Kind.TAG, names)
            annotations.settle()
        return sorted(set(pictures.values()))

    def untag(self, paths: PathLike | Iterable[PathLike], tags: str | Iterable[str]) -> list[str]:
        """Take tags from pictures that `tag` gave, and return those that had one; as `tag` in all else.

        Tags that stand in files stay.
        """
        names = texts_of(tags, "tags")
        with self.place.writer() as store:
            pictures = _pictures_below(store, paths)
            annotations = in_folder(store, _ANNOTATIONS).annotations
            changed = annotations.untype(list(pictures), Kind.TAG, names)
            annotations.settle()
        return sorted({pictures[image_id] for image_id in changed})

    def retag(
        self, image_ids: int | Iterable[int], *, add: str | Iterable[str] = (), remove: str | Iterable[str] = ()
    ) -> Retagged:
        """Take tags from pictures as `untag`, then give them tags as `tag`, by ids; those that left are left out.

        Raises
        ------
        QueryError
            If a tag to be given has no letter and no digit, or is too long; nothing is changed then.
        LibraryLockedError
            If another process writes to the library.
        UnsupportedError
            If the library stands at an address.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Library.open(folder) as library:
        ...     _ = library.add_vectors(["/photos/a.jpg"], [[1, 0]], model="mine")
        ...     library.retag([1, 2], add=["beach", "2024"]), library.retag(1, add="sea", remove="Beach")
        ...     [said.text for said in library.annotations_of(1) if said.source == "user"]
        (Retagged(n_added=2, n_removed=0, missing=(2,)), Retagged(n_added=1, n_removed=1, missing=()))
        ['2024', 'sea']
        """
        from mmsearch.store.annotations import kept_text

        wanted = ids_of(image_ids, "image_ids")
        fresh = [kept_text(Kind.TAG, text) for text in texts_of(add, "add")]
        stale = texts_of(remove, "remove")
        folder_of(self.place, _ANNOTATIONS)
        with self.place.writer() as store:
            annotations = in_folder(store, _ANNOTATIONS).annotations
            known = [image.image_id for image in store.images_of_ids(wanted)]
            n_removed = len(annotations.untype(known, Kind.TAG, stale)) if stale else 0
            n_added = annotations.type(known, Kind.TAG, fresh) if fresh else 0
            annotations.settle()
        return Retagged(n_added, n_removed, tuple(sorted(set(wanted) - set(known))))

    def caption(self, picture: PathLike | int, text: str | None) -> None:
        """Write a caption for a picture, in place of one that was written so before; None takes that away.

        Parameters
        ----------
        picture : path or int
            A picture of the library, by its path or id.
        text : str or None
            What it shows.

        Raises
        ------
        QueryError
            If there is no such picture in the library, or the caption has no letter and no digit.
        LibraryLockedError
            If another process writes to the library.
        EncoderError
            If the encoder is missing; the caption is written, and `index` makes its vector.
        UnsupportedError
            If the library stands at an address.
        """
        from mmsearch.ingest.annotate import embed_captions

        folder_of(self.place, _ANNOTATIONS)
        with self.place.writer() as store:
            annotations = in_folder(store, _ANNOTATIONS).annotations
            if is_whole(picture):
                image_id = int(picture)
            else:
                path = as_path(picture, "picture")
                known = next(store.known_files(os.fsencode(os.path.abspath(path))), None)
                if known is None or file_of(known.path) != os.fsencode(os.path.abspath(path)):
                    raise QueryError(
                        f"{quoted(os.fsdecode(os.path.abspath(path)))} is no picture of the library, and a caption "
                        "is of one; index it first, or correct the path"
                    )
                image_id = known.image_id
            if text is None:
                annotations.untype([image_id], Kind.CAPTION)
            else:
                annotations.type([image_id], Kind.CAPTION, [as_text(text, "the caption")])
                has_encoder = store.has_vectors and not is_given(store)
                if has_encoder and annotations.captions_to_embed(1) is not None:
                    embed_captions(store, self.installed_encoder(), _quiet)  # which a server keeps in memory
            annotations.settle()

    def annotations_of(self, image_id: int) -> tuple[Annotation, ...]:
        """Return all that is written about a picture, the user's tags and captions (source `user`) first.

        Nothing is, of a picture that is not in the library, and where the library stands at an address.
        """
        wanted = as_id(image_id, "image_id")
        return self.reader().annotations_of([wanted]).get(wanted, ())

    def tags(self, where: FilterLike | Iterable[FilterLike] = ()) -> tuple[Facet, ...]:
        """Return all tags, the user's and those of files, with their numbers of pictures, most frequent first."""
        return self.facets(where).tags

    def tags_of(self, paths: PathLike | Iterable[PathLike]) -> dict[str, tuple[str, ...]]:
        """Return the tags of every picture at or below some paths, the user's first, by path.

        Raises
        ------
        QueryError
            If a path holds no picture of the library.
        """
        store = self.reader()

        def read() -> dict[str, tuple[str, ...]]:
            pictures = _pictures_below(store, paths)
            texts = in_folder(store, _ANNOTATIONS).annotations_of(list(pictures))
            return {
                path: tuple(dict.fromkeys(text.text for text in texts.get(image_id, ()) if text.kind is Kind.TAG))
                for image_id, path in sorted(pictures.items(), key=lambda picture: picture[1])
            }

        return store.consistently(read)

    def forget_queries(self) -> int:
        """Forget the texts that were looked for; returns how many. Their vectors are only kept to save time."""
        return self.reader().remembered.forget()

    def tune(self, recall_target: float, *, on_progress: OnProgress = _quiet) -> None:
        """Set the ANN recall@10 that the index must reach, and choose effort and route anew on the library itself.

        Parameters
        ----------
        recall_target : float
            In (0, 1]; where the index cannot reach it faster than the exact scan, the scan is used.
        on_progress : callable
            Given (stage, done, total) with stage `graph` or `calibrate`.

        Raises
        ------
        QueryError
            If the target is not in (0, 1].
        """
        if not 0 < as_number(recall_target, "the recall target") <= 1:
            raise QueryError(f"the recall target is {recall_target}; expected a share above 0 and at most 1")
        folder_of(self.place, "a recall target")
        probes = self.text_probes()
        with self.place.writer() as store:
            indexes = in_folder(store, "a recall target").indexes
            settings = replace(indexes.settings, recall_target=recall_target)
            indexes.keep(settings)
            indexes.update(settings, probes, on_progress=on_progress)

    def set_labels(
        self,
        name: str,
        labels: str | Iterable[str],
        *,
        templates: str | Iterable[str] = DEFAULT_TEMPLATES,
        closed: bool = False,
        multi: bool = False,
        min_probability: float = 0.5,
        on_progress: OnProgress = _quiet,
        notify: Callable[[str], None] = _quiet,
    ) -> LabelSet:
        """Give all pictures of the library those of some labels that they are likely to show, by their vectors.

        Filters (`label = dog`, `label = animals/dog`) and `facets` know the labels from then on, and `index` gives
        them to new pictures. A run that is ended goes on where it was when it is asked the same again, or with the
        next `index`.

        Parameters
        ----------
        name : str
            Of the label set; letters or digits, with - _ or . among them. One of that name is replaced.
        labels, templates, closed, multi
            As for `classify`.
        min_probability : float
            In (0, 1]; labels that are less probable are not given. One of 0.5 is more probable than all others
            together.
        on_progress : callable
            Given (`labels`, pictures looked at, pictures to be looked at); what is done is on disk.
        notify : callable
            Given sentences worth showing, such as which labels the encoder hardly knows.

        Raises
        ------
        QueryError, EncoderError
            If name, labels or options mean nothing, or the library's encoder cannot judge labels so.
        UnsupportedError
            If the library stands at an address.
        LibraryLockedError, LibraryLostError
            If another process writes to the library; if it was removed, moved or replaced meanwhile.
        LibraryDamagedError, StorageError
            If vectors are lost; if the disk refuses: what was reported before is stored.
        """
        from mmsearch.ingest.labels import require_labels, set_labels
        from mmsearch.store.labels import LabelOptions, require_name

        options = LabelOptions(texts_of(templates, "templates"), closed, multi, min_probability)
        wanted, names = require_name(as_text(name, "name")), require_labels(texts_of(labels, "labels"), options)
        folder_of(self.place, "labels")
        made = set_labels(self.place, self.installed_encoder(), wanted, names, options, on_progress=on_progress)
        for warning in () if made.mode == "closed" else self.label_warnings(names):
            notify(warning)
        return made

    def remove_labels(self, name: str) -> LabelSet:
        """Forget a label set and all labels that it gave, and return what it was; the pictures stay.

        Raises
        ------
        QueryError
            If there is none of that name.
        """
        wanted = as_text(name, "name")
        folder_of(self.place, "labels")
        with self.place.writer() as store:
            return in_folder(store, "labels").labels.remove(wanted)

    def calibrate(self, calibration: Calibration) -> None:
        """Keep what scores of the library's encoder mean: it is used from the next search on.

        Parameters
        ----------
        calibration : Calibration
            Such as `mmsearch.training.calibrate.calibrate` fits to captioned pictures.

        Raises
        ------
        NoEncoderError
            If the library has none.
        EncoderError
            If it is missing.
        StorageError
            If the disk refuses; what was kept before stays.
        """
        from mmsearch.store.encoder import keep_calibration

        folder = self.installed_encoder().folder
        with self.place.writer():
            keep_calibration(folder, calibration)
        self._installed.forget()

    # -- read path -----------------------------------------------------------------------------------

    def search(
        self,
        query: Query | str,
        *,
        k: int = 10,
        explain: bool = False,
        mode: Mode = "global",
        rerank: Rerank = "auto",
        expand: Expand = "none",
        min_relevance: float | None = None,
        after: str | None = None,
        words: WordsUse = "auto",
        collapse: Collapse = "same-file",
    ) -> SearchResult:
        """Return the k pictures of the library most similar to a query, best first; copies are one hit.

        Parameters
        ----------
        query : Query or str
            A string is a text to look for.
        k, explain, mode, rerank, expand, min_relevance, after, words, collapse
            How it is answered: see `SearchOptions`. The pictures after these k are those `after` the `next` of the
            result.

        Raises
        ------
        QueryError
            If the query means nothing, has filters that no picture could pass, has words and the library's encoder
            knows none, asks for local features, texts beside pictures or relevance that cannot be had, a number is
            out of its range, an option is another word, or `after` is of another query.
        EncoderError
            If the library has no encoder, and the query is another than one example picture, or one text where
            texts stand beside its pictures.
        UnsupportedError
            If pictures that look alike are to be one hit, and the library stands at an address.
        """
        options = SearchOptions(k, mode, rerank, expand, explain, min_relevance, after, words, collapse)
        return self._search().search(as_query(query, "query"), options)

    def search_many(
        self, queries: Query | str | Iterable[Query | str], options: SearchOptions = SearchOptions()
    ) -> list[SearchResult]:
        """Return the answers to several queries, each of which is what `search` gives for it alone.

        Those by words without filters are answered together, in a fraction of the time of one by one; the `seconds`
        of each are then those of all.

        Raises
        ------
        QueryError, EncoderError
            The first error of a query; `search_each` hands the answers to the others on.
        """
        results = []
        for answer in self.search_each(queries, options):
            if isinstance(answer, MmsearchError):
                raise answer
            results.append(answer)
        return results

    def search_each(
        self, queries: Query | str | Iterable[Query | str], options: SearchOptions = SearchOptions()
    ) -> list[SearchResult | MmsearchError]:
        """Return the answers to several queries as `search_many` does, with the error of a query in its place."""
        return self._search().search_each(several(queries, "queries", as_query), options)

    def classify(
        self,
        images: Example | Term | Iterable[Example | Term],
        labels: str | Iterable[str] | Classifier,
        *,
        templates: str | Iterable[str] = DEFAULT_TEMPLATES,
        k: int = 5,
        closed: bool = False,
        multi: bool = False,
        parts: bool = False,
    ) -> list[Classification]:
        """Return the k most probable labels of each picture; pictures in the library are not decoded again.

        A picture that cannot be read comes back with `error` set; the others are not affected.

        Parameters
        ----------
        images : path, id, PictureBytes or Term, or several
        labels : str, several, or Classifier
            Names; or a classifier that was taught by labelled pictures (`Classifier.load`), which needs no
            templates and is always closed.
        templates : str, or several
            Prompts with {} for the label.
        k : int > 0
            How many labels a picture.
        closed : bool
            One of the labels must be right. Else a picture may show none of them, where the encoder is calibrated
            (`mmsearch calibrate`); where it is not, labels are closed in any case.
        multi : bool
            Each label is judged by itself, so that a picture may show several.
        parts : bool
            Each part is judged by itself as well, so that small things are named: those of the library, else of 13
            windows. A label is as probable as where it is most, which is no distribution (`Classification`).

        Raises
        ------
        QueryError
            If the labels or templates mean nothing, k is not above 0, the encoder knows no words, or `multi` is
            wanted of one that is not calibrated.
        FingerprintError
            If the classifier is for another encoder.
        """
        from mmsearch.encoders.classifier import Classifier

        images, k = examples_of(images, "images"), as_count(k, "k")
        closed, multi, parts = as_flag(closed, "closed"), as_flag(multi, "multi"), as_flag(parts, "parts")
        taught = labels if isinstance(labels, Classifier) else None
        names = [] if isinstance(labels, Classifier) else texts_of(labels, "labels")
        patterns = texts_of(templates, "templates")
        if taught is not None and multi:
            raise QueryError("a classifier chooses one of its labels; leave multi out, or name labels in words")

        def read() -> list[Classification]:
            if taught is not None:
                answers_of = self._by_classifier(taught, k)
            else:
                answers_of = self._by_prompts(names, patterns, k, closed=closed, multi=multi)
            return self._classified(images, answers_of, in_parts=parts)

        return self.reader().of_one_encoder(read)

    def _classified(
        self, images: Sequence[Example | Term], answers_of: AnswersOf, *, in_parts: bool
    ) -> list[Classification]:
        parts: list[PictureParts] | None = None
        if in_parts:
            readable, vectors, parts, errors = self.encoder.encode_readable_parts(images)
        else:
            readable, vectors, errors = self.encoder.encode_readable(images)
        answers, warnings = answers_of(vectors, parts) if readable else ([], ())
        answer_at = dict(zip(readable, answers, strict=True))
        results = []
        for position, image in enumerate(images):
            predictions, none = answer_at.get(position, ((), None))
            error = errors.get(position)
            results.append(Classification(as_term(image).label, predictions, error, none, warnings))
        return results

    def _by_classifier(self, classifier: Classifier, k: int) -> AnswersOf:
        """Return what gives unit vectors (n, dim) the labels of a classifier that is for this encoder."""
        from mmsearch.encoders.zeroshot import in_parts

        encoder = self.installed_encoder()
        classifier.check(encoder.name, encoder.fingerprint)

        def answers_of(
            vectors: Matrix, parts: Sequence[PictureParts] | None
        ) -> tuple[list[Answer], tuple[str, ...]]:
            if parts is None:
                return [(labels, None) for labels in classifier.predict(vectors, k=k)], ()
            return in_parts(classifier.judge, classifier.labels, vectors, parts, k=k), ()

        return answers_of

    def _by_prompts(
        self, labels: Sequence[str], templates: Sequence[str], k: int, *, closed: bool, multi: bool
    ) -> AnswersOf:
        """Return what gives unit vectors (n, dim) the labels whose prompts they are nearest to."""
        from mmsearch.encoders.zeroshot import ZeroShotClassifier, class_embeddings, in_parts, mode_of

        fill_templates(labels, templates)  # a label set that means nothing is said before any work
        encoder = self.installed_encoder()
        encoder.require_words()
        mode = mode_of(encoder, labels, closed=closed, multi=multi)

        def answers_of(
            vectors: Matrix, parts: Sequence[PictureParts] | None
        ) -> tuple[list[Answer], tuple[str, ...]]:
            classes = class_embeddings(self._wanted_texts, labels, templates, at_once=TEXTS_TOGETHER)
            classifier = ZeroShotClassifier.of(encoder, labels, classes, mode)
            if parts is None:
                answers = classifier.predict(vectors, k=k)
            else:
                answers = in_parts(classifier.judge, labels, vectors, parts, k=k)
            return answers, () if closed else self.label_warnings(labels)

        return answers_of

    def label_warnings(self, labels: str | Iterable[str]) -> tuple[str, ...]:
        """Return sentences on labels that the library's encoder has hardly seen, where that can be told."""
        from mmsearch.encoders.known_words import are_hardly_known, kept_vectors, known_words, warning_of
        from mmsearch.encoders.zeroshot import class_embeddings
        from mmsearch.store.encoder import default_cache

        labels, encoder = texts_of(labels, "labels"), self.installed_encoder()
        words = known_words(encoder)
        if not words:
            return ()
        if self._known_words is None or self._known_words[0] != encoder.fingerprint:
            cache = default_cache() if self._installed.cache is None else self._installed.cache
            file = cache / "known-words" / f"{encoder.fingerprint[:24]}.npy"
            self._known_words = encoder.fingerprint, kept_vectors(file, words, encoder.dim, self._wanted_texts)
        texts = class_embeddings(self._wanted_texts, labels, "{}", at_once=TEXTS_TOGETHER)
        is_unknown = are_hardly_known(texts, self._known_words[1])
        unknown = [label for label, is_it in zip(labels, is_unknown, strict=True) if is_it]
        return (warning_of(encoder, unknown),) if unknown else ()

    def identify(
        self,
        images: Example | Term | Iterable[Example | Term],
        identities: Mapping[str, str] | Mapping[Path, str] | None = None,
        *,
        k: int = 3,
        false_rate: float | None = None,
        is_itself_left_out: bool = False,
        faces: bool | None = None,
        strangers: Library | None = None,
    ) -> list[Identification]:
        """Return which individual of the library each picture shows, or that it shows none of them.

        Parameters
        ----------
        images : path, id, picture that is held or Term, or several
            What may be held: see `Query`. A Term with a box asks for that part of a picture.
        identities : mapping of path to str, or None
            Whom or what the pictures of the library show, of several faces the largest; others count for nobody.
            None takes the names that people gave to groups of faces, otherwise the folders; see `identities_of`.
        k : int > 0
            How many of the nearest pictures an answer has.
        false_rate : float or None
            In (0, 1): share of pictures, or faces, of strangers that may be given an identity by their vectors, as
            learned on the gallery; None is 0.01 for pictures and 0.03 for faces.
        is_itself_left_out : bool
            Whether a picture that is in the library does not count for itself, as in a measurement.
        faces : bool or None
            Whether the faces in a picture answer, where it has any. None: in a library with faces, if people were
            given names, or two thirds of the identities show a face in half of their pictures, mostly of one
            person.
        strangers : Library or None
            Another one, whose faces teach how near strangers come; any that may be of known people do not count.

        Returns
        -------
        list of Identification
            A picture that cannot be read comes back with `error` set; the others are not affected.

        Raises
        ------
        QueryError
            If there are too few identities, or faces are asked for and there are none.
        NoEncoderError
            If the library has no vectors, and faces do not answer.
        ModelNotFoundError, UnsupportedError
            If faces are asked for, and the extra is not installed, or the library stands at an address.
        """
        from mmsearch.faces.gallery import identify
        from mmsearch.faces.known import Asked
        from mmsearch.faces.packing import WHAT

        others = None if strangers is None else strangers.reader
        asked = Asked.of(identities, k, false_rate, is_itself_left_out, faces, others)
        if asked.faces:
            folder_of(self.place, WHAT)
        pictures, store = examples_of(images, "images"), self.reader()
        return store.of_one_encoder(
            lambda: identify(store, self._search(), self.decoder, pictures, asked, self._check)
        )

    def duplicates(
        self,
        paths: PathLike | Iterable[PathLike] = (),
        *,
        kinds: Duplicates | Iterable[Duplicates] = SAME,
        keep: Keep = "largest",
        sign: bool = True,
        on_progress: OnProgress = _quiet,
        notify: Callable[[str], None] = _quiet,
    ) -> DuplicateReport:
        """Return groups of pictures that are the same, each with one that is proposed to be kept, and why.

        Nothing is deleted. Files that are not what was indexed are left out, and one of several paths counts once.

        Parameters
        ----------
        paths : path, or several
            Only pictures at or below these are compared, with one another; without any all are.
        kinds : str, or several
            `same-file`: equal bytes. `same-picture`: encoded anew, resized, re-toned, framed, lightly cropped,
            mirrored, turned, or pasted on. `look-alike`: several pictures of one moment, which are no duplicates.
        keep : str
            The `largest`, `coloured`, `dated`, `least-compressed` or `oldest`; where it tells nothing, the others.
        sign : bool
            Whether, as the writer, pictures without a signature are read for theirs and what is compared is kept.
        on_progress, notify : callable
            Given (`sign`, `compare` or `align`, done, total); sentences worth showing.

        Raises
        ------
        UnsupportedError, LibraryLockedError
            If the library stands at an address; if another process writes to it, and pictures are to be signed.
        QueryError
            If there is no picture at or below one of the paths.
        LibraryDamagedError
            If a vector is lost, or not what was stored.

        Examples
        --------
        >>> import shutil
        >>> from tempfile import TemporaryDirectory
        >>> from mmsearch.samples import sample_folder
        >>> with TemporaryDirectory() as folder, Library.open(f"{folder}/library") as library:
        ...     copies = [shutil.copy(sample_folder() / "cat.jpg", f"{folder}/{name}.jpg") for name in "ab"]
        ...     report = library.add_vectors(copies, [[1, 0], [1, 0]], model="mine")
        ...     [(group.reason, group.others[0].evidence) for group in library.duplicates(kinds="same-file")]
        [('oldest file', 'bytes')]
        """
        from mmsearch.duplicates.find import DuplicateOptions, find_duplicates, keep_comparisons
        from mmsearch.ingest.sign import sign_missing

        options = DuplicateOptions.of(paths, kinds, keep)
        folder_of(self.place, "duplicates")
        for root in (root for root in options.roots if not self.reader().count_below(root)):
            raise _not_there(root)
        if as_flag(sign, "sign") and options.kinds != ("same-file",):
            sign_missing(self.place, in_folder(self.reader(), "duplicates"), options.roots, on_progress, notify)
        store = in_folder(self.reader(), "duplicates")
        keeping = partial(keep_comparisons, self.place, notify) if sign else _quiet
        return find_duplicates(store, options, keeping, on_progress=on_progress, check=self._check)

    def _wanted_texts(self, texts: Sequence[str]) -> Matrix:
        """Return the unit vectors float32 (n, dim) of texts, if they are still wanted."""
        self._check()
        return self.installed_encoder().encode_texts(texts)

    def pictures(
        self,
        where: FilterLike | Iterable[FilterLike] = (),
        *,
        order: Order = "added",
        after: str | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> PicturePage:
        """Return a page of the pictures that pass all filters.

        Parameters
        ----------
        where : str, Predicate or mapping, or several
            Filters, as for a search.
        order : "added", "path" or "taken"
            By id, which is the order in which they came into the library, by folder and name, or the newest first:
            by date and, where that is the same, what came last; pictures without a date come at the end.
        after : str or None
            Begin after a page: its `next`. No picture comes twice or is left out then, whatever comes or leaves
            meanwhile; but for the order `path`, that also holds for those that are renamed.
        offset : int >= 0
            Pictures passed over.
        limit : int > 0
            Pictures on the page at most.

        Raises
        ------
        QueryError
            If a filter is not understood or no picture could pass it, `after` is no `next`, or a number is too
            small.
        """
        one_of(order, "order", Order)
        after = None if after is None else as_text(after, "after")
        filters = filters_of(where, "where")
        offset, limit = as_count(offset, "offset", least=0), as_count(limit, "limit")
        return self.reader().page(filters, order=order, after=after, offset=offset, limit=limit)

    def vectors(
        self, where: FilterLike | Iterable[FilterLike] = (), *, dtype: DTypeLike = np.float32
    ) -> LibraryVectors:
        """Return the embeddings of all pictures that pass all filters, of one state of the library.

        Parameters
        ----------
        where : str, Predicate or mapping, or several
            Filters, as for a search.
        dtype : float32 or float16
            float32 are unit vectors, as a search compares them; float16 those that are stored, in half the memory.

        Returns
        -------
        LibraryVectors
            `ids`, `paths` and `matrix`, in the order in which the pictures came into the library.

        Raises
        ------
        QueryError
            If a filter is not understood or no picture could pass it, or the type is another one.
        NoEncoderError
            If the library has no vectors.
        LibraryDamagedError
            If a vector is lost, or not what was stored.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Library.open(folder) as library:
        ...     library.add_vectors(["/photos/a.jpg", "/photos/b.jpg"], [[1, 0], [3, 4]], model="mine").new
        ...     ids, paths, matrix = library.vectors(where="name = b.jpg")
        ...     paths, matrix.shape, matrix.dtype.name
        2
        (['/photos/b.jpg'], (1, 2), 'float32')
        """
        if not self.reader().has_vectors:
            self.installed_encoder()  # raises, as there is none
        return vectors_of(self.reader(), filters_of(where, "where"), dtype)

    def facets(self, where: FilterLike | Iterable[FilterLike] = ()) -> Facets:
        """Return the pictures that pass all filters in classes: by folder, year, size, format and label.

        Every class has the filters that give it. There are none where no picture could pass.

        Raises
        ------
        QueryError
            If a filter is not understood.
        """
        return self.reader().facets(filters_of(where, "where"))

    def timeline(self, where: FilterLike | Iterable[FilterLike] = ()) -> tuple[Facet, ...]:
        """Return the months of the pictures that pass all filters, the newest first, with counts and filters.

        In the order `taken` of `pictures`, they follow one another. Pictures of which only the year is known are a
        class of their own at its end, and those without a date the last.

        Raises
        ------
        QueryError
            If a filter is not understood or no picture could pass it.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Library.open(folder) as library:
        ...     _ = library.add_vectors(["/photos/a.jpg", "/photos/b.jpg"], [[1, 0], [3, 4]], model="mine")
        ...     library.timeline("name = b.jpg")
        (Facet(label='without a date', where=('not taken >= 0000',), n=1),)
        """
        return self.reader().timeline(filters_of(where, "where"))

    def label_sets(self) -> tuple[LabelSet, ...]:
        """Return the label sets of the library, by name.

        Raises
        ------
        UnsupportedError
            If it stands at an address.
        """
        return in_folder(self.reader(), "labels").label_sets()

    def labels_of(self, image_id: int) -> tuple[GivenLabel, ...]:
        """Return the labels that the sets of the library gave a picture, most probable first."""
        wanted = as_id(image_id, "image_id")
        return self.reader().labels_of([wanted]).get(wanted, ())

    def picture(self, image_id: int) -> ImageRecord | None:
        """Return the picture with an id, or None if it is not in the library, or not any more."""
        original = self.reader().original(as_id(image_id, "image_id"))
        return None if original is None else original[0]

    @property
    def people(self) -> People:
        """The groups of faces, in a library that was indexed with `faces`, with what you decide of them.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Library.open(folder) as library:
        ...     _ = library.add_vectors(["/photos/a.jpg"], [[1, 0]], model="mine")
        ...     library.people.list()
        ()
        """
        from mmsearch.ingest.people import People

        return People(self.place, self.reader)

    @property
    def sounds(self) -> Sounds:
        """The recordings of the library, which are found by a few seconds of them; see `mmsearch.sounds.Sounds`.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Library.open(folder) as library:
        ...     _ = library.add_vectors(["/photos/a.jpg"], [[1, 0]], model="mine")
        ...     library.sounds.status().n_recordings
        0
        """
        from mmsearch.sounds import OpenSounds, Sounds

        if self._sounds is None:
            library = weakref.proxy(self)
            self._sounds = OpenSounds(lambda: library._check())
        return Sounds(self.place, self.reader, self._sounds)

    def status(self) -> LibraryStatus:
        """Return what is in the library, and how well and by which route it is searched."""
        return self.reader().status()

    def verify(self, *, is_repair: bool = False) -> VerifyReport:
        """Prove the library whole: catalog, every vector, labels, encoder, indexes, visual words.

        Parameters
        ----------
        is_repair : bool
            Forget damaged vectors and caches, so that the next `index` makes them anew; give missing labels.
        """

        def verified(store: LibraryStore) -> VerifyReport:
            report = store.verify(is_repair=is_repair)
            problems = self._installed.problems(store, is_repair=is_repair)
            of_encoder = [Fault("damaged_encoder", problem) for problem in problems]
            return replace(report, faults=(*report.faults, *of_encoder))

        if not is_repair:
            return self.reader().of_one_encoder(lambda: verified(self.reader()))
        self.close()
        with self.place.writer() as store:
            report = verified(store)
            if store.as_folder is not None:
                from mmsearch.ingest.labels import repair_labels

                repair_labels(store.as_folder, lambda: self._installed.for_reading(store))
                self._installed.forget()  # what was opened by the writer is closed with it
            return report

    def words(self) -> PublishedWords:
        """Return the visual words of the library; what is known of features stays in its files.

        Raises
        ------
        VocabularyError
            If there are none that can be used; the sentence says why.
        """
        words = in_folder(self.reader(), "visual words").words.load()
        if isinstance(words, Unusable):
            raise VocabularyError(f"{self.address}: {words.reason}")
        return words

    def graph_settings(self) -> GraphSettings:
        """Return when and how the library's indexes are built."""
        return in_folder(self.reader(), "settings of an index").indexes.settings

    def text_probes(self) -> Matrix:
        """Return unit vectors float32 (n, dim) of varied captions, to measure an index with; none without words."""
        if is_given(self.reader()):
            return np.zeros((0, self.reader().dim), dtype=np.float32)
        return self.installed_encoder().text_probes()

    def photograph_probes(self) -> Matrix:
        """Return unit vectors float32 (n, dim) of the sample photographs and cut-outs of them, as new pictures."""
        from mmsearch.images.copies import thumbnail
        from mmsearch.samples import sample_folder

        encoder, pixels = self.installed_encoder(), []
        for path in sorted(sample_folder().glob("*.jpg")):
            data = path.read_bytes()
            width, height = thumbnail(data, 16).original_size
            corners = [(x * width, y * height) for x in (0, 0.3) for y in (0, 0.3)]
            for box in (None, *((x, y, x + 0.7 * width, y + 0.7 * height) for x, y in corners)):
                pixels.append(self.decoder().pixels(data, encoder.preprocessing, box=box))
        return np.concatenate([encoder.encode_images(picture[None]) for picture in pixels])

    @property
    def encoder(self) -> Encoder:
        """What embeds texts and pictures as the library does; see `mmsearch.Encoder`."""
        return Encoder(
            self.reader, self.installed_encoder, lambda: self._search().terms, lambda: self._check()
        )  # which keeps the library

    def installed_encoder(self) -> OnnxEncoder:
        """Return the towers of the library's encoder, which are loaded when first used; most want `encoder`.

        Raises
        ------
        NoEncoderError
            If the library has none (`none`).
        EncoderError
            If it is missing.
        """
        return self._installed.for_reading(self.reader())

    def reader(self) -> LibraryStore:
        """Return the library opened for reading, for who looks into it; closed with this object."""
        if self._store is None:
            self._store = self.place.open()
        return self._store

    def decoder(self) -> PictureDecoder:
        """Return what decodes pictures for this library, in a process apart; closed with the library."""
        if self._decoder is None:
            from mmsearch.processes.decoder import PictureDecoder

            library = weakref.proxy(self)
            self._decoder = PictureDecoder(lambda: library._check())
        return self._decoder

    def film_reader(self) -> FilmReader:
        """Return what reads films for this library, in a process apart; closed with the library."""
        if self._film_reader is None:
            from mmsearch.processes.film_reader import FilmReader

            library = weakref.proxy(self)
            self._film_reader = FilmReader(lambda: library._check())
        return self._film_reader

    def _search(self) -> Searcher:
        if self._searcher is None:
            library = weakref.proxy(self)  # a circle would keep files and a process until it is found
            self._searcher = Searcher(
                self.reader(), lambda: library.installed_encoder(), lambda: library.decoder(),
                lambda: library.film_reader(), use_graph=self._use_graph, is_asked_once=self._is_asked_once,
                check=lambda: library._check(),
            )  # fmt: skip
        return self._searcher


def _pictures_below(store: LibraryStore, paths: PathLike | Iterable[PathLike]) -> dict[int, str]:
    """Return the pictures at or below some paths, by id, with their paths.

    Raises
    ------
    QueryError
        If there is none at or below one of them.
    """
    from mmsearch.ingest.plan import absolute_roots

    pictures: dict[int, str] = {}
    for root in absolute_roots(paths):
        below = {file.image_id: os.fsdecode(file_of(file.path)) for file in store.known_files(root)}
        if not below:
            raise _not_there(root)
        pictures |= below
    return pictures


def _not_there(path: bytes) -> QueryError:
    return QueryError(
        f"the library has no picture at or below {quoted(os.fsdecode(os.path.abspath(path)))}; index it first, or "
        "correct the path"
    )
