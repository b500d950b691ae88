"""Real vLLM, the real SDK and real clients."""
