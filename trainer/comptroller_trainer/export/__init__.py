"""The trained model as files: the ONNX graph, the weights, and the forms of `comptroller.exporters`."""
