"""The program of a worker process: a module of the very package that this file lies in, with its arguments.

It is started by its path under `python -P`. A worker started by the name of its module would look for that in the
folder where the user stands, among whose pictures may be a `json.py`; and without that folder it could find an
installed mmsearch of another version than the one that starts it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def main() -> None:
    """Make the package importable without a place on the import path, and serve."""
    package = Path(__file__).parent.parent
    spec = spec_from_file_location("mmsearch", package / "__init__.py", submodule_search_locations=[str(package)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["mmsearch"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)

    from mmsearch.processes.child import run

    name, *arguments = sys.argv[1:]
    run(import_module(f"mmsearch.{name}").serve, arguments)


if __name__ == "__main__":
    main()
