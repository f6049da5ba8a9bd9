"""Codecs: named arrays to few bytes and back, by stages that compose."""

from fedcomp.codecs.base import Codec, PayloadError
from fedcomp.codecs.context import CodecContext
from fedcomp.codecs.registry import codec_from_config, describe_codecs

__all__ = ["Codec", "CodecContext", "PayloadError", "codec_from_config", "describe_codecs"]
