from jaxvision.sequence.crnn import CRNN as CRNN
from jaxvision.sequence.crnn import CRNN_VARIANTS as CRNN_VARIANTS
from jaxvision.sequence.crnn import crnn as crnn
from jaxvision.sequence.crnn import num_steps as num_steps
from jaxvision.sequence.tagger import SequenceTagger as SequenceTagger
from jaxvision.sequence.tagger import TagScores as TagScores
from jaxvision.sequence.text_classifier import PADDING_INDEX as PADDING_INDEX
from jaxvision.sequence.text_classifier import TextClassifier as TextClassifier
