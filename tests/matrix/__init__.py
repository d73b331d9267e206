"""Distributions by architectures by outputs, each really built: ``just matrix`` and ``just verify-distro``."""
