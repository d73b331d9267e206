"""The host side of dib-ctr: command line, request, engines, build images, progress, destinations."""
