"""Find faces in pictures and cut them as FER-2013 was cut: 48x48, grey, the face filling the frame.

    image = faces.read_image("holiday.jpg")
    for face, crop in faces.faces_in(image, faces.detector()):
        predictor(crop[None])

OpenCV is imported on first use: training runs without it.
"""

from fer_jax.faces.detectors import YUNET_FILE, HaarDetector, YuNetDetector, add_detector, detector
from fer_jax.faces.framing import Detector, Face, crop, faces_in, largest
from fer_jax.faces.pictures import FACE_SIZE, Frame, opencv, read_image, write_png

__all__ = ["FACE_SIZE", "YUNET_FILE", "Detector", "Face", "Frame", "HaarDetector", "YuNetDetector"]
__all__ += ["add_detector", "crop", "detector", "faces_in", "largest", "opencv", "read_image"]
__all__ += ["write_png"]
