"""The releases of each distribution: which there are, how long they live, and what they are made for."""
