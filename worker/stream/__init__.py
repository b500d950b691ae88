"""How generated tokens travel: whole events, in as few pieces as the reader can enjoy."""
