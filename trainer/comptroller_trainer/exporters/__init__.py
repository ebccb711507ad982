"""The model in more forms than ONNX: entry points `comptroller.exporters`."""
