"""One stage's sandbox: what it sees (``view``), the root built for it (``mounts``), its processes (``process``)."""
