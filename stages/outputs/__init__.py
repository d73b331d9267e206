"""What a finished tree goes out as."""
