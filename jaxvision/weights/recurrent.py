"""Rules for the recurrent networks of PyTorch: ``torch.nn.RNN``, ``GRU`` and ``LSTM``."""

from jaxvision.weights.convert import Rule


def recurrent_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``torch.nn.RNN``, ``GRU`` or ``LSTM``, of any layers and directions, with or without biases.

    Both have their gates in the same order and two biases each, so that weights go both ways as they are:
    with :func:`jaxvision.weights.convert` to ours and with :func:`jaxvision.weights.to_state_dict` back. Our
    variants that PyTorch lacks (peepholes, norms) have parameters that no rule names.

    Args:
      prefix: regular expression of its name, with the dot: ``r"rnn\\."``.
      path: of our ``RNN``, ``GRU`` or ``LSTM``, with a leading slash; ``\\1`` stands for a group of
        the prefix.

    Returns:
      Rules for kernels, biases and projections of both directions.

    >>> from jaxvision.weights import match_keys
    >>> key = "rnn.weight_hh_l1_reverse"
    >>> match_keys([key], recurrent_rules(r"rnn\\.", "/lstm"))[key][1]
    ('params/lstm/layer1_reverse/recurrent_kernel',)
    """
    rules = []
    for suffix in ("", "_reverse"):
        for key, leaf, layout in (
            ("weight_ih", "input_kernel", "linear"),
            ("weight_hh", "recurrent_kernel", "linear"),
            ("bias_ih", "input_bias", "identity"),
            ("bias_hh", "recurrent_bias", "identity"),
            ("weight_hr", "projection_kernel", "linear"),
        ):
            pattern = rf"{prefix}{key}_l(?P<layer>\d+){suffix}"
            rules.append(Rule(pattern, rf"params{path}/layer\g<layer>{suffix}/{leaf}", layout))
    return tuple(rules)
