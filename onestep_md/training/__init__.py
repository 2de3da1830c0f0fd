"""The parts of training: state, buffer, optimizer, checkpoints, and what single steps do."""
