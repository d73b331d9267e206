"""`dib-ctr elements --check`: what is wrong or odd in elements, told without building anything (docs/checking.md)."""
