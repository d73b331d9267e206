"""A first project: an element, a file of images, a workflow, as ``dib-ctr init`` writes them."""
