"""RunPod Serverless worker that serves any LLM with vLLM, configured by declaration."""
