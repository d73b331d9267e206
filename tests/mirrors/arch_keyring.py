"""The package archlinux-keyring of a synthetic mirror: keys of packagers that come later, and who has signed them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.mirrors import pacman
from tests.mirrors.keys import Key

MAIN = tuple(f"Main Key {number}" for number in (1, 2, 3))
NEWCOMER = "Later Packager"


@dataclass(frozen=True)
class Keys:
    """Main keys and a newcomer's, in one folder of GnuPG's; ``trusted`` is the file that has the main ones."""

    home: Path
    trusted: Path

    @classmethod
    def make(cls, folder: Path, signatures: int = len(MAIN)) -> Keys:
        """New keys; so many of the main ones have signed the newcomer's."""
        home = folder / "gnupg"
        first = Key.make(home, MAIN[0])
        for name in (*MAIN[1:], NEWCOMER):
            user = f"{name} <synthetic@mirror.invalid>"
            first.run("--passphrase", "", "--quick-gen-key", user, "rsa2048", "sign", "never")
        for name in MAIN[:signatures]:
            first.run("--yes", "--local-user", name, "--quick-sign-key", _fingerprint(first, NEWCOMER))
        trusted = folder / "trusted"
        trusted.write_text("".join(f"{_fingerprint(first, name)}:4:\n" for name in MAIN))
        return cls(home, trusted)

    @property
    def newcomer(self) -> Key:
        """The key that no older keyring has."""
        return Key(self.home, NEWCOMER)

    def public(self, *names: str) -> bytes:
        """Public keys of these names."""
        return self.newcomer.run("--armor", "--export", *names)


def _fingerprint(key: Key, name: str) -> str:
    listed = key.run("--with-colons", "--list-keys", name).decode()
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))


def older_keyring(mirror: pacman.Mirror, keys: Keys, target: Path) -> Path:
    """A keyring that has the main keys and the first packager's alone."""
    target.write_bytes(keys.public(*MAIN) + mirror.key.public())
    return target


def add(mirror: pacman.Mirror, keys: Keys, signer: Key, *, revoked: str = "") -> None:
    """Add archlinux-keyring, by this key's owner, and have the newcomer sign :data:`tests.mirrors.pacman.EXTRA`."""
    text = (keys.public(*MAIN, NEWCOMER) + mirror.key.public()).decode()
    folder = "usr/share/pacman/keyrings/archlinux"
    files = {f"{folder}.gpg": text, f"{folder}-trusted": keys.trusted.read_text(), f"{folder}-revoked": revoked}
    repository = mirror.folder / "core/os/x86_64"
    package = pacman.Package("20261101", "Keys of packagers", files=files)
    pacman.write(repository, mirror.folder, "archlinux-keyring", package, signer)
    pacman.index(repository)
    extra = mirror.package(pacman.EXTRA)
    keys.newcomer.sign(extra, extra.with_name(f"{extra.name}.sig"), armor=False)
    pacman.index(extra.parent)


def revocation(keys: Keys) -> str:
    """The text of ``archlinux-revoked`` that takes the newcomer's key away."""
    return f"{_fingerprint(keys.newcomer, NEWCOMER)}\n"
