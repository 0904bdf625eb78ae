"""Load one split of a set with the Hugging Face `datasets` library: from the hub, its cache, or files on disk.

The library is imported inside functions: it takes half a second. It never runs code of a set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.encoders.hub import why_unreachable
from mmsearch.errors import GroundTruthError

if TYPE_CHECKING:
    from datasets import Dataset

HUB = "hf:"
_FILES = {".parquet": "parquet", ".arrow": "arrow"}
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_SAVED = ("dataset_dict.json", "state.json")


def is_dataset(source: str) -> bool:
    """Return whether a set looks like one of the `datasets` library: by its name, or by the files it has."""
    path = Path(source)
    if source.startswith(HUB) or path.suffix in _FILES:
        return True
    if any((path / name).is_file() for name in (*_SAVED, *_METADATA)):
        return True
    listed = (file for folder in (path, path / "data") if folder.is_dir() for file in folder.iterdir())
    return any(file.suffix in _FILES for file in listed)


def load_split(source: str, split: str | None, arrow: Path) -> tuple[str, str, Dataset, Path | None]:
    """Return the name of a set, that of the split, its rows, and the folder that pictures named in them lie in.

    That folder is None for a set of the hub. Pictures in the rows are dicts of `bytes` and `path`, as they are
    stored: nothing is decoded.

    Parameters
    ----------
    source : str
        `hf:owner/name`, `hf:owner/name/config`, or the path of a folder or file.
    split : str or None
        Its name; None if there is only one.
    arrow : Path
        Where the library keeps its own copy of local Parquet files and picture folders.

    Raises
    ------
    GroundTruthError
        If there is no such set, split or configuration, it has no rows, or the hub is needed and does not answer.
    """
    if source.startswith(HUB):
        name, base, splits = source.removeprefix(HUB), None, _from_hub(source)
    else:
        path = Path(source).absolute()
        name, base, splits = path.stem, path if path.is_dir() else path.parent, _from_disk(path, arrow)
    if split is None and len(splits) > 1:
        raise GroundTruthError(f"{source}: has the splits {', '.join(splits)}; choose one with --split")
    if split is not None and split not in splits:
        raise GroundTruthError(f"{source}: has no split {split!r}; found {', '.join(splits)}")
    chosen = next(iter(splits)) if split is None else split
    return name, chosen, _undecoded(splits[chosen]), base


def is_in_cache(picture: Path) -> bool:
    """Return whether a picture lies where the `datasets` library keeps what it got from the hub."""
    from datasets import config

    folders = (config.HF_CACHE_HOME, config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH)
    resolved = picture.resolve()
    return any(resolved.is_relative_to(Path(folder).expanduser().resolve()) for folder in folders)


def _undecoded(dataset: Dataset) -> Dataset:
    """Return a set whose pictures are bytes or paths, as they are stored."""
    from datasets import Image

    for column, feature in dataset.features.items():
        if isinstance(feature, Image):
            dataset = dataset.cast_column(column, Image(decode=False))
    return dataset


def _from_hub(source: str) -> dict[str, Dataset]:
    owner, _, rest = source.removeprefix(HUB).partition("/")
    name, _, config = rest.partition("/")
    if not owner or not name or "/" in config:
        raise GroundTruthError(f"{source}: is no name of a set; expected hf:owner/name or hf:owner/name/config")
    reason = why_unreachable()
    try:
        return _load(f"{owner}/{name}", config or None, is_offline=reason is not None)
    except Exception as error:  # whatever the hub, its cache or the files of the set raise
        if reason is None:
            raise GroundTruthError(f"{source}: cannot be loaded ({_said(error)}); is the name right?") from error
        raise GroundTruthError(
            f"{source}: is not in the cache of the datasets library, and {reason}; use a local copy of the set: "
            "Parquet files, or a folder made by save_to_disk"
        ) from error


def _from_disk(path: Path, arrow: Path) -> dict[str, Dataset]:
    if not path.exists():
        raise GroundTruthError(f"{path}: does not exist; expected a folder or file, or hf:owner/name for the hub")
    if path.is_file() and path.suffix not in _FILES:
        raise GroundTruthError(f"{path}: is neither .parquet nor .arrow; expected one of them, or a folder")
    cache = str(arrow)
    try:
        if path.is_file():
            splits = _load(_FILES[path.suffix], data_files={"rows": str(path)}, cache_dir=cache, is_offline=True)
            return {path.stem: splits["rows"]}
        if any((path / name).is_file() for name in _SAVED):
            return _saved(path)
        if any((path / name).is_file() for name in _METADATA):
            return _load("imagefolder", data_dir=str(path), cache_dir=cache, is_offline=True)
        return _load(str(path), cache_dir=cache, is_offline=True)
    except Exception as error:  # of every reader of the library: each has its own types
        raise GroundTruthError(
            f"{path}: cannot be loaded ({_said(error)}); expected at least one row in Parquet or Arrow files, a "
            "folder made by save_to_disk, or a folder of pictures"
        ) from error


def _saved(path: Path) -> dict[str, Dataset]:
    """Return what `save_to_disk` has written: splits, or one of them."""
    from datasets import Dataset, load_from_disk

    with _quietly(is_offline=True):
        saved = load_from_disk(str(path))
    if isinstance(saved, Dataset):
        return {str(saved.split or path.name): saved}
    return dict(saved)


def _load(name: str, config: str | None = None, *, is_offline: bool, **options: Any) -> dict[str, Dataset]:
    from datasets import load_dataset

    with _quietly(is_offline=is_offline):
        splits: Mapping[str, Dataset] = load_dataset(name, config, **options)
    return dict(splits)


@contextmanager
def _quietly(*, is_offline: bool) -> Iterator[None]:
    """Let the library draw no bars, log nothing and, if wanted, ask no network; put everything back afterwards."""
    import datasets
    from datasets.utils import logging

    has_bars, verbosity, was_offline = (
        not datasets.are_progress_bars_disabled(), logging.get_verbosity(), datasets.config.HF_HUB_OFFLINE,
    )  # fmt: skip
    datasets.disable_progress_bars()
    logging.set_verbosity(logging.CRITICAL)
    datasets.config.HF_HUB_OFFLINE = is_offline or was_offline
    try:
        yield
    finally:
        if has_bars:
            datasets.enable_progress_bars()
        logging.set_verbosity(verbosity)
        datasets.config.HF_HUB_OFFLINE = was_offline


def _said(error: Exception) -> str:
    """Return what an error says; the library hides the first one behind a general one."""
    said = error.__cause__ if error.__cause__ is not None else error
    return f"{type(said).__name__}: {' '.join(str(said).split())}"[:300]
