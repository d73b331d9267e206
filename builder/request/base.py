"""The image that a build begins with, and what the request says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from blockdev.core.errors import UsageError
from builder.request.choices import parse_arch
from builder.request.options import BuildOptions
from stages.element.resolve import Resolution
from stages.protocol.request import Request

if TYPE_CHECKING:
    from builder.base_image.fetch import Base


# The element whose tree an image gives (--from), and where its script finds that.
BASE_ELEMENT, BASE_PLACE = "base-image", "/dib-ctr/base-image.tar"


def base_of(
    options: BuildOptions, resolution: Resolution | None, settings: Mapping[str, str], on_note: Callable[[str], None]
) -> Base | None:
    """The image that the build is to begin with, fetched or built where it is not at hand.

    It is the one that ``--from`` names, or the one that the elements bring, once they are ``resolution``.
    """
    if not options.base and (resolution is None or BASE_ELEMENT not in resolution.names):
        return None
    from builder.base_image import choose  # only now: it brings the client of registries, which takes its time to load

    text = options.base
    if resolution and not text:
        text, settings = choose.of_elements(resolution.elements, settings)
    return choose.begin(text, parse_arch(options.arch), settings, offline=options.offline, on_note=on_note)


def with_base(request: Request, base: Base) -> Request:
    """The request with what its stages must know of the image that it begins with."""
    facts = base.facts
    variables = {
        "DIB_CTR_BASE_IMAGE": BASE_PLACE,
        "DIB_CTR_BASE_DISTRIBUTION": facts.distribution,
        "DIB_CTR_BASE_RELEASE": facts.release,
        "DIB_CTR_BASE_INIT": facts.init,
        "DIB_CTR_REPOSITORIES": "\n".join(facts.repositories),
        **({"DIB_CTR_BASE_DATE": str(facts.date)} if facts.date else {}),
        **({} if facts.bash else {"DIB_CTR_BASE_LACKS_BASH": "1"}),
    }
    host_files = {**request.given, BASE_PLACE: base.content}
    config = {**facts.config, **request.config}
    for part in ("env", "labels"):
        if part in facts.config and part in request.config:
            config[part] = {**facts.config[part], **request.config[part]}
    shown = {"name": base.pinned, "digest": f"sha256:{base.digest}"}
    return replace(request, variables={**variables, **request.variables}, given=host_files, config=config, base=shown)


def check_locked_base(request: Request) -> None:
    """Raise UsageError where a lock says that the build begins with another image."""
    locked = request.locking.locked
    if locked and dict(request.base) not in locked["base_images"]:
        names = ", ".join(each["name"] for each in locked["base_images"]) or "none"
        raise UsageError(
            f"the lock does not begin with the image {request.base['name']}, but with {names}",
            where="--from",
            hint="name that one, or make a new lock: --lock FILE",
        )
