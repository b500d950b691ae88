"""What each request parameter does to an answer, as cases."""
