"""Choose the training samples of an epoch: entry points `comptroller.selectors`."""
