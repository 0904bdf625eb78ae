"""The one place that imports ONNX Runtime: it sends usage data from native code unless told not to before."""

from __future__ import annotations

import os
from typing import Any

from mmsearch.arguments import CPU, FP32, Device, Precision
from mmsearch.errors import EncoderError
from mmsearch.system import has_nvidia_gpu

_CUDA, _PLAIN = "CUDAExecutionProvider", "CPUExecutionProvider"
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


def onnx_quantiser() -> Any:
    """Return ONNX Runtime's module that quantises, likewise."""
    forbid_telemetry()
    from onnxruntime import quantization

    return quantization


def device_for(asked: Device, precision: Precision = FP32) -> Device:
    """Return where towers are computed, `cpu` or `cuda`.

    Parameters
    ----------
    asked : str
        `auto` is `cuda` where there is a GPU that ONNX Runtime can use, and fp32 is what it would compute.
    precision : str
        Of the tower.

    Raises
    ------
    EncoderError
        If `cuda` is asked for and cannot be had.
    """
    if asked == CPU or (asked == "auto" and (precision != FP32 or not has_nvidia_gpu())):
        return CPU
    if precision != FP32:
        raise EncoderError(f"{precision} is computed on the CPU; leave --device {asked} out, or choose fp32")
    if _CUDA in onnx_runtime().get_available_providers():
        return "cuda"
    if asked == "auto":
        return CPU
    raise EncoderError(
        "--device cuda needs ONNX Runtime with its CUDA provider, and the one that is installed computes on the "
        "CPU alone; install onnxruntime-gpu in place of onnxruntime, or choose --device cpu"
    )


def providers_of(device: Device) -> list[Any]:
    """Return what ONNX Runtime is to compute by, the first one for all that it can."""
    # TF32 would round to 10 bits: vectors would differ from those of a CPU by a thousandth.
    return [(_CUDA, {"use_tf32": 0}), _PLAIN] if device == "cuda" else [_PLAIN]


def require_device(session: Any, device: Device) -> None:
    """Raise EncoderError if ONNX Runtime fell back to the CPU where a GPU was asked for, as it does by itself."""
    if device == "cuda" and _CUDA not in session.get_providers():
        raise EncoderError(
            "ONNX Runtime cannot use the GPU, as its driver, CUDA or cuDNN is missing or does not fit; choose "
            "--device cpu, or see what `nvidia-smi` says"
        )
