"""A small vision transformer (Dosovitskiy et al. 2020; Touvron et al. 2020), for contrast."""

from zoo.external import of_timm

vit_tiny = of_timm("vit_tiny_patch16_224")
vit_tiny_cifar = of_timm("vit_tiny_patch16_224", img_size=32, patch_size=4)
