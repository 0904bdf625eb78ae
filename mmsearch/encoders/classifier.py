"""Classifiers that were taught by a few labelled pictures: unit vectors in, calibrated probabilities of labels out.

A file of `mmsearch train classes`: one weight vector a label, for the vectors of one encoder and no other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsearch.encoders.learned import PICTURES
from mmsearch.encoders.zeroshot import Judged, LabelProbabilities, most_probable, probabilities
from mmsearch.errors import EncoderError, FingerprintError, reason
from mmsearch.records import Matrix, Prediction
from mmsearch.traces import Traces, are_traces
from mmsearch.vectors import inner_products

FORMAT = "mmsearch classifier 1"
_WEIGHTS = "weights"


@dataclass(frozen=True)
class Classifier:
    """A linear classifier of unit vectors.

    Attributes
    ----------
    labels : tuple of str
        Distinct names.
    weights : float32 array, shape (n_labels, dim)
        Logits are inner products with them.
    model : str
        Encoder whose vectors it is for, by name.
    fingerprint : str
        Of that encoder.
    pictures : uint8 array, shape (n, TRACE_BYTES), or None
        Traces of the pictures that it was taught by; None in a file of an earlier version.
    """

    labels: tuple[str, ...]
    weights: Matrix
    model: str
    fingerprint: str
    pictures: Traces | None = None

    def logits(self, vectors: Matrix) -> Matrix:
        """Return float32 (n, n_labels) of unit vectors (n, dim); their softmax is the probability."""
        return inner_products(vectors, self.weights)

    def predict(self, vectors: Matrix, *, k: int = 5) -> list[tuple[Prediction, ...]]:
        """Return the k most probable labels of every unit vector; the score is the cosine to a label's weights."""
        said, cosines = self.judge(vectors)
        return most_probable(said.labels, cosines, self.labels, k=k)

    def judge(self, vectors: Matrix) -> Judged:
        """Return what unit vectors (n, dim) show, with their cosines to the weights of the labels."""
        lengths = np.linalg.norm(self.weights, axis=1).clip(np.finfo(np.float32).tiny)
        cosines = inner_products(vectors, (self.weights / lengths[:, None]).astype(np.float32))
        return Judged(LabelProbabilities(probabilities(self.logits(vectors)), None), cosines)

    def check(self, model: str, fingerprint: str) -> None:
        """Raise FingerprintError if the vectors are of another encoder."""
        if fingerprint != self.fingerprint:
            raise FingerprintError(
                f"the classifier was taught on vectors of {self.model} ({self.fingerprint[:12]}), these are of "
                f"{model} ({fingerprint[:12]}); train it again with --base {model}"
            )

    def to_bytes(self) -> bytes:
        """Return the file."""
        from safetensors.numpy import save

        facts = {"labels": self.labels, "model": self.model, "fingerprint": self.fingerprint}
        # One entry: safetensors writes several in another order each time.
        pictures = {} if self.pictures is None else {PICTURES: self.pictures}
        return save({_WEIGHTS: self.weights, **pictures}, metadata={FORMAT: json.dumps(facts)})

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Return the classifier of a file.

        Raises
        ------
        EncoderError
            If the file cannot be read or holds no classifier.
        """
        from safetensors import safe_open

        try:
            with path.open("rb"):
                pass
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if FORMAT not in metadata:
                    raise EncoderError(f"{path} is no classifier; expected a file of `mmsearch train classes`")
                weights = file.get_tensor(_WEIGHTS)
                pictures = file.get_tensor(PICTURES) if PICTURES in file.keys() else None  # noqa: SIM118
            facts = json.loads(metadata[FORMAT])
            labels = tuple(facts["labels"])
            is_fitting = weights.ndim == 2 and len(weights) == len(labels) and weights.dtype == np.float32
            is_fitting = is_fitting and (pictures is None or are_traces(pictures))
            if not is_fitting or not np.isfinite(weights).all():
                raise ValueError("its parts do not fit one another")
            return cls(labels, weights, facts["model"], facts["fingerprint"], pictures)
        except EncoderError:
            raise
        except OSError as error:
            raise EncoderError(f"{path} cannot be read ({reason(error)}); name a classifier file") from error
        except Exception as error:  # safetensors has errors of its own
            raise EncoderError(
                f"{path} is no classifier, or a damaged one ({error}); expected a file of `mmsearch train classes`"
            ) from error
