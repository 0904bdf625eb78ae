"""From captioned pictures to an encoder that every command takes: on drawn pictures and a tiny CLIP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mmsearch import Library, Query
from mmsearch.cli.options import Format
from mmsearch.cli.trained import show
from mmsearch.datasets.sets import ClassSet, InstanceSet, Task, caption_set
from mmsearch.encoders.learned import CONFIG, STATE, is_learned, read_learned
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.prepare import prepare_encoder
from mmsearch.errors import FingerprintError, OutputError, TrainingError
from mmsearch.evaluation.classify import run_classification
from mmsearch.evaluation.encode import SetEncoder
from mmsearch.evaluation.instance import run_instance
from mmsearch.evaluation.report import origin_of
from mmsearch.evaluation.retrieval import run_retrieval
from mmsearch.traces import no_traces
from mmsearch.training.adapt import _Captioned, adapt_to_captions
from mmsearch.training.captions import CaptionOptions
from mmsearch.training.folder import TrainingFolder
from mmsearch.training.page import caption_page
from mmsearch.training.setting import Setting
from tests.forms import check_form

OPTIONS = CaptionOptions(epochs=15, batch=16, rate=3e-3, dropout=0.1, hidden=128, patience=30, validation=0.4)


@pytest.fixture(scope="module")
def trained(squares, checkpoint, cache, tmp_path_factory):
    folder = TrainingFolder(tmp_path_factory.mktemp("trained") / "squares")
    return folder, adapt_to_captions(squares, str(checkpoint), folder, OPTIONS, Setting(cache))


def test_what_is_printed_of_it_follows_its_schema(trained, capfdbinary):
    for wanted in (Format.json, Format.jsonl):
        show(trained[1], "", wanted)
        check_form("train captions", capfdbinary.readouterr().out, is_lines=wanted is Format.jsonl)


def test_held_out_pictures_find_their_captions_better(trained):
    _, report = trained
    assert report.improvement.low > 0
    assert report.encoder is not None
    values = report.measures["text to image R@5"]
    assert values["learned, 0.5 of the base kept"].value > values["base"].value
    assert report.distances["learned, 0.5 of the base kept"].auroc > report.distances["base"].auroc


def test_what_it_learned_is_an_encoder_for_every_command(trained, squares, cache, tmp_path):
    folder, report = trained
    assert is_learned(folder.path)
    exported = OnnxEncoder.open(prepare_encoder(str(folder.path), cache=cache))
    assert exported.fingerprint == report.encoder
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.index([squares.pictures[0].parent], model=str(folder.path), local=False)
        hits = library.search(Query(text="a red square at the top left on black"), k=64).hits
        assert len(hits) == 64


@pytest.mark.full
def test_a_library_does_not_take_an_encoder_that_was_trained_again_for_its_own(trained, squares, cache, tmp_path):
    pictures = squares.pictures[:2]
    with Library.open(tmp_path / "library", cache=cache) as library:
        library.index(pictures, model=str(trained[0].path), local=False)
        library.index(pictures, model=str(trained[0].path), local=False)
        config = trained[0].path / CONFIG
        before = config.read_text()
        config.write_text(json.dumps({**json.loads(before), "keep": 0.25}))
        try:
            with pytest.raises(FingerprintError, match="which was trained again since; vectors of two encoders"):
                library.index(pictures, model=str(trained[0].path), local=False)
            assert library.index(pictures, local=False).unchanged == 2
        finally:
            config.write_text(before)


def test_where_it_is_measured_by_its_own_pictures_they_are_named(trained, squares, cache):
    encoder = SetEncoder(str(trained[0].path), cache=cache)
    classes = ClassSet("squares", squares.pictures[:4], (0, 0, 1, 1), ("red", "green"))
    task = Task(((1,), (0,)), ((), ()))
    instances = InstanceSet("two", squares.pictures[:2], squares.pictures[:2], (None, None), {"two": task}, {})
    reports = (
        run_retrieval(squares, [encoder]),
        run_classification(classes, [encoder], {"one": ("{}",)}),
        run_instance(instances, [encoder]),
    )
    for report, n in zip(reports, (64, 4, 2), strict=True):
        leakage = report["leakage"][str(trained[0].path)]
        assert (leakage["n_same_bytes"], leakage["n_copies"], len(leakage["pictures"])) == (n, 0, n)


def test_the_configuration_counts_what_it_was_taught_by(trained):
    training = json.loads((trained[0].path / CONFIG).read_text())["training"]
    counts = {name: value for name, value in training.items() if name.startswith("n_")}
    assert counts == {"n_pictures": 64, "n_captions": 128, "n_held_out": 26, "n_bad": 0}


def test_a_copy_of_a_picture_is_on_its_side(squares, checkpoint, cache, tmp_path):
    copies = []
    for picture in squares.pictures[:24]:
        copies.append(tmp_path / f"{picture.stem}.webp")
        Image.open(picture).resize((48, 48)).save(copies[-1], lossless=True)
    known = caption_set("doubled", [(path, [path.name]) for path in (*squares.pictures[:24], *copies)])
    setting = Setting(cache)
    captioned = _Captioned.of(known, setting.encoder(str(checkpoint)), CaptionOptions(validation=0.5), setting)
    for part in (captioned.train, captioned.choice, captioned.validation):
        names = [Path(caption).stem for caption in part.captions]
        assert sorted(names) == sorted([*{*names}] * 2)


def test_a_run_that_is_over_leaves_no_state(trained):
    assert not trained[0].state.exists()
    assert STATE not in {path.name for path in trained[0].path.iterdir()}


def test_the_report_shows_curves_distances_and_changed_captions(trained):
    _, report = trained
    page = caption_page(report, origin_of("mmsearch train captions"))
    assert page.count("data:image/svg+xml") == 2
    assert "Captions that find their picture better" in page
    assert "AUROC" in page
    assert json.loads(json.dumps(report.to_json()))["n_validation"] == report.n_validation
    for query in report.better:
        assert query.rank_after < query.rank_before
        assert query.text in page


def test_what_does_not_help_is_not_written(squares, checkpoint, cache, tmp_path):
    folder = TrainingFolder(tmp_path / "nothing")
    too_slow = CaptionOptions(epochs=1, rate=1e-7)
    report = adapt_to_captions(squares, str(checkpoint), folder, too_slow, Setting(cache))
    assert report.encoder is None
    assert not is_learned(folder.path)


def test_an_encoder_without_words_is_refused(squares, cache, tmp_path):
    with pytest.raises(TrainingError, match="knows no words; expected a text-image model"):
        adapt_to_captions(squares, "cnn:gem", TrainingFolder(tmp_path), CaptionOptions(), Setting(cache))


def test_a_folder_that_holds_the_base_is_refused(trained, squares, checkpoint, cache, tmp_path):
    folder, _ = trained
    before = fingerprint_of_folder(folder)
    with pytest.raises(OutputError, match="holds the base, or what the base was taught on"):
        adapt_to_captions(squares, str(folder.path), folder, OPTIONS, Setting(cache))
    assert fingerprint_of_folder(folder) == before
    above = TrainingFolder(tmp_path / "above")
    above.check(str(folder.path))
    base = {"model": str(folder.path), "fingerprint": before}
    above.write({"kind": "heads", "base": base, "keep": 0.5, "logit_scale": 20.0}, {}, no_traces())
    with pytest.raises(OutputError, match="holds the base, or what the base was taught on"):
        folder.check(str(above.path))


def fingerprint_of_folder(folder):
    return read_learned(folder.path).weights_sha256


@pytest.mark.full  # a minute; its halves are in the default run: what auto stands for, and what heads on that see
def test_heads_on_what_auto_stands_for_see_its_features(squares, cache):
    pictures = type(squares)(
        "some", squares.pictures[:24], squares.texts[:24], tuple((picture // 2,) for picture in range(24))
    )
    setting = Setting(cache)
    captioned = _Captioned.of(pictures, setting.encoder("auto"), CaptionOptions(), setting)
    assert captioned.train.images.shape[1] == 3512


def test_a_folder_whose_first_epoch_was_cut_off_is_ours(tmp_path):
    (tmp_path / f"{STATE}.tmp").write_bytes(b"the beginning")
    TrainingFolder(tmp_path).check("offline")


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"was not made by `mmsearch train` \(it holds 'diary.txt'\)"):
        TrainingFolder(tmp_path).check("offline")


def test_a_state_of_other_pictures_is_not_resumed(squares, trained, checkpoint, cache, tmp_path):
    folder = TrainingFolder(tmp_path / "again")
    killed = CaptionOptions(epochs=3, rate=3e-3)

    def kill(stage, done, total):
        if stage == "train" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt_to_captions(squares, str(checkpoint), folder, killed, Setting(cache, kill))
    assert folder.state.is_file()
    other = CaptionOptions(epochs=3, rate=1e-3)
    with pytest.raises(TrainingError, match="of a run with another base, other pictures or settings"):
        adapt_to_captions(squares, str(checkpoint), folder, other, Setting(cache), is_resuming=True)


def test_a_picture_that_cannot_be_read_is_named_and_left_out(squares, checkpoint, cache, tmp_path):
    broken = squares.pictures[0].parent / "broken.png"
    broken.write_bytes(b"no picture")
    known = type(squares)(
        "with a broken one", (*squares.pictures, broken), (*squares.texts, "nothing at all"),
        (*squares.pictures_of_text, (len(squares.pictures),)),
    )  # fmt: skip
    folder = TrainingFolder(tmp_path / "broken")
    report = adapt_to_captions(known, str(checkpoint), folder, CaptionOptions(epochs=1), Setting(cache))
    broken.unlink()
    assert [bad["path"] for bad in report.bad] == [str(broken)]
    assert report.n_pictures == 64
