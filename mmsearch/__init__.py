"""Multimodal text and image search on your own machine.

>>> import mmsearch
>>> mmsearch.Query(text="two dogs in the snow", exclude="people").exclude
('people',)

Importing this package is cheap: the names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsearch.annotations import Annotation
    from mmsearch.encoders.calibration import Calibration
    from mmsearch.encoders.classifier import Classifier
    from mmsearch.errors import (
        ArgumentError,
        BackupError,
        ClusterError,
        DimensionError,
        EncoderError,
        EngineError,
        FingerprintError,
        GroundTruthError,
        GroupNotFoundError,
        HubUnreachableError,
        LibraryDamagedError,
        LibraryError,
        LibraryIncompleteError,
        LibraryLockedError,
        LibraryLostError,
        LibraryNotFoundError,
        LibraryVersionError,
        MmsearchError,
        ModelNotFoundError,
        NoEncoderError,
        OutputError,
        PictureError,
        QueryError,
        ServerError,
        ShardError,
        SoundError,
        StorageError,
        TrainingError,
        UnsupportedError,
        UnsupportedModelError,
        VectorError,
        VocabularyError,
    )
    from mmsearch.library import Library
    from mmsearch.predicates import Predicate
    from mmsearch.query.encoder import Encoder
    from mmsearch.records import (
        BackupReport,
        BadPicture,
        BadRecording,
        Classification,
        Duplicate,
        DuplicateGroup,
        DuplicateReport,
        FaceInPicture,
        Fault,
        Film,
        FilmHit,
        FilmMoment,
        FilmsFacts,
        FilmsReport,
        GalleryPicture,
        GivenLabel,
        Hit,
        Identification,
        IdentifiedFace,
        ImageRecord,
        IngestReport,
        LabelSet,
        LibraryStatus,
        LibraryVectors,
        LocalEvidence,
        OtherMoment,
        Person,
        PictureBytes,
        PictureFace,
        PicturePage,
        Prediction,
        Query,
        Recording,
        RestoreReport,
        Retagged,
        SearchOptions,
        SearchResult,
        SidecarsReport,
        SoundAnswer,
        SoundHit,
        SoundsFacts,
        SoundsReport,
        Term,
        VerifyReport,
    )
    from mmsearch.store.facets import Facet, Facets, LabelFacets
    from mmsearch.store.indexes import GraphSettings

__version__ = "0.1.0"

_NAMES = {
    "mmsearch.annotations": "Annotation",
    "mmsearch.encoders.calibration": "Calibration",
    "mmsearch.encoders.classifier": "Classifier",
    "mmsearch.errors": """
        ArgumentError BackupError ClusterError DimensionError EncoderError EngineError FingerprintError
        GroundTruthError GroupNotFoundError HubUnreachableError LibraryDamagedError LibraryError
        LibraryIncompleteError LibraryLockedError LibraryLostError LibraryNotFoundError LibraryVersionError
        MmsearchError ModelNotFoundError NoEncoderError OutputError PictureError QueryError ServerError ShardError
        SoundError
        StorageError TrainingError UnsupportedError UnsupportedModelError VectorError VocabularyError
    """,
    "mmsearch.library": "Library",
    "mmsearch.predicates": "Predicate",
    "mmsearch.query.encoder": "Encoder",
    "mmsearch.records": """
        BackupReport BadPicture BadRecording Classification Duplicate DuplicateGroup DuplicateReport FaceInPicture
        Fault Film FilmHit FilmMoment FilmsFacts FilmsReport GalleryPicture GivenLabel Hit Identification
        IdentifiedFace ImageRecord IngestReport LabelSet LibraryStatus LibraryVectors LocalEvidence OtherMoment
        Person PictureBytes PictureFace PicturePage Prediction Query Recording RestoreReport Retagged SearchOptions
        SearchResult SidecarsReport SoundAnswer SoundHit SoundsFacts SoundsReport Term VerifyReport
    """,
    "mmsearch.store.facets": "Facet Facets LabelFacets",
    "mmsearch.store.indexes": "GraphSettings",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "Annotation", "ArgumentError", "BackupError", "BackupReport", "BadPicture", "BadRecording", "Calibration",
    "Classification", "Classifier", "ClusterError", "DimensionError", "Duplicate", "DuplicateGroup",
    "DuplicateReport", "Encoder", "EncoderError", "EngineError", "FaceInPicture", "Facet", "Facets", "Fault",
    "Film", "FilmHit", "FilmMoment", "FilmsFacts", "FilmsReport", "FingerprintError", "GalleryPicture",
    "GivenLabel", "GraphSettings", "GroundTruthError", "GroupNotFoundError", "Hit", "HubUnreachableError",
    "Identification", "IdentifiedFace", "ImageRecord", "IngestReport", "LabelFacets", "LabelSet", "Library",
    "LibraryDamagedError", "LibraryError", "LibraryIncompleteError", "LibraryLockedError", "LibraryLostError",
    "LibraryNotFoundError", "LibraryStatus", "LibraryVectors", "LibraryVersionError", "LocalEvidence",
    "MmsearchError", "ModelNotFoundError", "NoEncoderError", "OtherMoment", "OutputError", "Person",
    "PictureBytes", "PictureError", "PictureFace", "PicturePage", "Predicate", "Prediction", "Query", "QueryError",
    "Recording", "RestoreReport", "Retagged", "SearchOptions", "SearchResult", "ServerError", "ShardError",
    "SidecarsReport", "SoundAnswer", "SoundError", "SoundHit", "SoundsFacts", "SoundsReport", "StorageError",
    "Term", "TrainingError", "UnsupportedError", "UnsupportedModelError", "VectorError", "VerifyReport",
    "VocabularyError",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'mmsearch' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """Return all names, those that are not loaded yet too."""
    return sorted({*globals(), *__all__})
