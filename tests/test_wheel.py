"""The wheel that is built of the project: the package whole, and nothing else."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.build import build_wheel

import mmsearch

PACKAGE = Path(mmsearch.__file__).parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(PACKAGE.parent)
        return folder / build_wheel(str(folder))


def test_the_wheel_holds_every_file_of_the_package_byte_for_byte(wheel):
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    with ZipFile(wheel) as opened:
        packed = {name for name in opened.namelist() if not name.startswith("mmsearch-")}
        assert packed == {path.relative_to(PACKAGE.parent).as_posix() for path in files}
        for path in files:
            assert opened.read(path.relative_to(PACKAGE.parent).as_posix()) == path.read_bytes()


def test_the_wheel_has_the_program_its_licence_and_typed_code(wheel):
    with ZipFile(wheel) as opened:
        names = {name.partition("/")[2]: name for name in opened.namelist()}
        assert "mmsearch = mmsearch.__main__:main" in opened.read(names["entry_points.txt"]).decode()
        assert {"licenses/LICENSE", "py.typed"} <= names.keys()
