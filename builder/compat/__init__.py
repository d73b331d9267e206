"""diskimage-builder's commands, told as what ``dib-ctr build`` is asked. ``builder.commands.compat`` runs them."""
