"""A build told as one page of HTML that needs nothing else: what took how long, what came of it, what changed."""
