"""What every room builds on: checks of shapes, trees by path, graphs, masks, files."""

from jaxvision.core.checks import check_floating as check_floating
from jaxvision.core.checks import check_integer as check_integer
from jaxvision.core.checks import check_layout as check_layout
from jaxvision.core.checks import check_same_shape as check_same_shape
from jaxvision.core.checks import check_stages as check_stages
from jaxvision.core.files import write_atomically as write_atomically
from jaxvision.core.graph import Graph as Graph
from jaxvision.core.masks import VOID as VOID
from jaxvision.core.masks import expand_where as expand_where
from jaxvision.core.terms import Term as Term
from jaxvision.core.trees import count_parameters as count_parameters
from jaxvision.core.trees import flatten_paths as flatten_paths
from jaxvision.core.trees import map_paths as map_paths
from jaxvision.core.trees import unflatten_paths as unflatten_paths
from jaxvision.core.unread import refuse_unread as refuse_unread
from jaxvision.core.words import find_variant as find_variant
from jaxvision.core.words import name_some as name_some
