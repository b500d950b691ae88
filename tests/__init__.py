"""The tests: a module of the package has its tests under the same name; `e2e/` runs real vLLM."""
