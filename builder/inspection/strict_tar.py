"""Members of tar archives, read strictly."""

from __future__ import annotations

import tarfile

from builder.inspection.limits import LARGEST_HEADER

HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class Strict(tarfile.TarInfo):
    """tarfile takes a broken header for the end of the archive; here it is an error, as one is that is too long."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Strict:
        try:
            member = super().frombuf(buf, encoding, errors)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if member.size < 0 or (member.type in HEADERS and member.size > LARGEST_HEADER):
            raise tarfile.ReadError("a header is too long, or a size negative")
        return member
