"""Files of a model hub repository: from the local cache, or downloaded once; never a long silence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mmsearch.errors import HubUnreachableError, ModelNotFoundError

_PATIENCE_S = 6.0  # for the first answer of the hub


def _silent(sentence: str) -> None:
    """Say nothing."""


def fetch(repository: str, names: Sequence[str], *, notify: Callable[[str], None] = _silent) -> Path:
    """Return a local copy of the first of the named files that a hub repository has.

    Parameters
    ----------
    repository : str
        `owner/name`.
    names : sequence of str
        File names, the preferred one first.
    notify : callable
        Given a sentence before a download; the download draws its own progress bar.

    Raises
    ------
    HubUnreachableError
        If the file is not cached and the hub does not answer, or `HF_HUB_OFFLINE` is set.
    ModelNotFoundError
        If the hub answers but has no such repository or file.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

    for name in names:
        try:
            cached = try_to_load_from_cache(repository, name)
        except HFValidationError as error:
            raise ModelNotFoundError(
                f"{repository!r} is no name of a hub repository; expected owner/name"
            ) from error
        if isinstance(cached, str):
            return Path(cached)
    if reason := why_unreachable():
        raise HubUnreachableError(
            f"{repository} is not in the local cache, and {reason}; use `--model offline`, which needs no "
            "download, or a local checkpoint"
        )
    notify(f"downloading {repository}")
    for name in names:
        try:
            return Path(hf_hub_download(repository, name))
        except EntryNotFoundError:
            continue
        except RepositoryNotFoundError as error:
            raise ModelNotFoundError(f"the hub has no repository {repository!r}, or it is private") from error
        except Exception as error:  # whatever the connection raises
            raise HubUnreachableError(
                f"downloading {name} of {repository} failed ({str(error)[:200]}); run the command again, "
                "what has arrived is kept"
            ) from error
    raise ModelNotFoundError(f"the hub repository {repository!r} has none of: {', '.join(names)}")


def fetch_all(repository: str, names: Sequence[str], *, notify: Callable[[str], None] = _silent) -> dict[str, Path]:
    """Return local copies, by name, of those of the named files that a hub repository has.

    What is in the cache is enough where the hub cannot be asked for the rest.

    Raises
    ------
    HubUnreachableError
        If none is cached and the hub does not answer, or `HF_HUB_OFFLINE` is set.
    """
    from huggingface_hub import try_to_load_from_cache

    cached = {name: try_to_load_from_cache(repository, name) for name in names}
    files = {name: Path(path) for name, path in cached.items() if isinstance(path, str)}
    unknown = [name for name, path in cached.items() if path is None]  # neither there nor known to be absent
    if unknown and not (files and why_unreachable()):
        for name in unknown:
            with suppress(ModelNotFoundError):
                files[name] = fetch(repository, [name], notify=notify)
            notify = _silent
    return files


def why_unreachable() -> str | None:
    """Return, within seconds, why nothing can be downloaded from the hub: the end of a sentence; None if it can."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE forbids to download it"
    problem = _try(constants.ENDPOINT)
    return None if problem is None else f"{constants.ENDPOINT} cannot be reached ({problem})"


def _try(address: str) -> str | None:
    """Return what goes wrong when an address is asked for an answer, or None."""
    outcome: list[str | None] = []

    def ask() -> None:
        from huggingface_hub import get_session

        try:
            get_session().head(address, timeout=_PATIENCE_S)
            outcome.append(None)
        except Exception as error:  # noqa: BLE001 - DNS, TLS, proxy: each has its own type
            outcome.append(f"{type(error).__name__}: {error}"[:200])

    # In a thread, because looking up a name may hang longer than any timeout of the request.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S + 1)
    return outcome[0] if outcome else f"no answer within {_PATIENCE_S:.0f} s"
