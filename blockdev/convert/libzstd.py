"""Zstandard (RFC 8878) by the system's libzstd, which every Debian has; Python knows it from 3.14 on only.

Calls leave the interpreter's lock: threads compress at the same time.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache

from blockdev.core.errors import BuildError

_LIBRARY = "libzstd.so.1"
_TOO_SMALL = 70  # ZSTD_error_dstSize_tooSmall of zstd_errors.h, stable since 1.3.1


@cache
def library() -> ctypes.CDLL | None:
    """The loaded library; None where there is none."""
    try:
        zstd = ctypes.CDLL(_LIBRARY)
        zstd.ZSTD_createCCtx.restype = ctypes.c_void_p
        zstd.ZSTD_freeCCtx.argtypes = [ctypes.c_void_p]
        zstd.ZSTD_compressCCtx.restype = ctypes.c_size_t
        zstd.ZSTD_compressCCtx.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_int,
        ]
        zstd.ZSTD_isError.argtypes = [ctypes.c_size_t]
        zstd.ZSTD_getErrorCode.argtypes = [ctypes.c_size_t]
    except (OSError, AttributeError):
        return None
    return zstd


class Compressor:
    """Compresses pieces, each to a frame of its own of at most ``most`` bytes, for any number of threads."""

    def __init__(self, most: int, level: int) -> None:
        self._most, self._level = most, level
        self._of_thread = threading.local()

    def __call__(self, content: bytes) -> bytes | None:
        """The frame; None where it would be longer."""
        context = getattr(self._of_thread, "context", None)
        if context is None:
            context = self._of_thread.context = _Context(self._most)
        return context.compressed(content, self._level)


class _Context:
    """A ZSTD_CCtx and its buffer, of one thread and as long as that."""

    def __init__(self, most: int) -> None:
        zstd = library()
        if zstd is None:
            raise BuildError(f"{_LIBRARY} cannot be loaded", hint="apt-get install libzstd1")
        self._library = zstd
        self._most = most
        self._buffer = ctypes.create_string_buffer(most)
        self._context = zstd.ZSTD_createCCtx()
        if not self._context:
            raise BuildError("there is no memory left to compress with zstd")

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            self._library.ZSTD_freeCCtx(self._context)

    def compressed(self, content: bytes, level: int) -> bytes | None:
        done = self._library.ZSTD_compressCCtx(self._context, self._buffer, self._most, content, len(content), level)
        if self._library.ZSTD_isError(done):
            code = self._library.ZSTD_getErrorCode(done)
            if code == _TOO_SMALL:
                return None
            raise BuildError(f"{_LIBRARY} could not compress: its error {code}")
        return ctypes.string_at(self._buffer, done)
