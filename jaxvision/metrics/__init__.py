from jaxvision.metrics.confusion import confusion_matrix as confusion_matrix
from jaxvision.metrics.segmentation import class_pixel_accuracy as class_pixel_accuracy
from jaxvision.metrics.segmentation import frequency_weighted_iou as frequency_weighted_iou
from jaxvision.metrics.segmentation import iou as iou
from jaxvision.metrics.segmentation import mean_iou as mean_iou
from jaxvision.metrics.segmentation import mean_pixel_accuracy as mean_pixel_accuracy
from jaxvision.metrics.segmentation import pixel_accuracy as pixel_accuracy
