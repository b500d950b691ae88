"""Commands for the machine of a user or developer. The production worker does not need them."""
