"""What the scores of an encoder mean: a dozen numbers that turn cosines into probabilities.

They lie beside an exported encoder (`calibration.json`), where `mmsearch calibrate` writes them; those of `offline`
come with the package. An encoder without them has none, and nothing is invented for it. Vectors do not depend on
them, so they are no part of its fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from mmsearch.arguments import Views
from mmsearch.errors import EncoderError, reason, refuse_shortage
from mmsearch.system import shown_path

CALIBRATION = "calibration.json"
OF_CALIBRATION = "calibration."
"""How the names of files begin that may be written beside an encoder at any time."""
FORMAT = 1
_MAX_BYTES = 1 << 16
_MOST = 1e9  # of a number
_AGAIN = "run `mmsearch calibrate` again, or delete the file"
Strength: TypeAlias = Literal["strong", "fair", "weak"]
_HITS, _ANSWERS = (0.4, 0.05), (2 / 3, 1 / 3)  # from where they are strong, and fair


def strength(relevance: float) -> Strength:
    """Return the word for the probability that a picture is what was asked for.

    What is asked for is the very picture, of which there may be one in a million, so that one in twenty is fair.
    """
    return _word(relevance, _HITS)


def answer_strength(relevance: float) -> Strength:
    """Return the word for the probability that a library holds a match: where it is weak, nothing matches well.

    Of the captions of pictures that are there, one in twenty has a weak answer.
    """
    return _word(relevance, _ANSWERS)


def _word(relevance: float, bounds: tuple[float, float]) -> Strength:
    if relevance >= bounds[0]:
        return "strong"
    return "fair" if relevance >= bounds[1] else "weak"


@dataclass(frozen=True)
class RelevanceModel:
    """Numbers of two logistic models, whose use and statistics `mmsearch.query.relevance` describes.

    All but the constants are at least 0, so that relevance never falls as the cosine rises.
    """

    answer_constant: float
    answer_best: float
    answer_familiarity: float
    answer_size: float
    hit_constant: float
    hit_best: float
    hit_behind: float
    hit_size: float

    def __post_init__(self) -> None:
        for known in fields(self):
            if not known.name.endswith("_constant") and not getattr(self, known.name) >= 0:
                raise EncoderError(f"{known.name} is {getattr(self, known.name):g}, expected at least 0")


@dataclass(frozen=True)
class LabelModel:
    """Numbers of the model of labels, see `mmsearch.encoders.zeroshot`."""

    logit_scale: float
    constant: float

    def __post_init__(self) -> None:
        if not self.logit_scale >= 0:
            raise EncoderError(f"logit_scale is {self.logit_scale:g}, expected at least 0")


@dataclass(frozen=True)
class JoinModel:
    """Weights of the texts that stand beside pictures in a joined score, see `mmsearch.query.join`.

    `words` is what all words of a query add. A caption adds `captions` times what its cosine is above that of
    unrelated ones: `unrelated_of_few` where hardly any picture has a caption, `unrelated_of_all` where all do.
    `n_leading` is how many of the first dimensions of the query captions are compared with, 0 for all: some spaces
    tell texts apart by a part that was made for that.
    """

    words: float
    captions: float
    unrelated_of_few: float
    unrelated_of_all: float
    n_leading: float = 0.0

    def __post_init__(self) -> None:
        for name in ("words", "captions", "n_leading"):
            if not getattr(self, name) >= 0:
                raise EncoderError(f"{name} is {getattr(self, name):g}, expected at least 0")

    def unrelated(self, share: float) -> float:
        """Return up to which cosine captions say nothing, where this share of the pictures has any.

        >>> JoinModel(0.5, 3.0, 0.6, 0.4).unrelated(0.5)
        0.5
        """
        return self.unrelated_of_few + share * (self.unrelated_of_all - self.unrelated_of_few)


@dataclass(frozen=True)
class ViewsModel:
    """What five views of a picture are worth to an encoder, instead of one.

    `gain` is what they add to the share of captions whose picture is among the first ten, `gain_low` the lower end
    of its 95 % interval.
    """

    gain: float
    gain_low: float


@dataclass(frozen=True)
class PartsModel:
    """Weights of parts of pictures in their scores, see `mmsearch.query.parts`: for texts, and for examples."""

    texts: float
    examples: float

    def __post_init__(self) -> None:
        for known in fields(self):
            if not 0 <= getattr(self, known.name) <= 1:
                raise EncoderError(f"{known.name} is {getattr(self, known.name):g}, expected from 0 to 1")


OTHER_PARTS = PartsModel(texts=0.5, examples=0.95)
"""Where nobody has measured them: the weights of `offline`."""
Model = TypeVar("Model", RelevanceModel, LabelModel, JoinModel, ViewsModel, PartsModel)


@dataclass(frozen=True)
class Calibration:
    """What the scores of one encoder mean in searches, and for labels; None where that was not fitted.

    `join` has the weights by which texts beside pictures join them, `views` what more views of pictures bring, and
    `parts` the weights of their parts.
    """

    search: RelevanceModel | None = None
    labels: LabelModel | None = None
    join: JoinModel | None = None
    views: ViewsModel | None = None
    parts: PartsModel | None = None

    @property
    def best_views(self) -> Views:
        """How often pictures are looked at best: five times where that is known to find them better."""
        return 5 if self.views is not None and self.views.gain_low > 0 else 1

    @classmethod
    def from_json(cls, given: Any, where: str, fingerprint: str) -> Calibration:
        """Return what was written as JSON for the encoder of a fingerprint; `where` names the file.

        Raises
        ------
        EncoderError
            If it is damaged, of another format, or for another encoder.
        """
        if not isinstance(given, dict) or given.get("format") != FORMAT:
            said = given.get("format") if isinstance(given, dict) else None
            raise EncoderError(f"{where} is a calibration of format {said!r}, expected {FORMAT}; {_AGAIN}")
        if given.get("fingerprint") != fingerprint:
            raise EncoderError(f"{where} is the calibration of another encoder than lies beside it; {_AGAIN}")
        return cls(
            _model(RelevanceModel, given.get("search"), f"{where}, search"),
            _model(LabelModel, given.get("labels"), f"{where}, labels"),
            _model(JoinModel, given.get("join"), f"{where}, join"),
            _model(ViewsModel, given.get("views"), f"{where}, views"),
            _model(PartsModel, given.get("parts"), f"{where}, parts"),
        )

    def to_json(self, fingerprint: str) -> dict[str, Any]:
        """Return the numbers as JSON has them, for the encoder of a fingerprint."""
        numbers = {name: asdict(model) for name, model in vars(self).items() if model is not None}
        return {"format": FORMAT, "fingerprint": fingerprint, **numbers}


def read_calibration(folder: Path, spec: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration of an exported encoder: that beside it, or the one that ships; None without any.

    Parameters
    ----------
    folder : Path
        Of the encoder.
    spec : mapping
        Its specification.

    Raises
    ------
    EncoderError
        If the file beside it cannot be used.
    """
    path = folder / CALIBRATION
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        given = json.loads(text)
    except FileNotFoundError:
        return _SHIPPED.get((_digest(spec["identity"]), spec["preprocessing"].get("views", 1)))
    except (OSError, ValueError, RecursionError) as error:
        refuse_shortage(shown_path(path), error)
        why = reason(error) if isinstance(error, OSError) else str(error)[:200]
        raise EncoderError(f"{shown_path(path)} cannot be read ({why}); {_AGAIN}") from error
    return Calibration.from_json(given, str(shown_path(path)), spec["fingerprint"])


def _model(kind: type[Model], given: Any, where: str) -> Model | None:
    """Return a model of plain numbers, all of which are there and finite; None where none was written."""
    if given is None:
        return None
    names = [known.name for known in fields(kind)]
    if not isinstance(given, dict) or sorted(given) != sorted(names):
        raise EncoderError(f"{where}: expected the numbers {', '.join(names)} and no others; {_AGAIN}")
    for name, value in given.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and abs(value) <= _MOST):  # nor NaN, or too large for a float
            raise EncoderError(
                f"{where}: {name} is {str(value)[:40]!r}, expected a finite number, at most 1e9; {_AGAIN}"
            )
    try:
        return kind(**{name: float(value) for name, value in given.items()})
    except EncoderError as error:
        raise EncoderError(f"{where}: {error}; {_AGAIN}") from error


def _digest(identity: Mapping[str, Any]) -> str:
    """Return the hex sha256 over weights and settings; versions of the packages they came with do not count."""
    decisive = {name: identity.get(name) for name in ("image_weights", "text_weights", "settings")}
    return sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


_OFFLINE = Calibration(
    search=RelevanceModel(
        answer_constant=-4.0434,
        answer_best=5.4547,
        answer_familiarity=8.3824,
        answer_size=0.15998,
        hit_constant=-1.3364,
        hit_best=8.5465,
        hit_behind=15.648,
        hit_size=0.72222,
    ),
    labels=LabelModel(logit_scale=15.872, constant=-3.3271),
    join=JoinModel(words=0.5, captions=3.5, unrelated_of_few=0.55, unrelated_of_all=0.22, n_leading=384),
    views=ViewsModel(gain=0.0108, gain_low=0.0054),
    parts=PartsModel(texts=0.5, examples=0.95),
)
"""`mmsearch calibrate flickr8k-train --model offline --classes imagenet-even`.

Of the pictures the first 1,500 with 5 captions each; of the classes of ImageNet every other one, the first among
them, with a photograph each. What five views are worth: the same captions. The weights of texts beside pictures:
`benchmarks/words_beside.py`; those of parts: `benchmarks/parts.py`.
"""
_OFFLINE_OF_FIVE_VIEWS = Calibration(
    search=RelevanceModel(
        answer_constant=-4.0608,
        answer_best=5.6309,
        answer_familiarity=8.2434,
        answer_size=0.15895,
        hit_constant=-1.3882,
        hit_best=8.6428,
        hit_behind=16.258,
        hit_size=0.71536,
    ),
    labels=LabelModel(logit_scale=16.122, constant=-3.4879),
    join=_OFFLINE.join,
    parts=_OFFLINE.parts,
)
"""The same with `--views 5`; texts beside pictures, and parts, weigh as with one view."""
_OF_OFFLINE = "cd22beed7f2822f9f1db97408d96a6923438db0d1cc21f0578e2f7ec9527ac67"
_SHIPPED: Mapping[tuple[str, int], Calibration] = {
    (_OF_OFFLINE, 1): _OFFLINE,
    (_OF_OFFLINE, 5): _OFFLINE_OF_FIVE_VIEWS,
}
"""By the digest of an encoder's identity, and the number of views."""
