from jaxvision.sequence.language_model import LanguageModel as LanguageModel
from jaxvision.sequence.language_model import language_model as language_model
from jaxvision.sequence.sampling import draw_tokens as draw_tokens
from jaxvision.sequence.sampling import sample_tokens as sample_tokens
