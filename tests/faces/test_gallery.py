"""Whom pictures show by their faces: named people of a library, or known identities, and strangers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageOps

from mmsearch import Library, PictureBytes, Term
from mmsearch.errors import ModelNotFoundError, QueryError, UnsupportedError
from mmsearch.faces import models
from mmsearch.faces.gallery import PeopleGallery
from mmsearch.faces.known import Asked, compared_faces
from mmsearch.processes.decoder import PictureDecoder, UndescribedFacesError
from mmsearch.query.gallery import LibraryGallery
from mmsearch.records import READING, FileLook
from mmsearch.store.changes import Changes, StoredFile
from mmsearch.store.folder import Store
from tests.faces.packed import face, packed

SETTINGS = {"dim": 0, "fingerprint": "none", "model": "none"}


def picture(path, *faces, n_too_small=0):
    known = packed(*faces, n_too_small=n_too_small)
    return StoredFile(path.encode(), FileLook(1, 2, 3), path.encode(), 90, 90, "JPEG", None, READING, faces=known)


def library_of(folder, pictures, names=()):
    """Make a library of pictures with their faces, and give the groups of some paths names."""
    with Store.writer(folder, create=SETTINGS) as writer:
        writer.faces.want(True)
        writer.commit(Changes(stored=[picture(path, *faces) for path, faces in pictures.items()]))
        writer.people.group(lambda *_: None)
        group_of = {
            shown.image.path: person.group
            for person in writer.people.all()
            for shown in writer.people.faces_of(person.group)
        }
        for path, name in dict(names).items():
            writer.people.name(group_of[path], name)
    return folder


def people(n, first=0, n_each=3):
    """Pictures of so many people, of each some."""
    return {f"/{person}/{n}.jpg": [face(person, n)] for person in range(first, first + n) for n in range(n_each)}


@pytest.fixture(scope="module")
def named(tmp_path_factory, request):
    """A library in which two of twelve people have names, and a picture of everybody's that nobody named."""
    real = request.getfixturevalue("face")
    pictures = people(12) | {
        "/both.jpg": [face(1, 8, size=60), face(0, 8, size=200)],
        "/many.jpg": [face(100 + person, 0, size=300 - person) for person in range(198)] + [face(0, 9), face(1, 9)],
        "/nobody.jpg": [],
        "/eileen.jpg": [real],
    }
    names = {"/0/0.jpg": "Ann", "/1/0.jpg": "Bob", "/eileen.jpg": "Eileen"}
    return library_of(tmp_path_factory.mktemp("named") / "library", pictures, names)


@pytest.fixture
def opened(named):
    with Library.open(named) as library:
        yield library


def id_of(library, path):
    return library.reader().image_at(path.encode()).image_id


def path_of(library, image_id):
    return library.picture(image_id).path


def identify(library, path, *arguments, **options):
    (answer,) = library.identify(id_of(library, path), *arguments, **options)
    return answer


def test_all_faces_of_a_picture_have_the_names_that_a_person_gave_and_the_largest_is_what_it_shows(opened):
    answer = identify(opened, "/both.jpg", is_itself_left_out=True)
    assert (answer.identity, answer.beside, answer.answered_by) == ("Ann", ("Bob",), "faces")
    assert [(known.identity, known.best) for known in answer.faces] == [("Ann", "Ann"), ("Bob", "Bob")]
    assert answer.faces[0].box == pytest.approx((0.25, 0.125, 0.75, 0.5), abs=1e-4)
    assert all(known.probability > 0.8 and known.chance < 0.03 for known in answer.faces)
    assert {near.identity for near in answer.nearest} == {"Ann"}
    assert "/both.jpg" not in {near.path for known in answer.faces for near in known.nearest}
    assert answer.score == pytest.approx(1 - answer.faces[0].distance ** 2 / 2)
    assert answer.warnings == ()


def test_a_face_that_nobody_named_is_unknown(opened):
    answer = identify(opened, "/7/1.jpg")
    assert (answer.identity, answer.answered_by, answer.faces[0].identity) == (None, "faces", None)
    assert answer.best in ("Ann", "Bob", "Eileen")


def test_of_two_hundred_faces_the_two_of_known_people_are_named(opened):
    answer = identify(opened, "/many.jpg", is_itself_left_out=True)
    assert len(answer.faces) == 200
    assert {known.identity for known in answer.faces[-2:]} == {"Ann", "Bob"}
    assert sum(known.identity is not None for known in answer.faces[:-2]) <= 0.03 * 198


def test_a_picture_without_faces_shows_nobody_where_there_is_nothing_else_to_compare(opened):
    answer = identify(opened, "/nobody.jpg")
    assert (answer.identity, answer.best, answer.faces, answer.error) == (None, None, (), None)


def held(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return PictureBytes(file.getvalue(), "held")


@pytest.mark.full
def test_a_face_that_is_mirrored_turned_by_its_file_or_cut_by_the_border_is_known_and_a_drawing_is_not(
    opened, portrait
):
    exif = Image.Exif()
    exif[0x0112] = 6  # upright after a quarter turn
    drawing = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(drawing)
    draw.ellipse((60, 60, 340, 340), outline="black", width=6)
    for left in (140, 230):
        draw.ellipse((left, 150, left + 30, 180), fill="black")
    draw.arc((130, 180, 270, 280), 20, 160, fill="black", width=6)
    shown = [
        held(ImageOps.mirror(portrait)),
        held(portrait.transpose(Image.Transpose.ROTATE_90), exif=exif),
        held(portrait.crop((182, 20, 360, 280))),
    ]
    *known, drawn = opened.identify([*shown, held(drawing)])
    assert [answer.identity for answer in known] == ["Eileen"] * 3
    assert [len(answer.faces) for answer in known] == [1] * 3
    assert known[1].faces[0].box[1] < 0.3 < known[1].faces[0].box[3]  # of the upright picture
    assert drawn.identity is None
    (part,) = opened.identify(Term(held(portrait), box=(150, 40, 300, 220)))
    assert part.identity == "Eileen"


def test_faces_that_are_all_too_small_are_counted(tmp_path):
    with Store.writer(tmp_path / "library", create=SETTINGS) as writer:
        writer.faces.want(True)
        writer.commit(Changes(stored=[picture("/crowd.jpg", n_too_small=7)]))
        writer.commit(Changes(stored=[picture(path, *faces) for path, faces in people(12).items()]))
    with Library.open(tmp_path / "library") as library:
        answer = identify(library, "/crowd.jpg", {f"/{n}/0.jpg": f"person {n}" for n in range(12)})
        assert (answer.identity, answer.n_too_small, answer.faces) == (None, 7, ())


# -- which of the two answers --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory):
    """A library of a folder of pictures for each of twelve people, of whom nobody has a name."""
    return library_of(tmp_path_factory.mktemp("unnamed") / "library", people(12))


IDENTITIES = {path: f"person {path.split('/')[1]}" for path in people(12)}


def test_known_identities_are_answered_by_faces_if_two_thirds_of_them_show_one(unnamed):
    with Library.open(unnamed) as library:
        assert identify(library, "/3/2.jpg", IDENTITIES, is_itself_left_out=True).identity == "person 3"
        others = {f"/things/{n}.jpg": f"thing {n}" for n in range(7)}
        answer = identify(library, "/3/2.jpg", IDENTITIES | others, is_itself_left_out=True)
        assert answer.answered_by == "faces"  # pictures that are not in the library count for nobody


def test_folders_of_people_are_answered_by_faces_and_folders_of_years_are_not(unnamed, tmp_path):
    with Library.open(unnamed) as library:
        assert identify(library, "/3/2.jpg").identity == "3"
    by_year = {f"/{2000 + int(path[-5])}{path}": faces for path, faces in people(12).items()}
    with Library.open(library_of(tmp_path / "years", by_year)) as library:
        with pytest.raises(Exception, match="no encoder"):
            identify(library, "/2001/3/1.jpg")
        assert identify(library, "/2001/3/1.jpg", faces=True).answered_by == "faces"


def compared(folder, pictures, identities=None, names=()):
    """What faces of a library are compared, and what is said, unless somebody says that they are to be."""
    asked = Asked.of(identities, 3, None, False, None, None)
    with Library.open(library_of(folder, pictures, names)) as library:
        return compared_faces(library.reader(), asked)


def places(n_shown, person_of):
    """Twelve places with ten pictures each, some of which show a face, and what each picture shows."""
    pictures = {
        f"/{place}/{n}.jpg": [face(person_of(place, n), n)] if n < n_shown else []
        for place in range(12)
        for n in range(10)
    }
    return pictures, {path: path.split("/")[1] for path in pictures}


def test_places_with_passers_by_are_answered_by_the_whole(tmp_path):
    few = places(4, lambda place, n: place)  # the same passer-by, as a statue may be
    assert compared(tmp_path / "few", *few) == (None, ())
    strangers = places(10, lambda place, n: 10 * place + n)
    nothing, (sentence,) = compared(tmp_path / "strangers", *strangers)
    assert nothing is None
    assert sentence.startswith(
        "no faces are compared, as those of an identity are mostly of several people; `--faces`"
    )
    people = places(5, lambda place, n: place)
    assert compared(tmp_path / "people", *people)[0].gallery.share_together == 1


def test_one_large_folder_does_not_decide_whether_folders_are_those_of_people(tmp_path):
    pictures = people(1, n_each=12) | {
        f"/{year}/{n}.jpg": [face(10 * year + n)] for year in (1, 2) for n in range(2)
    }
    assert compared(tmp_path / "library", pictures) == (None, ())


def test_a_face_for_each_folder_is_compared_only_if_that_is_said_and_how_is(tmp_path):
    folder = tmp_path / "library"
    nothing, (sentence,) = compared(folder, people(12, n_each=1))
    assert nothing is None
    assert sentence.endswith("; `--faces` compares them")
    with Library.open(folder) as library:
        assert identify(library, "/3/0.jpg", faces=True).answered_by == "faces"


def test_one_named_person_without_a_stranger_is_said_to_be_too_few(tmp_path):
    nothing, (sentence,) = compared(tmp_path / "library", people(1), names={"/0/0.jpg": "Ann"})
    assert nothing is None
    assert sentence.startswith("no faces are compared: the gallery has one identity, 'Ann'; expected two or more")


def test_no_group_with_a_name_is_one_of_strangers(tmp_path):
    pictures = people(1, n_each=51) | people(11, first=1, n_each=2) | {"/blurred.jpg": [face(20, size=20)]}
    names = {"/0/0.jpg": "Ann", "/1/0.jpg": "Bob", "/blurred.jpg": "Ann"}  # not among the best 50 of her
    faces, _ = compared(tmp_path / "library", pictures, names=names)
    assert len(faces.gallery._strange) == 10


def test_a_known_picture_that_leaves_after_its_faces_were_read_is_still_named(tmp_path):
    folder = library_of(tmp_path / "library", people(12), {"/0/0.jpg": "Ann", "/1/0.jpg": "Bob"})
    asked = Asked.of(None, 3, None, False, None, None)
    with Library.open(folder) as library:
        faces, _ = compared_faces(library.reader(), asked)
        with library.place.writer() as writer:
            writer.remove_images([id_of(library, "/0/0.jpg")])
        gallery = PeopleGallery(faces, library._search(), library.decoder, asked)
        answer = gallery.identify(id_of(library, "/0/1.jpg"))
    assert {near.path for near in answer.nearest} == {"/0/0.jpg", "/0/1.jpg", "/0/2.jpg"}


def test_without_faces_whole_pictures_answer(opened):
    with pytest.raises(Exception, match="no encoder"):
        opened.identify([id_of(opened, "/0/0.jpg")], faces=False)


@pytest.fixture
def with_faces(indexed):
    """A library with vectors, of the pictures of which all but the first show a face; and whom they show."""
    with indexed.place.writer() as writer:
        writer.faces.want(True)
        hashes = writer.hashes_of(range(1, 9))
        writer.faces.keep({hashes[n]: packed(*[face(n)] * (n > 1)) for n in hashes})
    return indexed, {image.path: Path(image.path).stem for image in indexed}


def test_where_the_encoder_is_not_to_be_had_faces_answer_and_it_is_said_once_that_the_whole_does_not(
    with_faces, monkeypatch
):
    library, identities = with_faces
    tries = []

    def gone(*_):
        tries.append(1)
        raise ModelNotFoundError("there is no such model")

    monkeypatch.setattr(LibraryGallery, "identify", lambda *_, **__: gone())
    first, again, known = library.identify([1, 1, 3], identities)
    assert (known.best, known.answered_by) == (identities[path_of(library, 3)], "faces")
    for answer in (first, again):
        assert answer.best is None
        assert answer.warnings == ("pictures without a face are not compared: there is no such model",)
    assert tries == [1]


def test_a_picture_whose_faces_cannot_be_described_is_answered_by_the_whole_and_that_is_said(
    with_faces, monkeypatch
):
    library, identities = with_faces

    def undescribed(*_, **__):
        raise UndescribedFacesError("unsupported", "its faces cannot be described: not this")

    monkeypatch.setattr(PictureDecoder, "faces", undescribed)
    data = Path(path_of(library, 3)).read_bytes() + b" "
    (answer,) = library.identify(PictureBytes(data, "held"), identities)
    assert (answer.answered_by, answer.best, answer.error) == ("picture", identities[path_of(library, 3)], None)
    assert answer.warnings == ("held: its faces cannot be described: not this; the whole is compared",)


def test_without_the_extra_it_is_said_that_no_faces_are_compared(indexed, monkeypatch):
    with indexed.place.writer() as writer:
        writer.faces.want(True)
        hashes = writer.hashes_of(range(1, 9))
        writer.faces.keep({hashes[n]: packed(face(n)) for n in hashes})
    identities = {image.path: Path(image.path).stem for image in indexed}
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    (answer,) = indexed.identify(3, identities)
    assert (answer.answered_by, len(answer.warnings)) == ("picture", 1)
    assert answer.warnings[0].startswith(
        "no faces are compared: faces need dlib and its networks; install them with"
    )
    with pytest.raises(ModelNotFoundError, match=r"pip install 'mmsearch\[faces\]'"):
        indexed.identify(3, identities, faces=True)


def test_faces_of_a_library_that_has_none_are_refused(indexed, cache):
    with pytest.raises(QueryError, match="has no faces; `mmsearch index --faces` looks for them"):
        indexed.identify(1, faces=True)
    with indexed.place.writer() as writer:
        writer.faces.want(True)
    with pytest.raises(QueryError, match="no picture of the gallery shows a face"):
        indexed.identify(1, {image.path: Path(image.path).stem for image in indexed}, faces=True)


# -- galleries that are hard to learn from -------------------------------------------------------------


def answers_of(folder, pictures, identities, asked, **options):
    with Library.open(library_of(folder, pictures)) as library:
        return identify(library, asked, identities, **options)


def test_a_picture_each_of_few_people_names_nobody_and_says_so_unless_there_are_strangers(tmp_path, unnamed):
    pictures = people(4, first=50, n_each=1) | {"/asked.jpg": [face(51, 7)]}
    identities = {f"/{n}/0.jpg": f"person {n}" for n in range(50, 54)}
    with Library.open(library_of(tmp_path / "few", pictures)) as library, Library.open(unnamed) as others:
        answer = identify(library, "/asked.jpg", identities)
        assert (answer.identity, answer.best, answer.faces[0].probability) == (None, "person 51", None)
        assert answer.warnings == (
            "nobody is named, as too few faces are known to learn how near strangers come (faces: 4, people: 4); "
            "give more pictures, or more people",
        )
        with_strangers = identify(library, "/asked.jpg", identities, strangers=others)
        assert (with_strangers.identity, with_strangers.warnings) == ("person 51", ())


def test_one_person_with_a_name_is_known_among_strangers(tmp_path):
    pictures = people(14) | {"/asked.jpg": [face(0, 7)], "/other.jpg": [face(99, 7)]}
    with Library.open(library_of(tmp_path / "library", pictures, {"/0/0.jpg": "Ann"})) as library:
        assert identify(library, "/asked.jpg", is_itself_left_out=True).identity == "Ann"
        assert identify(library, "/other.jpg").identity is None
    with (
        Library.open(library_of(tmp_path / "alone", people(1), {"/0/0.jpg": "Ann"})) as library,
        pytest.raises(QueryError, match="the gallery has one identity, 'Ann'"),
    ):
        identify(library, "/0/1.jpg", faces=True)


def test_one_person_under_two_names_and_two_under_one_are_named_in_the_answers(tmp_path):
    pictures = people(14, n_each=4)
    identities = {path: f"person {path.split('/')[1]}" for path in pictures}
    identities |= {"/0/2.jpg": "Anna", "/0/3.jpg": "Anna"} | {f"/13/{n}.jpg": "person 12" for n in range(4)}
    folder = tmp_path / "library"
    answer = answers_of(folder, pictures | {"/asked.jpg": [face(0, 9)]}, identities, "/asked.jpg")
    assert answer.warnings == ("Anna and person 0 may be one person: some of their faces are alike",)
    with Library.open(folder) as library:
        assert identify(library, "/12/0.jpg", identities).warnings == (
            "person 12 may be two people: the faces under this name are of two kinds",
        )
        assert identify(library, "/5/0.jpg", identities).warnings == ()


def test_the_largest_face_in_the_picture_of_an_identity_is_theirs(tmp_path):
    pictures = people(12, n_each=2) | {"/0/0.jpg": [face(40, 0, size=50), face(0, 0, size=90)]}
    identities = {path: path.split("/")[1] for path in pictures}
    asked = {"/asked.jpg": [face(40, 3)], "/again.jpg": [face(0, 3)]}
    with Library.open(library_of(tmp_path / "library", pictures | asked)) as library:
        assert identify(library, "/asked.jpg", identities).identity is None
        assert identify(library, "/again.jpg", identities).identity == "0"


def test_the_faces_of_known_people_in_a_library_of_strangers_do_not_count_as_such(tmp_path):
    own = people(12)
    identities = {path: path.split("/")[1] for path in own}
    strangers = {f"/photos{path}": [face(int(path.split("/")[1]), 50 + n)] for n, path in enumerate(people(24))}
    with (
        Library.open(library_of(tmp_path / "gallery", own | {"/asked.jpg": [face(3, 9)]})) as library,
        Library.open(library_of(tmp_path / "photos", strangers)) as others,
    ):
        alone = identify(library, "/asked.jpg", identities)
        beside = identify(library, "/asked.jpg", identities, strangers=others)
    assert alone.identity == beside.identity == "3"
    assert beside.chance == pytest.approx(alone.chance, abs=0.01)


def test_a_library_at_an_address_has_no_faces_to_compare(cache):
    with (
        Library.open("milvus://localhost:1/pictures", cache=cache) as library,
        pytest.raises(UnsupportedError, match="faces in pictures"),
    ):
        library.identify([], faces=True)
