"""Images that build containers are made of."""
