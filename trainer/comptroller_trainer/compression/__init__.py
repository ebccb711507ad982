"""Making the model smaller or faster: entry points `comptroller.compressors`."""
