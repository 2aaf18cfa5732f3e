"""Rules for the CIFAR ResNet weights of ``pytorch_resnet_cifar10`` (Idelbayev 2018): one table for all."""

from jaxvision.weights.convert import Rule
from jaxvision.weights.resnet import resnet_backbone_rules


def cifar_resnet_classifier_rules() -> tuple[Rule, ...]:
    """Rules to ``jaxvision.backbones.PooledClassifier`` over our CifarResNet.

    The names are torchvision's but for ``shortcut`` (option B only; option A has no parameters) and
    ``linear``; in its checkpoints ``module.`` stands before each, for they were saved from a
    ``DataParallel``. Its files end in ``.th``: rename them to ``.pth``.

    Returns:
      One rule a kind of tensor; they fit every variant of ``jaxvision.backbones.CifarResNet``.

    >>> cifar_resnet_classifier_rules()[-1].path
    'params/head/bias'
    """
    wrapper = r"(?:module\.)?"
    backbone = (
        rule._replace(pattern=wrapper + rule.pattern.replace("downsample", "shortcut"))
        for rule in resnet_backbone_rules()
    )
    return (
        *backbone,
        Rule(wrapper + r"linear\.weight", "params/head/kernel", "linear"),
        Rule(wrapper + r"linear\.bias", "params/head/bias"),
    )
