"""Documents about an image lie beside it, named after it."""

from __future__ import annotations

from pathlib import Path

from builder.describe import documents
from stages.protocol.request import Output


def test_documents_lie_beside_the_image(tmp_path: Path) -> None:
    image = tmp_path / "web.oci"
    names = ["web.oci.cdx.json", "web.oci.spdx.json", "web.oci.provenance.json"]
    assert [path.name for path in documents.paths(image)] == names
    assert not documents.are_there(Output("oci", {}), image)
    for name in names:
        (tmp_path / name).touch()
    assert documents.are_there(Output("oci", {}), image)
