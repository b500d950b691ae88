"""The options of `vllm serve` as data: captured from the pinned vLLM, and what that misses."""
