from jaxvision.inspect.report import format_table as format_table
from jaxvision.inspect.report import plot_summary as plot_summary
from jaxvision.inspect.report import write_csv as write_csv
from jaxvision.inspect.summary import Layer as Layer
from jaxvision.inspect.summary import receptive_fields as receptive_fields
from jaxvision.inspect.summary import summarize as summarize
from jaxvision.inspect.summary import total as total
