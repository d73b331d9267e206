"""What is kept between runs on the user's machine, outside of any store."""
