"""Write the pages of docs/ that are made from the code: ``python -m tests.docs``."""

from __future__ import annotations

from tests.docs.generated import write

if __name__ == "__main__":
    write()
