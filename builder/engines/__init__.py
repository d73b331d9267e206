"""Container engines, one adapter each, behind one small protocol."""
