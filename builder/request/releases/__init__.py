"""The release that is asked for, held against the facts of its distribution."""
