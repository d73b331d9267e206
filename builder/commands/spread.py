"""Commands that spread the images of files over machines: matrix for CI runners, k8s for a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from blockdev.core.errors import UsageError
from builder.commands.help import Command
from builder.commands.images_file import images_of, put
from builder.commands.options import file_options
from builder.host_state.environment import of_caller
from builder.request.option_values import options_of

_Folder = click.Path(file_okay=False, path_type=Path)


def _planned(options: dict[str, Any]) -> Any:
    from builder.frontends.images_file.load import checked

    if not options["files"]:
        raise UsageError("no images file is named", hint="-f images.yaml")
    values = {name: options.get(name) for name in ("files", "elements", "elements_path")}
    return checked(images_of(options_of(values)), of_caller())


@click.command("matrix", cls=Command)
@file_options
@click.option(
    "--format",
    "form",
    type=click.Choice(("github", "json", "text")),
    default="text",
    show_default=True,
    help="github: the strategy's matrix in one line, for fromJSON.",
)
@click.option("--max-runners", type=click.IntRange(min=1), default=256, show_default=True, help="At most so many jobs.")
@click.option("--max-images", type=click.IntRange(min=1), help="At most so many images on one runner.")
@click.option(
    "--runner",
    "runners",
    multiple=True,
    metavar="ARCH=LABEL",
    help="The runners of an architecture [default: amd64=ubuntu-24.04, arm64=ubuntu-24.04-arm].",
)
@click.option("--elements-path", default="", metavar="DIR:DIR", help="Folders of elements, after the file's own.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("elements", nargs=-1, metavar="[NAME]...")
def matrix(*, form: str, **options: Any) -> None:
    """Group the images of files for the runners of a CI service: those that share layers meet on one."""
    from builder.fleet import ci_matrix
    from builder.progress.report import table

    labels = {**ci_matrix.RUNNERS, **_runners(options["runners"])}
    in_groups = ci_matrix.groups(
        _planned(options), labels=labels, most=options["max_runners"], each=options["max_images"]
    )
    if form == "text":
        click.echo(table(ci_matrix.as_rows(in_groups)))
    elif form == "github":
        click.echo(json.dumps(ci_matrix.as_matrix(in_groups), separators=(",", ":")))
    else:
        groups = [{**group.__dict__, "images": list(group.images)} for group in in_groups]
        click.echo(json.dumps({"groups": groups}, indent=1))


def _runners(words: tuple[str, ...]) -> dict[str, str]:
    from builder.request.choices import parse_arch

    labels = {}
    for word in words:
        arch, separator, label = word.partition("=")
        if not separator or not label:
            raise UsageError(f"--runner {word!r} is not ARCH=LABEL", hint="--runner arm64=my-arm-runner")
        labels[parse_arch(arch)] = label
    return labels


@click.command("k8s", cls=Command)
@file_options
@click.option("--image", required=True, metavar="NAME", help="The container image of dib-ctr that the pods run.")
@click.option("--push", default="", metavar="HOST/NAME/", help="Push every image below this.")
@click.option("--claim", default="", metavar="NAME", help="A volume claim for the outputs.")
@click.option("--store", default="", metavar="NAME", help="A volume claim for the store [default: gone with the pod].")
@click.option(
    "--secret", default="", metavar="NAME", help="The secret with credentials (kubernetes.io/dockerconfigjson)."
)
@click.option("--cache", default="", metavar="HOST/NAME:TAG", help="Share layers by this place in a registry.")
@click.option("--namespace", default="", metavar="NAME", help="The namespace [default: the caller's].")
@click.option("--set-name", default="images", show_default=True, metavar="NAME", help="What the objects are part of.")
@click.option("--disk", default="20Gi", show_default=True, help="Room for a store that goes with its pod.")
@click.option("--insecure", is_flag=True, help="Push without TLS, or to a certificate nobody vouches for.")
@click.option("--output", type=_Folder, metavar="DIR", help="Write files and a kustomization.yaml, not one text.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("elements", nargs=-1, metavar="[NAME]...")
def k8s(*, output: Path | None, insecure: bool, **options: Any) -> None:
    """Print Kubernetes Jobs that build the images of files, each in an unprivileged pod (docs/many-machines.md)."""
    import yaml

    from builder.fleet import kubernetes

    if options["push"] and not options["push"].endswith("/"):
        raise UsageError("--push is one place for many images", hint="--push HOST/NAME/, with a / at the end")
    planned = _planned(options)
    names = ("image", "set_name", "namespace", "push", "claim", "store", "secret", "disk", "cache")
    pod_options = kubernetes.KubernetesOptions(
        files=options["files"],
        options=("--insecure",) if insecure else (),
        **{name: options[name] for name in names},
    )
    manifests = kubernetes.manifests(planned, pod_options)
    texts = {name: yaml.safe_dump(manifest, sort_keys=False, width=100) for name, manifest in manifests.items()}
    if output is None:
        click.echo("---\n".join(texts.values()), nl=False)
        return
    texts["kustomization.yaml"] = yaml.safe_dump(kubernetes.kustomization(list(manifests)), sort_keys=False)
    for name, text in texts.items():
        put(output / name, text.encode())
    for old in sorted(output.glob("job-*.yaml")):
        if old.name not in texts:
            old.unlink()  # of an image that is no more
    click.echo(f"{output}: {len(texts)} files, for kubectl apply -k")
