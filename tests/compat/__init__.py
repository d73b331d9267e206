"""The proof that upstream's elements run unmodified: built here, and compared with what diskimage-builder makes."""
