from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmsearch.errors import QueryError, StorageError
from mmsearch.milvus.address import TOKEN, TOKEN_FILE, Address, Creation, token_of
from mmsearch.places import place_of


@pytest.mark.parametrize(
    ("text", "uri", "name", "shown"),
    [
        ("milvus://host/photos", "http://host:19530/", "photos", "milvus://host:19530/photos"),
        ("milvus://10.0.0.1:1/a_1/", "http://10.0.0.1:1/", "a_1", "milvus://10.0.0.1:1/a_1"),
        ("milvus://[::1]:19530/p", "http://[::1]:19530/", "p", "milvus://[::1]:19530/p"),
        (
            "milvus://b\u00fcro-1.example/p",
            "http://b\u00fcro-1.example:19530/",
            "p",
            "milvus://b\u00fcro-1.example:19530/p",
        ),
        ("milvus+https://cloud.example/p", "https://cloud.example:443/", "p", "milvus+https://cloud.example:443/p"),
        ("milvus-lite:///tmp/a.db", "/tmp/a.db", "mmsearch", "milvus-lite:///tmp/a.db/mmsearch"),
        ("milvus-lite:///tmp/a.db/p", "/tmp/a.db", "p", "milvus-lite:///tmp/a.db/p"),
    ],
)
def test_address_says_where_the_engine_is_and_which_collection(text, uri, name, shown):
    address = Address.parse(text)
    assert (address.uri, address.name, address.shown) == (uri.rstrip("/"), name, shown)


@pytest.mark.parametrize(
    "text", ["milvus:/host/p", Path("milvus://host/p"), "MILVUS-LITE:/p.db", "milvus+https:host/p"]
)
def test_address_that_lost_a_slash_makes_no_folder(text):
    with pytest.raises(QueryError, match="begins no address"):
        place_of(text)
    assert place_of("./milvus:/host").folder == Path.cwd() / "milvus:/host"
    assert place_of("milvus").folder == Path.cwd() / "milvus"


def test_address_says_how_a_collection_is_to_be_made_and_is_shown_without_that():
    address = Address.parse("milvus://host/p?shards=2&replicas=3&index=ivf_flat")
    assert address.creation == Creation(shards=2, replicas=3, index="IVF_FLAT")
    assert address.shown == "milvus://host:19530/p"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("milvus://host", "no name of a library"),
        ("milvus:///p", "names no host"),
        ("milvus://host/a-b", "letters, digits and _"),
        ("milvus://host/1a", "no digit in front"),
        ("milvus://host/a/b", "no name of a library"),
        ("milvus://host/p__about", "no __about at the end"),
        ("milvus://host:port/p", "no address"),
        ("milvus://host:99999/p", "no address"),
        ("milvus://[::1/p", "no address"),
        ("milvus://host/p?shards=0", "expected shards=1 to 16"),
        ("milvus://host/p?index=best", "index=HNSW"),
        ("milvus://host/p?token=abc", "expected shards"),
        ("milvus://host/p#part", "no address"),
        ("milvus://ho,st/p", "names no host"),
        ("milvus-lite://tmp/a.db", "names no file"),
        ("milvus-lite:///tmp/a", "names no file"),
        ("milvus-lite:///tmp/a.dbx", "names no file"),
    ],
)
def test_address_that_means_nothing_is_refused(text, said):
    with pytest.raises(QueryError, match=said):
        Address.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "milvus://root:s3cret@host/p", "milvus+https://s3cret@host/p", "milvus://root:s3/cret@host/p?token=s3cret",
        "milvus://host/p?token=s3cret", "milvus://host/p?s3cret", "milvus://host/p?shards=2&s3cret=1",
        "milvus://host/p?shards=s3cret", "milvus://host/p?shards=2;token=s3cret", "milvus://host/p#s3cret",
        "milvus://host/p;token=s3cret", "milvus://host/p&token=s3cret", "milvus://host/p/s3cret/x",
        "milvus://host:s3cret/p", "milvus://root:s3cret%40host/p", "milvus://host,token=s3cret/p",
        "milvus://host token=s3cret/p", "milvus-lite:///tmp/a.db?token=s3cret", "milvus-lite://root:s3cret@/a.db",
        "milvus-lite:///tmp/a.db/p:s3cret", "milvus-lite:///tmp/a.db#s3cret", "https://root:s3cret@host/p",
        "MILVUS://root:s3cret@host/p",
    ],
)  # fmt: skip
def test_secret_in_an_address_is_refused_and_not_repeated(text):
    with pytest.raises(QueryError) as refused:
        place_of(text)
    assert "s3" not in str(refused.value)


def test_token_comes_from_the_environment_or_a_private_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("root:s3cret\n")
    file.chmod(0o600)
    assert token_of({}) == ""
    assert token_of({TOKEN: "abc", TOKEN_FILE: str(file)}) == "abc"
    assert token_of({TOKEN_FILE: str(file)}) == "root:s3cret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o700, 0o400])
def test_token_file_that_is_not_private_is_refused_with_its_mode(tmp_path, mode):
    file = tmp_path / "token"
    file.write_text("s3cret")
    file.chmod(mode)
    with pytest.raises(StorageError, match=f"{mode:04o}") as refused:
        token_of({TOKEN_FILE: str(file)})
    assert "s3cret" not in str(refused.value)


def test_token_file_must_be_a_regular_file_that_is_there(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, said in (
        (tmp_path, "no regular file"),
        (tmp_path / "pipe", "no regular file"),
        (tmp_path / "x", "No such"),
    ):
        with pytest.raises(StorageError, match=said):
            token_of({TOKEN_FILE: str(path)})
