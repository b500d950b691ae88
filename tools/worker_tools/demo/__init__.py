"""The whole worker shown on a small real model, without a GPU and without a model hub."""
