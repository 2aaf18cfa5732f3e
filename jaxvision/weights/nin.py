"""Rules for Network in Network by the layer names of the Caffe models that its authors published."""

from jaxvision.weights.convert import Rule


def nin_classifier_rules(stages: int) -> tuple[Rule, ...]:
    """Rules from ``conv1``, ``cccp1``, ``cccp2``, ``conv2``, ... to ``jaxvision.backbones.NINClassifier``.

    The keys are a layer's name and ``.weight`` or ``.bias``, in the layout that Caffe and PyTorch share. The
    ImageNet model's last three names end in ``-1024``. Caffe's models read blue, green, red: where a
    conversion left ``conv1.weight`` so, turn its input channels round for images in red, green, blue.

    Args:
      stages: number of stages, 4 of "nin" and 3 of "nin_cifar10".

    Returns:
      Two rules a layer.

    >>> nin_classifier_rules(4)[0].path
    'params/backbone/mlpconv1/conv/conv/kernel'
    """
    rules: list[Rule] = []
    for stage in range(1, stages + 1):
        path = f"backbone/mlpconv{stage}"
        rules += _layer_rules(f"conv{stage}", f"{path}/conv/conv")
        rules += _layer_rules(f"cccp{2 * stage - 1}", f"{path}/mlp1/conv")
        rules += _layer_rules(f"cccp{2 * stage}", "head" if stage == stages else f"{path}/mlp2/conv")
    return tuple(rules)


def _layer_rules(name: str, path: str) -> list[Rule]:
    key = rf"{name}(?:-1024)?\."
    return [Rule(key + "weight", f"params/{path}/kernel", "conv"), Rule(key + "bias", f"params/{path}/bias")]
