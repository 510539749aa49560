"""Small networks for the built-in tasks: plain modules that know nothing of edgepress.

`resnet` (ResNet-8 and ResNet-20), `mobilenet` (inverted residuals) and `dscnn` (depthwise separable convolutions) are the
three shapes that small devices run most. Each ends in a mean over the picture and one linear layer, so that it takes any
picture size and any batch.
"""
