"""What several test directories share: real Jupyter servers, kernels and waiting on a state."""
