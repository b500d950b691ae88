"""An endpoint on RunPod from a profile and a few options."""
