"""Trellis-coded quantization with one global step, entropy-coded: mode ``max`` of the codec ``rate``."""

from fedcomp.codecs.trellis.stream import MAX_ERROR, decode_trellis, encode_trellis, trellis_bits

__all__ = ["MAX_ERROR", "decode_trellis", "encode_trellis", "trellis_bits"]
