"""vLLM's own API server, in a supervised child process behind a Unix socket."""
