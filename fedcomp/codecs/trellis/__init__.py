"""Trellis-coded quantization with one global step, entropy-coded: mode ``max`` of the codec ``rate``."""

from fedcomp.codecs.trellis.encoder import MAX_ERROR, encode_trellis
from fedcomp.codecs.trellis.stream import decode_trellis

__all__ = ["MAX_ERROR", "decode_trellis", "encode_trellis"]
