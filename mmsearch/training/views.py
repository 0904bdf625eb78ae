"""VIEWS: a captioned set and an encoder in, what five views of a picture are worth to it out."""

from __future__ import annotations

from dataclasses import replace

from mmsearch.datasets.sets import CaptionSet
from mmsearch.encoders.calibration import Calibration, ViewsModel
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.ranking import score
from mmsearch.evaluation.retrieval import TEXT_TO_IMAGE, rankings_of
from mmsearch.store.encoder import keep_calibration
from mmsearch.training.judge import improvement

_MEASURE = "R@10 (any)"


def keep_worth_of_views(benchmark: CaptionSet, encoder: SetEncoder, with_views: SetEncoder) -> ViewsModel:
    """Measure what several views of a picture add to the share of captions that find it among the first ten.

    It is written beside the encoder of one view, where `index --views auto` looks for it.

    Parameters
    ----------
    benchmark : CaptionSet
        Which took no part in making the encoder.
    encoder, with_views : SetEncoder
        The same model, that of one view of a picture first.

    Raises
    ------
    GroundTruthError
        If no picture can be read.
    EncoderError
        If the calibration of the encoder of one view cannot be used.
    StorageError
        If the disk refuses.
    """
    before, after = (score(rankings_of(benchmark, each)[0][TEXT_TO_IMAGE]) for each in (encoder, with_views))
    gain = improvement([before.values[_MEASURE]], [after.values[_MEASURE]], [after.groups])
    worth = ViewsModel(gain.value, gain.low)
    keep_calibration(encoder.encoder.folder, replace(encoder.encoder.calibration or Calibration(), views=worth))
    return worth
