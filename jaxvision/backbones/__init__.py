from jaxvision.backbones.classifier import PooledClassifier as PooledClassifier
from jaxvision.backbones.classifier import VGGClassifier as VGGClassifier
from jaxvision.backbones.vgg import VGG as VGG
from jaxvision.backbones.vgg import VGG_VARIANTS as VGG_VARIANTS
from jaxvision.backbones.vgg import vgg as vgg
