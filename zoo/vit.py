"""A small vision transformer (Dosovitskiy et al. 2020; Touvron et al. 2020), for contrast."""

from zoo.external import from_timm

vit_tiny = from_timm("vit_tiny_patch16_224")
# 64 patches of 4x4 pixels instead of 4 of 16x16: position embeddings of another shape.
vit_tiny_cifar = from_timm("vit_tiny_patch16_224", img_size=32, patch_size=4)
