from jaxvision.layers.blocks import ConvNormAct as ConvNormAct
from jaxvision.layers.conv import Conv as Conv
from jaxvision.layers.conv import ConvTranspose as ConvTranspose
from jaxvision.layers.initializers import bilinear_kernel as bilinear_kernel
from jaxvision.layers.initializers import he_normal_fan_in as he_normal_fan_in
from jaxvision.layers.initializers import he_normal_fan_out as he_normal_fan_out
from jaxvision.layers.norm import BatchNorm as BatchNorm
