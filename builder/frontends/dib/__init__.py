"""diskimage-builder's commands, told as what ``dib-ctr build`` is asked. ``builder.commands.dib`` runs them."""
