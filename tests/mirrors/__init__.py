"""Small package mirrors of distributions that cannot be reached: real formats, real signatures, Debian's programs.

These are *synthetic mirrors*: what is built from one shows that dib-ctr and the distribution's own tools work together,
not that the distribution's packages do.
"""
