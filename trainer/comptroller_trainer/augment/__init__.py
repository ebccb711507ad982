"""Changes to training inputs that keep their label: entry points `comptroller.augmentations`."""
