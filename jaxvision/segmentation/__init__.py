from jaxvision.segmentation.fcn import FCN as FCN
from jaxvision.segmentation.fcn import bilinear_upsample as bilinear_upsample
from jaxvision.segmentation.fcn import initialise_from_classifier as initialise_from_classifier
from jaxvision.segmentation.unet import UNet as UNet
from jaxvision.segmentation.unet import unet_valid_size as unet_valid_size
