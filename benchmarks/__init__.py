"""Benchmarks: this worker, vLLM's engine alone and worker-vllm under the same load."""
