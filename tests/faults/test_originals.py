"""F8: no command ever touches a picture of the user."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from tests import pictures, warm

COMMANDS = [
    ["index", "{photos}", "--model", "{model}"],
    ["index", "{photos}"],
    ["index", "{photos}", "--dry-run"],
    ["search", "a dog", "-i", "{photos}/cat.jpg", "--explain"],
    ["classify", "{photos}/cat.jpg", "{photos}/hidden.png", "--labels", "a,b"],
    ["status"],
    ["verify"],
    ["verify", "--repair"],
    ["rm", "{photos}/trip"],
]


def snapshot(folder):
    """Everything about a folder that a program could change: names, bytes, times, modes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[os.fsencode(path)] = (status.st_mode, status.st_mtime_ns, status.st_size, data)
    return found


@pytest.mark.full
def test_pictures_are_the_same_before_and_after_every_command(tmp_path, photos, checkpoint, cache, tiny_folder):
    pictures.write_all(photos / "odd")
    shutil.copyfile(photos / "odd" / "hidden.png", photos / "hidden.png")
    for path in [*(photos / "odd").rglob("*"), photos / "odd", photos / "cat.jpg"]:  # some are read-only
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(photos)
    environment = os.environ | {"MMSEARCH_CACHE": str(cache), "MMSEARCH_LIBRARY": str(tmp_path / "library")}
    for arguments in COMMANDS:
        filled_in = [argument.format(photos=photos, model=checkpoint) for argument in arguments]
        done = warm.run([sys.executable, "-m", "mmsearch", *filled_in], env=environment, timeout=120)
        assert done.returncode in (0, 3), done.stderr.decode()
        assert snapshot(photos) == before, arguments
