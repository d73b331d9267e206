"""Trees of files as disks take them: walking them, records of what no user may make, labels."""
