"""`worker batch`: a file of requests in OpenAI's batch format, through RunPod's batches."""
