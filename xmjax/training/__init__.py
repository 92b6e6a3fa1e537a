"""The loop and what it is made of: state and step, optimizer, checkpoints, metrics, clock."""
