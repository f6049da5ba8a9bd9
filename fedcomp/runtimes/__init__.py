"""Programs that run small models on devices: how each makes its file from a module, and runs it."""
