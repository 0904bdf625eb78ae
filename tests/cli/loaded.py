"""What most commands load; who imports this has loaded it."""

import PIL.Image  # noqa: F401
import tokenizers  # noqa: F401

import mmsearch.cli.app
import mmsearch.library
import mmsearch.store.folder_place  # noqa: F401
from mmsearch.encoders.runtime import onnx_runtime

onnx_runtime()
