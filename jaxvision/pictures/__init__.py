from jaxvision.pictures.curves import plot_curves as plot_curves
from jaxvision.pictures.masks import contact_sheet as contact_sheet
from jaxvision.pictures.masks import overlay as overlay
from jaxvision.pictures.masks import write_palette_png as write_palette_png
from jaxvision.pictures.masks import write_png as write_png
from jaxvision.pictures.palettes import camvid_palette as camvid_palette
from jaxvision.pictures.palettes import digit_scenes_palette as digit_scenes_palette
from jaxvision.pictures.palettes import voc_palette as voc_palette
