"""A package's graph, read and weighed before ONNX Runtime sees a byte of it.

messages    the graph as values, field by field     tensors     sizes, and bytes that match them
operators   how large a graph gets                  admitted    which operators, with their
step        one operator and its inputs             shapes, layouts, values     rules
"""
