"""Every network by name, with its published weights."""

from jaxvision.zoo.entry import Entry as Entry
from jaxvision.zoo.loading import Pretrained as Pretrained
from jaxvision.zoo.loading import export_state_dict as export_state_dict
from jaxvision.zoo.loading import load as load
from jaxvision.zoo.overrides import read_overrides as read_overrides
from jaxvision.zoo.starting import Started as Started
from jaxvision.zoo.starting import start_backbone as start_backbone
from jaxvision.zoo.starting import starting_variables as starting_variables
from jaxvision.zoo.table import ENTRIES as ENTRIES
from jaxvision.zoo.table import create as create
from jaxvision.zoo.table import find_entry as find_entry
from jaxvision.zoo.table import names as names
