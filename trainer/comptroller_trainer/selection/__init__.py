"""Which training samples an epoch sees: entry points `comptroller.selectors`."""
