"""The parts of gradient training: losses, optimizers, learning rates, processes, checkpoints."""
