"""RunPod's job queue: the SDK's protocol with an event-driven loop."""
