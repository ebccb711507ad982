"""Model families: entry points `comptroller.models`."""
