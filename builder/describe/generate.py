"""All documents about one image: a bill of materials in two formats, and its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.describe.image import Described
from builder.describe.referrers import Document
from stages.redaction.redaction import Redaction

CYCLONEDX, SPDX, PROVENANCE = "application/vnd.cyclonedx+json", "application/spdx+json", "application/vnd.in-toto+json"
# What is put behind an image's name for the file beside it.
SUFFIXES = {CYCLONEDX: ".cdx.json", SPDX: ".spdx.json", PROVENANCE: ".provenance.json"}


def documents(
    described: Described,
    digest: str,
    *,
    request: Mapping[str, Any],
    elements: Mapping[str, str],
    build_image: str,
    dib_ctr: str,
    lock: Mapping[str, Any] | None = None,
    redaction: Redaction | None = None,
) -> tuple[Document, ...]:
    """All documents about the image whose manifest has this digest (``sha256:<hex>``); each is titled as its file.

    The arguments are those of :func:`builder.describe.provenance.statement`; the same ones give the same bytes.
    """
    # Here, and not above: the library takes a tenth of a second to import, and most commands write no document.
    from builder.describe import cyclonedx, provenance, spdx

    statement = provenance.statement(
        described,
        digest,
        request=request,
        elements=elements,
        build_image=build_image,
        dib_ctr=dib_ctr,
        lock=lock,
        redaction=redaction,
    )
    data = {
        CYCLONEDX: cyclonedx.document(described, digest),
        SPDX: spdx.document(described, digest),
        PROVENANCE: statement,
    }
    return tuple(Document(kind, kind, described.name + SUFFIXES[kind], text) for kind, text in data.items())
