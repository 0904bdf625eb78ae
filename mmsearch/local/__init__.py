"""LOCAL DESCRIPTORS: pixels in, keypoints with a descriptor each out."""
