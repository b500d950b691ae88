"""`worker bench` measures an endpoint; `worker tune` finds the settings for a workload."""
