"""Jobs that make folders of images and label masks, for segmentation.

Lives here: rasterising published outlines, splits without shared pixels. Not here: learning from the folders.
"""
