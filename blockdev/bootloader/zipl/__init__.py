"""How an s390x disk starts by itself: the boot record in its first block, and the tables that lead to a kernel."""
