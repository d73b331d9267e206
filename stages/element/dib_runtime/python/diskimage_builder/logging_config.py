"""Logging of elements' programs."""

from __future__ import annotations

import json
import logging
import logging.config
import os
from pathlib import Path


def setup() -> None:
    """Log to standard error (debugging too with DIB_DEBUG_TRACE), or as DIB_PYTHON_LOGGING_CONFIG_FILE says."""
    own = os.environ.get("DIB_PYTHON_LOGGING_CONFIG_FILE")
    if own:
        logging.config.dictConfig(json.loads(Path(own).read_text(encoding="utf-8")))
        return
    trace = os.environ.get("DIB_DEBUG_TRACE", "0")
    level = logging.DEBUG if trace.isdigit() and int(trace) > 0 else logging.INFO
    logging.basicConfig(level=level, format="%(levelname)s %(name)s [-] %(message)s")
