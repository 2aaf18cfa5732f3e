from jaxvision.core.checks import check_floating as check_floating
from jaxvision.core.checks import check_integer as check_integer
from jaxvision.core.checks import check_layout as check_layout
from jaxvision.core.checks import check_same_shape as check_same_shape
from jaxvision.core.trees import count_parameters as count_parameters
from jaxvision.core.trees import flatten_paths as flatten_paths
from jaxvision.core.trees import map_paths as map_paths
from jaxvision.core.trees import unflatten_paths as unflatten_paths
