# Tasks of this checkout. `./run just TASK` installs what they need.

set shell := ["/bin/bash", "-eu", "-o", "pipefail", "-c"]

_list:
    @just --list --unsorted

# the main job: an OCI image of debian-minimal, or what ARGS say
build *ARGS='--output oci debian-minimal':
    dib-ctr build {{ARGS}}

# real engines, builds and boots, in minutes, and the unit tests; ARGS go to pytest (-k NAME, tests/unit, ...)
test *ARGS: (_tests "not thorough" ARGS)

# every test (hours): those of `just test`, and those with the marker `thorough` (docs/testing.md)
test-all *ARGS: (_tests "" "--durations=0" ARGS)

_tests MARKERS *ARGS:
    #!/bin/bash
    set -eu -o pipefail
    cd '{{justfile_directory()}}'
    # A missing engine fails its tests here; elsewhere they are skipped.
    if [[ ${DIB_CTR_TEST_ALL_ENGINES-} ]]; then tests/setup-daemons.sh; fi
    # Files side by side, one more than there are processors: a build waits now and then, for a mirror or a disk.
    pytest --numprocesses="$(($(nproc) + 1))" --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --durations=40 \
        -m '{{MARKERS}}' {{ARGS}}

# the tests that need no engine and no network
test-unit *ARGS:
    pytest -q --numprocesses="$(nproc)" --maxprocesses=4 tests/unit {{ARGS}}

# what every change must pass: lint, format, types, shell scripts, unit tests
[parallel]
check: lint shellcheck test-unit

lint:
    ruff check
    ruff format --check
    mypy
    actionlint
    check-jsonschema --builtin-schema vendor.github-actions action.yml

# every shell script, told by its first line (elements' scripts have no suffix) or by its name
shellcheck:
    #!/bin/bash
    set -eu -o pipefail
    cd '{{justfile_directory()}}'
    scripts=() snippets=()
    while IFS= read -r -d '' file; do
        [[ -f $file && ! -L $file ]] || continue
        first=
        IFS= read -r first <"$file" 2>/dev/null || true
        if [[ $first =~ ^#!.*[/\ ](ba|da|)sh($|\ ) ]]; then
            scripts+=("$file")
        elif [[ $file == *.sh || $file == *.bash || $file == */environment.d/* ]]; then
            snippets+=("$file")
        fi
    done < <(git ls-files -z --cached --others --exclude-standard -- . ':!tests/unit/bad_elements')
    shellcheck "${scripts[@]}"
    # Snippets have no first line: bash sources them.
    ((${#snippets[@]} == 0)) || shellcheck --shell=bash "${snippets[@]}"
    echo "${#scripts[@]} shell scripts and ${#snippets[@]} snippets are clean"

# format the Python code and mend what ruff can
fmt:
    ruff check --fix
    ruff format

# the pages that are made from the code: commands and options, built-in elements
docs:
    cd '{{justfile_directory()}}' && python -m tests.docs

# the figures of docs/figures.md, each with its peer
bench *ARGS:
    python -m tests.bench {{ARGS}}

# debian-minimal of each architecture, into /var/tmp/dib-ctr-foreign (minutes each); ARGS are more options of dib-ctr build
foreign *ARGS:
    for arch in i386 arm64 armhf ppc64el riscv64 s390x; do \
        dib-ctr build --arch "$arch" --dest /var/tmp/dib-ctr-foreign/"$arch" -o oci {{ARGS}} debian-minimal || exit; \
    done

# upstream's elements built through dib-ctr; --compare also makes trees with diskimage-builder itself (as root)
compat *ARGS:
    #!/bin/bash
    set -eu -o pipefail
    cd '{{justfile_directory()}}'
    if [[ ' {{ARGS}} ' == *' --compare '* ]]; then tests/compat/setup /var/tmp/dib-ctr-compat/dib; fi
    python -m tests.compat {{ARGS}}

# distributions by architectures by outputs, each really built and its disk started; WORDS choose rows (debian bookworm arm64)
matrix *WORDS:
    python -m tests.matrix {{WORDS}}

# kill -9 at 500 random instants over building, exporting, disk writing, cache sending and pruning; ARGS go to tests.faults
faults *ARGS:
    cd '{{justfile_directory()}}' && python -m tests.faults {{ARGS}}

# change the modules that decide in one place after another, and print what no unit test notices (hours); WORDS choose modules
mutants *WORDS:
    python -m pip install --quiet 'cosmic-ray>=8.4'
    cd '{{justfile_directory()}}' && python -m tests.mutants {{WORDS}}

# what of the facts about distributions is old today: seen long ago, keys and releases that end, facts without a source
facts *ARGS:
    python -m tests.facts {{ARGS}}

# build and boot one distribution from its own mirrors (this takes a network that reaches them) and write a report
verify-distro *ARGS:
    python -m tests.matrix.verify {{ARGS}}

# the container image of dib-ctr itself (containerfiles/dib-ctr.Containerfile) as NAME, on BASE; ARGS go to podman build
container NAME='localhost/dib-ctr:latest' BASE='docker.io/library/debian:trixie-slim' *ARGS='':
    podman build --network=host --build-arg BASE='{{BASE}}' -f containerfiles/dib-ctr.Containerfile -t '{{NAME}}' {{ARGS}} .

# the pods of `dib-ctr k8s`'s MANIFESTS, run by podman (as root) with what they may and may not; their volumes in FOLDER
pods MANIFESTS FOLDER:
    python -m tests.pod '{{MANIFESTS}}' '{{FOLDER}}'

# try each engine for real and say what is wrong
doctor:
    dib-ctr doctor

# the README's first command on fresh Debian machines, as root and as an ordinary user
fresh-machine *SUITES='bookworm trixie':
    tests/fresh-machine.sh {{SUITES}}

# the GitHub Action's steps as they stand, on a fresh machine that has what GitHub's runners have; ARGS are --with NAME=VALUE
action *ARGS='--with elements=debian-minimal --with cache= --with upload=image':
    FRESH_USERS=person FRESH_PACKAGES='ca-certificates curl git jq podman python3 python3-yaml' \
        FRESH_COMMAND='python3 -m tests.actions.run {{ARGS}}' tests/fresh-machine.sh trixie
