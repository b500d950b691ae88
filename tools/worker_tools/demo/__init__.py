"""`worker demo`: the complete worker with a small real model, without GPU and model hub."""
