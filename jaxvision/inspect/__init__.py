"""What is in a network: its table of layers, receptive fields, feature maps, Grad-CAM."""

from jaxvision.inspect.attribution import CAM_METHODS as CAM_METHODS
from jaxvision.inspect.attribution import grad_cam as grad_cam
from jaxvision.inspect.attribution import saliency as saliency
from jaxvision.inspect.capture import feature_maps as feature_maps
from jaxvision.inspect.capture import layer_gradients as layer_gradients
from jaxvision.inspect.capture import list_layers as list_layers
from jaxvision.inspect.report import format_table as format_table
from jaxvision.inspect.report import plot_summary as plot_summary
from jaxvision.inspect.report import write_csv as write_csv
from jaxvision.inspect.summary import Layer as Layer
from jaxvision.inspect.summary import receptive_fields as receptive_fields
from jaxvision.inspect.summary import summarize as summarize
from jaxvision.inspect.summary import total as total
