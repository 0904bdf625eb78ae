"""ENCODE: pictures and texts in, unit vectors of one joint space out.

A model is built once with torch, exported to a folder of ONNX towers, and run from that folder alone.
"""

from mmsearch.encoders.base import DualEncoder, ImageEncoder
from mmsearch.encoders.onnx import OnnxEncoder, verify_encoder
from mmsearch.encoders.prepare import prepare_encoder

__all__ = ["DualEncoder", "ImageEncoder", "OnnxEncoder", "prepare_encoder", "verify_encoder"]
