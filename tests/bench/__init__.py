"""The benchmark: figures of dib-ctr, each beside a peer's in the same run (``just bench``)."""
