"""Images that a build begins with (``--from IMAGE``): named, fetched, described, and laid flat as one archive."""
