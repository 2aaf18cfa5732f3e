"""A network as one file: StableHLO for CPU, CUDA and TPU, or ONNX."""

from jaxvision.export.native import native_formulation as native_formulation
from jaxvision.export.onnx_file import export_onnx as export_onnx
from jaxvision.export.stablehlo import PLATFORMS as PLATFORMS
from jaxvision.export.stablehlo import Exported as Exported
from jaxvision.export.stablehlo import export_stablehlo as export_stablehlo
from jaxvision.export.stablehlo import load_stablehlo as load_stablehlo
