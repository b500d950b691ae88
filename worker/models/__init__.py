"""Where the model is: its name, the caches on this machine, the image."""
