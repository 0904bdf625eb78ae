"""A client that openapi-python-client generates from the description: all is called, and answers are typed."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from types import SimpleNamespace
from zipfile import ZipFile

import httpx
import numpy as np
import pytest
from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType
from PIL import Image

OPERATIONS = (
    "search_pictures", "search_with_uploads", "search_many", "classify_pictures", "classify_uploads", "embed",
    "embed_uploads", "list_pictures", "get_picture", "get_picture_facts", "get_thumbnail", "get_file",
    "list_moments", "get_picture_annotations", "change_tags", "write_caption", "get_archive",
    "list_people", "get_person", "get_picture_faces", "name_person", "hide_person", "merge_people", "split_person",
    "forget_person", "forget_people", "count_pictures", "count_months", "find_duplicates",
    "get_status", "get_metrics", "get_health",
)  # fmt: skip


@pytest.fixture(scope="session")
def generated(served, tmp_path_factory):
    """The client, a way to call each of its operations, its models, and what the generator had to say."""
    folder = tmp_path_factory.mktemp("generated")
    source = f"{served.address}/openapi.json"
    described = httpx.get(source).json()
    target = folder / "mmsearch_client"
    config = Config.from_sources(ConfigFile(post_hooks=[]), MetaType.NONE, source, "utf-8", False, target)
    complaints = generate(config=config)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        package = import_module("mmsearch_client")
        client = package.AuthenticatedClient(base_url=described["servers"][0]["url"], token=served.access.token)
        with client as program:
            yield SimpleNamespace(
                package=package, program=program, operations=operations_of(described), complaints=complaints,
                models=import_module("mmsearch_client.models"), file=import_module("mmsearch_client.types").File,
            )  # fmt: skip
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmsearch_client"]:
        del sys.modules[name]


def operations_of(described):
    """Return the module of the client for each operation."""
    return {
        operation["operationId"]: f"mmsearch_client.api.{operation['tags'][0]}.{operation['operationId']}"
        for path in described["paths"].values()
        for operation in path.values()
    }


@pytest.fixture(scope="session")
def call(generated):
    """Return what an operation answers: an object of the type of its status."""

    def called(name, *path, program=generated.program, **asked):
        operation = import_module(generated.operations[name])
        return operation.sync_detailed(*path, client=program, **asked).parsed

    return called


@pytest.fixture(scope="session")
def models(generated):
    return generated.models


def upload(generated, served, name):
    data = (served.photos / name).read_bytes()
    return generated.file(payload=io.BytesIO(data), file_name=name, mime_type="image/jpeg")


def names(answer):
    return [hit.name for hit in answer.hits]


def test_the_generator_leaves_nothing_out_and_names_functions(generated):
    assert list(generated.complaints) == []
    assert sorted(generated.operations) == sorted(OPERATIONS)


def test_a_search_with_filters_of_every_kind_is_answered(call, models):
    nested = models.NotFilter(not_=models.AndFilter(and_=["name = cat.jpg", models.OrFilter(or_=["width > 1"])]))
    compared = models.ComparisonFilter(
        field=models.ComparisonFilterField.WIDTH, op=models.ComparisonFilterOp.VALUE_5, value=1
    )
    asked = models.SearchRequest(
        text="a cat", exclude=[models.Excluded(text="snow", weight=0.5)], where=["name ~ c*", compared, nested], k=3
    )
    answer = call("search_pictures", body=asked)
    assert isinstance(answer, models.SearchAnswer)
    assert [hit.rank for hit in answer.hits] == [1, 2, 3]
    assert all(name.startswith("c") and name != "cat.jpg" for name in names(answer))
    assert answer.seconds["total"] > 0


def test_duplicates_are_groups_of_a_known_class(call, models):
    answer = call("find_duplicates", kind=[models.FindDuplicatesKindItem.SAME_FILE])
    assert isinstance(answer, models.DuplicateAnswer)
    assert (answer.groups, answer.n_unsigned) == ([], 0)


def test_a_part_of_a_picture_that_is_sent_is_found_with_its_places(call, models, generated, served):
    example = models.UploadedPicture(upload=0, box=[60.0, 50.0, 420.0, 330.0])
    query = models.SearchRequest(pictures=[example], k=1, explain=True)
    body = models.SearchUpload(picture=[upload(generated, served, "coffee.jpg")], query=query)
    (hit,) = call("search_with_uploads", body=body).hits
    assert hit.name == "coffee.jpg"
    assert isinstance(hit.local, models.LocalScore)
    assert hit.local.is_verified
    assert [len(row) for row in hit.local.homography] == [3, 3, 3]


def test_searches_that_are_asked_together_have_results_and_problems_of_their_own(call, models):
    cat = call("list_pictures", where=["name = cat.jpg"]).pictures[0]
    queries = [
        models.SearchRequest(text="a cat", k=2),
        models.SearchRequest(text="a cat", where=["nonsense"]),
        models.SearchRequest(pictures=[models.LibraryPicture(id=cat.id)], k=1),
    ]
    first, second, third = call("search_many", body=models.SearchesRequest(queries=queries)).outcomes
    assert len(first.result.hits) == 2
    assert first.problem is None
    assert isinstance(second.problem, models.Problem)
    assert (second.result, second.problem.status) == (None, 422)
    assert names(third.result) == ["cat.jpg"]


def test_pictures_are_labelled_and_a_broken_one_is_named(call, models, generated, served):
    by_id = models.ClassifyRequest(labels=["a cat", "a fig"], pictures=[models.LibraryPicture(id=1)], k=1)
    (labelled,) = call("classify_pictures", body=by_id).pictures
    assert labelled.labels[0].label in ("a cat", "a fig")
    broken = generated.file(payload=io.BytesIO(b"nonsense"), file_name="b.jpg", mime_type="image/jpeg")
    sent = models.ClassifyUpload(
        picture=[upload(generated, served, "fig.jpg"), broken], query=models.ClassifyRequest(labels=["a", "b"])
    )
    whole, bad = call("classify_uploads", body=sent).pictures
    assert (whole.picture, whole.error) == ("fig.jpg", None)
    assert bad.error.startswith("b.jpg: ")


def test_texts_and_pictures_are_embedded(call, models, generated, served):
    by_id = call("embed", body=models.EmbedRequest(texts=["a cat"], pictures=[models.LibraryPicture(id=1)]))
    sent = call("embed_uploads", body=models.EmbedUpload(picture=[upload(generated, served, "fig.jpg")]))
    vectors = np.array([*by_id.texts, by_id.pictures[0].vector, sent.pictures[0].vector])
    assert vectors.shape == (3, by_id.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert by_id.fingerprint == sent.fingerprint


def test_pictures_are_listed_counted_and_shown(call, models, served):
    first = call("list_pictures", limit=20, order=models.ListPicturesOrder.PATH)
    second = call("list_pictures", limit=20, order=models.ListPicturesOrder.PATH, after=first.next_)
    assert first.n == len({picture.path for picture in [*first.pictures, *second.pictures]}) == 29
    assert second.next_ is None
    picture = call("get_picture", first.pictures[0].id)
    assert (picture.name, picture.labels) == (first.pictures[0].name, [])
    thumbnail = call("get_thumbnail", picture.id, side=models.Side.VALUE_160)
    with Image.open(thumbnail.payload) as shown:
        assert (shown.format, max(shown.size)) == ("JPEG", 160)
    original = (served.photos / picture.name).read_bytes()
    assert call("get_file", picture.id).payload.read() == original
    with ZipFile(call("get_archive", body=models.ArchiveRequest(ids=[picture.id])).payload) as archive:
        assert archive.read(picture.name) == original
    assert not call("get_picture_facts", picture.id).to_dict()
    assert call("count_pictures", where=["name ~ c*"]).n < 29
    assert call("count_months", where=["name ~ c*"]).months[-1].label == "without a date"


def test_tags_and_captions_are_written_and_told(call, models, generated, writable):
    client = generated.package.AuthenticatedClient(base_url=writable.address, token=writable.access.token)
    with client as program:
        asked = models.TagsRequest(ids=[1, 999], add=["beach"])
        changed = call("change_tags", program=program, body=asked)
        assert (changed.n_added, changed.n_removed, changed.missing) == (1, 0, [999])
        written = call("write_caption", 1, program=program, body=models.CaptionRequest(text="by the sea"))
        assert written == call("get_picture_annotations", 1, program=program)
        typed = {(said.kind, said.text) for said in written.annotations if said.source == "user"}
        assert {(models.Kind.TAG, "beach"), (models.Kind.CAPTION, "by the sea")} <= typed
        gone = call("write_caption", 999, program=program, body=models.CaptionRequest(text=None))
        assert gone.status == 404


def test_people_are_listed_and_decided_of(call, models, generated, peopled):
    server, _ = peopled
    client = generated.package.AuthenticatedClient(base_url=server.address, token=server.access.token)
    with client as program:
        named = call("name_person", 1, program=program, body=models.NameRequest(name="Anna"))
        assert (named.name, named.where) == ("Anna", ["person = Anna"])
        split = call("split_person", 1, program=program, body=models.SplitRequest(ids=[named.best.picture.id]))
        merged = call("merge_people", 1, program=program, body=models.MergeRequest(groups=[split.group]))
        assert (merged.n_faces, merged.best) == (3, named.best)
        assert call("get_person", 1, program=program).faces[0] == named.best
        (face, other) = call("get_picture_faces", named.best.picture.id, program=program).faces
        assert (face.name, other.name, face.box) == ("Anna", None, named.best.box)
        part = call(
            "get_thumbnail", named.best.picture.id, program=program, side=models.Side.VALUE_160, box=face.box
        )
        assert part.payload.read().startswith(b"\xff\xd8")
        assert call("hide_person", 2, program=program, body=models.HideRequest(is_hidden=True)).is_hidden
        assert [person.group for person in call("list_people", program=program).people] == [1, 3]
        assert call("forget_person", 3, program=program).n_faces == 1
        assert call("forget_people", program=program).n_faces == 5


def test_the_state_of_the_server_is_told(call):
    assert call("get_status").n_pictures == 29
    assert "mmsearch_pictures 29.0" in call("get_metrics")
    assert call("get_health").status == "ok"


def test_refusals_are_problems(call, models, generated, served):
    unfit = call("search_pictures", body=models.SearchRequest(text="a cat", k=0))
    assert isinstance(unfit, models.Problem)
    assert (unfit.status, unfit.type_, unfit.errors[0].at) == (422, "urn:mmsearch:request", "k")
    gone = call("get_picture", 10**6)
    assert (gone.status, type(gone)) == (404, models.Problem)
    with generated.package.AuthenticatedClient(base_url=served.address, token="another") as stranger:
        assert call("get_status", program=stranger).status == 401
