"""How fast the worker is, beside the engine alone and beside RunPod's own worker."""
