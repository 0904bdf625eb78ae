"""Bundles: files that hold many pictures, tars as webdataset and img2dataset write them, and Parquet files.

A picture in one has the path of the bundle and a name below it: `/sets/00000.tar/000000012.jpg`, and in Parquet the
number of its row, from 0, before the name that the row gives: `/sets/00000.parquet/12/cat.jpg`. Such a path is only
a name: nothing is written to disk, and no link or path inside a bundle is followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from mmsearch.errors import PictureError
from mmsearch.images import TAR, Found, FoundFile, PassedOver, Unreachable
from mmsearch.shards.members import NO_PICTURES, Contents, Member
from mmsearch.shards.tables import table_contents, table_members
from mmsearch.shards.tars import tar_contents, tar_members


def members_of(file: FoundFile, column: str | None = None, *, is_named: bool = True) -> Iterator[Found]:
    """Yield the pictures in a bundle as `Member`, those that cannot be used, and what is passed over.

    Parameters
    ----------
    file : FoundFile
        The bundle.
    column : str or None
        That holds the pictures of a Parquet file; None takes the first that is called as usual.
    is_named : bool
        Whether somebody named the file: then it is a fault of Parquet to have no pictures.
    """
    is_tar = _is_tar(file.path)
    n_pictures = 0
    try:
        for entry in tar_members(file) if is_tar else table_members(file, column, is_named=is_named):
            n_pictures += not isinstance(entry, PassedOver)
            yield entry
        if not n_pictures:
            yield PassedOver(file.path, NO_PICTURES, is_folder=False)
    except PictureError as error:
        yield Unreachable(file.path, error.code, str(error), is_folder=False)


def contents_of(members: Sequence[Member], column: str | None = None) -> Iterator[Contents]:
    """Yield every member with its bytes, None if its row holds no picture, or why it cannot be read.

    Parameters
    ----------
    members : sequence of Member
        Of any bundles, those of one together and in its order.
    column : str or None
        As for `members_of`.
    """
    for bundle, group in groupby(members, key=lambda member: member.bundle):
        together = list(group)
        n_read = 0
        try:
            is_tar = _is_tar(bundle)
            for contents in tar_contents(together) if is_tar else table_contents(together, column):
                n_read += 1
                yield contents
        except PictureError as error:
            for member in together[n_read:]:
                yield member, PictureError(error.code, str(error))


def _is_tar(path: bytes) -> bool:
    return path.lower().endswith(TAR)
