from jaxvision.ops.arithmetic import convolution_output_size as convolution_output_size
from jaxvision.ops.arithmetic import transposed_convolution_output_size as transposed_convolution_output_size
from jaxvision.ops.convolution import convolution as convolution
from jaxvision.ops.convolution import transposed_convolution as transposed_convolution
from jaxvision.ops.pooling import adaptive_average_pool as adaptive_average_pool
from jaxvision.ops.pooling import average_pool as average_pool
from jaxvision.ops.pooling import global_average_pool as global_average_pool
from jaxvision.ops.pooling import max_pool as max_pool
