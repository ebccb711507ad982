"""The contract of a stage: typed parameters, the trial around it, and the registry that finds it by name."""
