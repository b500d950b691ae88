"""What the worker talks to, played by small programs and servers on loopback."""
