"""Training: steps, losses, adversaries, checkpoints, logs."""
