from jaxvision.backbones.classifier import PooledClassifier as PooledClassifier
from jaxvision.backbones.classifier import VGGClassifier as VGGClassifier
from jaxvision.backbones.resnet import RESNET_VARIANTS as RESNET_VARIANTS
from jaxvision.backbones.resnet import ResNet as ResNet
from jaxvision.backbones.resnet import resnet as resnet
from jaxvision.backbones.vgg import VGG as VGG
from jaxvision.backbones.vgg import VGG_VARIANTS as VGG_VARIANTS
from jaxvision.backbones.vgg import vgg as vgg
