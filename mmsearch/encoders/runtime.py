"""The one place that imports ONNX Runtime: it sends usage data from native code unless told not to before."""

from __future__ import annotations

import os
from typing import Any

# Read once, when the library is loaded: its own `disable_telemetry_events()` comes too late.
_FORBIDDING = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def forbid_telemetry() -> None:
    """Keep libraries that this process loads from now on, and its children, from sending usage data.

    Whatever the environment says: what is searched, and when, leaves this machine by nobody's default.
    """
    os.environ.update(_FORBIDDING)


def onnx_runtime() -> Any:
    """Return ONNX Runtime's module, loaded without telemetry."""
    forbid_telemetry()
    import onnxruntime

    return onnxruntime
